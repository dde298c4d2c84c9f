//! Lists, sets, tuples, intervals, relations, matrices, words.

use super::check_en as check;
use super::{Language, MathOptions};
use crate::score::Verdict::{self, Correct, Undecided, Wrong};

#[track_caller]
fn check_with(options: &MathOptions, gold: &str, answer: &str, expected: Verdict) {
    let judged = super::super::judge(gold, &[answer], Language::En, options);
    assert_eq!(judged.verdict, expected, "gold {gold:?}, answer {answer:?}: {judged:?}");
}

#[test]
fn equations_state_values() {
    check("5", "x = 5", Correct);
    check("5", "x=6", Wrong);
    check("5", r"x \approx 5", Correct);
    check("16", "4^2 = 16", Correct);
    check("16", "4^2 = 15", Wrong);
    check("15", "4^2 = 15", Wrong);
    check("7", "m+n = 7", Correct);
    check("7", "2x = 7", Wrong);
    check("4", "x^2 = 4", Wrong);
    check("2", "2x = 4", Undecided);
    check("5", "f(2) = 5", Correct);
    check("50", r"\angle ABC = 50^\circ", Correct);
    check("12", r"\text{Area} = 12", Correct);
    check("12", r"\text{Area} = 3 \cdot 4 = 12", Correct);
    check("12", r"\text{Area} = 3 \cdot 5 = 12", Wrong);
    check(r"\sqrt{2}", r"x = \sqrt{2} \approx 1.41", Correct);
    check("2x+3", "y = 2x+3", Correct);
    check("y = 2x+3", "2x+3", Correct);
    check("y = 2x+3", "y = 2x+4", Wrong);
    check("x = 5", "5", Correct);
    check("x = 5", "x = 5", Correct);
    check("x = 5", "y = 5", Wrong);
    check("5", "x > 5", Wrong);
    check("5", r"x \ne 5", Wrong);
    check(r"\{1,2\}", r"x \in \{1,2\}", Correct);
    check("(1,2)", "(x,y) = (1,2)", Correct);
    check("(1,2)", "(y,x) = (1,2)", Undecided);
    check("5", "2+2=5", Wrong);
    check("5", "5 = x", Correct);
    check("5", "4 = x", Wrong);
    check(r"a \perp b", r"a \parallel b", Undecided);
    check(r"a \perp b", r"a \perp b", Correct);
    let lenient = MathOptions { strict: false, ..MathOptions::default() };
    check_with(&lenient, "x = 5", "y = 5", Correct);
}

#[test]
fn relations_turned_and_scaled() {
    check("x > 3", "3 < x", Correct);
    check("x > 3", r"x \ge 3", Wrong);
    check("x > 3", "x < 3", Wrong);
    check("x > 3", "2x > 6", Correct);
    check("x > 3", "-x < -3", Correct);
    check("x > 3", "-x > -3", Wrong);
    check("2x+4=6", "x+2=3", Correct);
    check("2x+4=6", "x+2=4", Wrong);
    check("x+y=5", "5=y+x", Correct);
    check("x+y=5", "x-y=5", Wrong);
    check("y=2x+1", "2x-y+1=0", Correct);
    check("y=2x+1", "2x+y+1=0", Wrong);
    check("x^2+y^2=4", "2x^2+2y^2=8", Correct);
    check("x^2+y^2=4", "x^2+y^2=2", Wrong);
    check("1 < x < 2", "2 > x > 1", Correct);
    check("1 < x < 2", r"1 \le x < 2", Wrong);
    check(r"x \ne 1", r"1 \neq x", Correct);
    check(r"x < 1 \text{ or } x > 2", "x > 2 or x < 1", Correct);
    check(r"x < 1 \text{ or } x > 2", r"x < 1 \text{ and } x > 2", Wrong);
    check("a^2+b^2=c^2", "c^2=a^2+b^2", Correct);
    check("x=1, y=2", "y=2, x=1", Correct);
    check("x=1, y=2", "x=2, y=1", Wrong);
    check("x=1, y=2", "x=1, y=3", Wrong);
    check(r"x=1 \text{ or } x=2", "x=2, x=1", Correct);
}

#[test]
fn lists_and_sets_in_any_order() {
    check(r"\{1,2\}", r"\{2,1\}", Correct);
    check(r"\{1,2\}", "1, 2", Correct);
    check(r"\{1,2\}", "2 and 1", Correct);
    check(r"\{1,2\}", r"1 \text{ or } 2", Correct);
    check(r"\{1,2\}", r"\{1,3\}", Wrong);
    check(r"\{1,2\}", r"\{1,2,3\}", Wrong);
    check(r"\{1,2\}", r"\{1\}", Wrong);
    check(r"\{1,2\}", r"\{1,1,2\}", Correct);
    check("1, 2", "2, 1", Correct);
    check("1, 2", "1, 1, 2", Undecided);
    check("1,2", "1, 2", Correct);
    check("1,-2", "-2,1", Correct);
    check("3,5,7", r"3, 5, \text{and } 7", Correct);
    check("3,5,7", "3, 5", Wrong);
    check("5", r"\{5\}", Correct);
    check("5", "3, 5", Wrong);
    check("12.5", "12,5", Undecided);
    check("1234", "1, 234", Undecided);
    check(r"3,-3", r"\pm 3", Correct);
    check(r"\pm 3", "3, -3", Correct);
    check(r"\pm 3", "3", Wrong);
    check("3", r"\pm 3", Wrong);
    check(r"1 \pm \sqrt{2}", r"1-\sqrt{2}, 1+\sqrt{2}", Correct);
    check(r"1 \pm \sqrt{2}", r"\sqrt{2} \pm 1", Wrong);
    check(r"1 \pm \sqrt{2}", r"1 \mp \sqrt{2}", Correct);
    check(r"\pm 1 \pm \sqrt{2}", r"\pm 1 \pm \sqrt{3}", Undecided);
    check(r"\frac13, \frac12", r"\frac12, \frac13", Correct);
    check(r"\emptyset", r"\{\}", Correct);
    check(r"\emptyset", "0", Wrong);
    check("x=1, x=2", "1, 2", Correct);
    check("(3,7)", "x=3, y=7", Correct);
    check("(3,7)", "y=3, x=7", Undecided);
    check(r"\{a,b\}", r"\{b,a\}", Correct);
}

#[test]
fn tuples_in_their_order() {
    check("(1,2)", "(1, 2)", Correct);
    check("(1,2)", r"\left(1, 2\right)", Correct);
    check("(1,2)", "(2,1)", Wrong);
    check("(1,2)", "1, 2", Correct);
    check("(1,2)", "2, 1", Wrong);
    check("(1,2)", r"\{1,2\}", Wrong);
    check("(1,2)", "12", Wrong);
    check("(1,2)", "(1,2,3)", Wrong);
    check("(1,2,3)", "(1;2;3)", Correct);
    check("1, 2", "(2,1)", Undecided);
    check(r"\left(\frac12, \pi\right)", r"(0.5, \pi)", Correct);
    check("(0,0)", "(0,-0)", Correct);
    check(r"(1,2), (3,4)", r"(3,4), (1,2)", Correct);
    check(r"(1,2), (3,4)", r"(1,3), (2,4)", Wrong);
    let lenient = MathOptions { strict: false, ..MathOptions::default() };
    check_with(&lenient, "(1,2)", r"\{1,2\}", Correct);
    check_with(&lenient, "(1,2)", r"\{1,3\}", Wrong);
}

#[test]
fn intervals_and_their_ends() {
    check("[1,2)", r"\left[1, 2\right)", Correct);
    check("[1,2)", "[1,2]", Wrong);
    check("[1,2)", "(1,2)", Wrong);
    check("(1,2)", "]1,2[", Correct);
    check("[1,2)", "[1;2[", Correct);
    check(r"(-\infty,3]", r"(-∞, 3]", Correct);
    check(r"(-\infty,3]", r"(-\infty,3)", Wrong);
    check(r"(-\infty,3]", r"[3,\infty)", Wrong);
    check(r"(0,1)\cup(1,2)", r"(1,2) \cup (0,1)", Correct);
    check(r"(0,1)\cup(1,2)", "(0,2)", Wrong);
    check(r"(0,1]\cup(1,2)", "(0,2)", Correct);
    check(r"(0,1)\cup(1,2)", "(0,1) U (1,2)", Correct);
    check(r"(-\infty,1)\cup(1,\infty)", r"\mathbb{R}\setminus\{1\}", Correct);
    check(r"(-\infty,\infty)", r"\mathbb{R}", Correct);
    check(r"(-\infty,\infty)", "ℝ", Correct);
    check(r"[1,4]\cap[2,5]", "[2,4]", Correct);
    check("[2,4]", r"x \in [2,4]", Correct);
    check("(2,4)", "2 < x < 4", Undecided);
    check("(2,4)", "2 < x < 5", Wrong);
    check("[1,4]", r"\{1,4\}", Wrong);
    check(r"[\sqrt{2},2]", r"[2^{1/2},2]", Correct);
    check(r"[\sqrt{2},2]", r"[\sqrt{3},2]", Wrong);
    let related = MathOptions { allow_set_relation_comparison: true, ..MathOptions::default() };
    check_with(&related, "(2,4)", "2 < x < 4", Correct);
    check_with(&related, "(2,4)", r"2 \le x < 4", Wrong);
    check_with(&related, "x > 3", r"(3,\infty)", Correct);
    check_with(&related, r"(-\infty,1)\cup(2,\infty)", "x < 1 or x > 2", Correct);
    check_with(&related, r"(3,\infty)", r"\{x \mid x > 3\}", Correct);
    check_with(&related, r"(3,\infty)", r"\{2x \mid x > 3\}", Undecided);
    check_with(&related, r"(3,\infty)", r"\{x \in \mathbb{Z} \mid x > 3\}", Undecided);
    check_with(&related, r"(3,\infty)", r"\{x \in \mathbb{R} : x > 3\}", Correct);
}

#[test]
fn matrices() {
    let gold = r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}";
    check(gold, r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", Correct);
    check(gold, r"\left(\begin{array}{cc} 1 & 2 \\ 3 & \frac{8}{2} \end{array}\right)", Correct);
    check(gold, r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}", Wrong);
    check(gold, r"\begin{pmatrix} 1 & 2 & 3 & 4 \end{pmatrix}", Wrong);
    check(gold, r"-\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", Wrong);
    check(gold, r"\frac12\begin{pmatrix} 2 & 4 \\ 6 & 8 \end{pmatrix}", Correct);
    check(gold, "-2", Wrong);
    check("-2", r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}", Correct);
    check(r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}", Correct);
    check(r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}", Wrong);
    check(r"\begin{pmatrix}x\\y\end{pmatrix}", r"\begin{pmatrix}x\\z\end{pmatrix}", Wrong);
    check(r"\begin{pmatrix}1/2\\2\end{pmatrix}", r"\\begin{pmatrix}1/2\\\\2\\end{pmatrix}", Correct);
}

#[test]
fn words_and_labels() {
    check(r"\text{Evelyn}", "Evelyn", Correct);
    check(r"\text{Evelyn}", "evelyn", Correct);
    check(r"\text{Evelyn}", "Carla", Wrong);
    check("east", r"\text{East}.", Correct);
    check("no", r"\text{No.}", Correct);
    check("Au", r"\text{Au}", Correct);
    check(r"\text{even}", "odd", Wrong);
    check("no solution", r"\text{No solution}", Correct);
    check(r"\text{no solution}", "0", Wrong);
    check("ellipse", r"\text{an ellipse}", Correct);
    check("B", "(B)", Correct);
    check("B", r"\text{B}", Correct);
    check("B", "C", Wrong);
    check("red and blue", "blue and red", Correct);
    check("ab", "ba", Undecided);
    check("xyz", "x - yz", Wrong);
    check("abcd", "ab-cd", Wrong);
    check("bc", "a bc", Wrong);
    check("notable", r"\text{not able}", Wrong);
    check(r"\text{north-west}", "North-West", Correct);
    check("42", "forty-two", Undecided);
    check("7", "seven", Undecided);
    check("1010_2", "1010_{2}", Correct);
    check("1010_2", "1010_3", Wrong);
    check("1010_2", "1011_2", Wrong);
    check("1010_2", "10", Undecided);
    check("1010_2", "11", Wrong);
    check("3:4", "3 : 4", Correct);
    check("3:4", "4:3", Wrong);
    check("3:4", "6:8", Undecided);
}

#[test]
fn units_after_formulas() {
    check(r"12\pi", r"12\pi \text{ cm}^2", Correct);
    check(r"12\pi", r"12\pi cm", Correct);
    check(r"12\pi", r"12\pi m", Wrong);
    check(r"2\sqrt{3}", r"2\sqrt{3} \text{ meters}", Correct);
    check(r"2\sqrt{3}", r"2\sqrt{3} \text{ million}", Undecided);
    check(r"5 \text{ cm}", r"5 \text{ m}", Wrong);
    check(r"5 \text{ cm}", r"5 \text{ cm}^2", Wrong);
    check(r"5 \text{ cm}", "5", Correct);
    check(r"12\text{ cm}^2", r"12 \text{ cm}^{2}", Correct);
    check(r"45^\circ", "45", Correct);
    check(r"45^\circ", r"\frac{\pi}{4}", Undecided);
    check(r"10 \text{ hours}", r"10 \text{ minutes}", Wrong);
    check(r"10 \text{ hours}", r"10 \text{ hrs}", Correct);
    check(r"2 \text{ km}", r"2 \text{ miles}", Wrong);
    check(r"\$5", "5 €", Wrong);
    check(r"\$5", r"5 \text{ dollars}", Correct);
    check(r"\$5", r"5 \text{ cents}", Wrong);
    check(r"90^\circ", r"90\%", Wrong);
    check("10", r"10 \text{ tys.}", Undecided);
    check("10", "10-", Undecided);
    check("10", "10/", Undecided);
    check("0.333", "0.333...", Undecided);
    check("0.33", "0.33…", Undecided);
    check("f", "f'", Undecided);
    check("5", r"5 \text{ squared}", Undecided);
    check("25", "%25", Correct);
    check("25", "٢٥٪", Correct);
}
