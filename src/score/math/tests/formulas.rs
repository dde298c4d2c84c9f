//! Formulas: fractions, roots, powers, constants, logarithms, polynomials, complex numbers.

use super::check_en as check;
use crate::score::Verdict::{Correct, Undecided, Wrong};

#[test]
fn fractions_of_formulas() {
    check(r"\frac{\pi}{2}", r"\dfrac{\pi}{2}", Correct);
    check(r"\frac{\pi}{2}", r"\pi/2", Correct);
    check(r"\frac{\pi}{2}", r"\color{red}{\pi/2}", Correct);
    check(r"\frac{\pi}{2}", r"\textcolor{blue}{\frac{\pi}{2}}", Correct);
    check(r"\frac{\pi}{2}", r"\textcolor{blue}{\pi}", Wrong);
    check(r"\frac{\pi}{2}", r"0.5\pi", Correct);
    check(r"\frac{\pi}{2}", r"\frac12\pi", Correct);
    check(r"\frac{\pi}{2}", r"\frac{1}{2}π", Correct);
    check(r"\frac{\pi}{2}", r"\frac{2}{\pi}", Wrong);
    check(r"\frac{\pi}{2}", r"-\frac{\pi}{2}", Wrong);
    check(r"\frac{\pi}{2}", r"\frac{3.14}{2}", Wrong);
    check(r"\frac{a}{b}", r"a/b", Correct);
    check(r"\frac{a}{b}", r"\frac ab", Correct);
    check(r"\frac{a}{b}", r"\frac{b}{a}", Wrong);
    check(r"\frac{a}{bc}", r"a/(bc)", Correct);
    check(r"\frac{x}{2}", r"1/2x", Undecided);
    check(r"\frac{1}{2x}", r"1/2x", Undecided);
    check(r"\frac{x}{2}", r"1/2 x", Correct);
    check(r"\frac{1}{2}", r"{1 \over 2}", Correct);
    check(r"2\frac{1}{3}", r"\frac{7}{3}", Correct);
    check(r"2\frac{1}{3}", r"\frac{2}{3}", Wrong);
    check(r"\frac{7}{3}", r"2\frac13", Correct);
    check(r"\frac{7}{3}", r"2 \cdot \frac13", Wrong);
    check(r"\frac{2}{3}", r"2\cdot\frac13", Correct);
    check(r"\frac{1}{3}", r"0.\overline{3}", Correct);
    check(r"\frac{1}{6}", r"0.1\overline{6}", Correct);
    check(r"\frac{1}{3}", r"0.\overline{34}", Wrong);
    check(r"\frac{1}{2}", r"\frac{1}{2}\%", Undecided);
    check(r"\frac{1}{123}", r"\frac1{123}", Correct);
    check(r"\frac{1}{23}", r"\frac123", Undecided);
}

#[test]
fn roots() {
    check(r"\sqrt{2}", r"\sqrt2", Correct);
    check(r"\sqrt{2}", "√2", Correct);
    check(r"\sqrt{2}", "sqrt(2)", Correct);
    check(r"\sqrt{2}", r"2^{1/2}", Correct);
    check(r"\sqrt{2}", r"2^{\frac12}", Correct);
    check(r"\sqrt{2}", r"\frac{2}{\sqrt{2}}", Correct);
    check(r"\sqrt{2}", r"\sqrt[4]{4}", Correct);
    check(r"\sqrt{2}", r"-\sqrt{2}", Wrong);
    check(r"\sqrt{2}", r"\sqrt{3}", Wrong);
    check(r"\sqrt{2}", r"\sqrt{2.0000000000000000000000000000000001}", Wrong);
    check(r"3\sqrt{2}", r"\sqrt{18}", Correct);
    check(r"3\sqrt{2}", r"2\sqrt{3}", Wrong);
    check(r"3\sqrt{2}", r"3+\sqrt{2}", Wrong);
    check(r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", Correct);
    check(r"\frac{\sqrt{6}}{3}", r"\sqrt{\frac{2}{3}}", Correct);
    check(r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}", Correct);
    check(r"\sqrt{3}-\sqrt{2}", r"\sqrt{5-2\sqrt{6}}", Correct);
    check(r"\sqrt{2}-\sqrt{3}", r"\sqrt{5-2\sqrt{6}}", Wrong);
    check(r"\sqrt{2}+\sqrt{3}", r"\sqrt{5}", Wrong);
    check(r"\frac{1}{\sqrt{2}+1}", r"\sqrt{2}-1", Correct);
    check(r"\frac{1}{\sqrt{5}+\sqrt{3}+\sqrt{2}}", r"\frac{3\sqrt2+2\sqrt3-\sqrt{30}}{12}", Correct);
    check(r"\frac{1}{\sqrt{5}+\sqrt{3}+\sqrt{2}}", r"\frac{2\sqrt2+3\sqrt3-\sqrt{30}}{12}", Wrong);
    check(r"\frac{\sqrt{6}+\sqrt{2}}{4}", r"\frac{\sqrt{2+\sqrt{3}}}{2}", Correct);
    check(r"\frac{1+\sqrt{5}}{2}", r"\frac{\sqrt{5}+1}{2}", Correct);
    check(r"\frac{1+\sqrt{5}}{2}", r"\frac{1-\sqrt{5}}{2}", Wrong);
    check(r"\sqrt[3]{2}", r"2^{1/3}", Correct);
    check(r"\sqrt[3]{16}", r"2\sqrt[3]{2}", Correct);
    check(r"\sqrt[3]{-8}", "-2", Correct);
    check(r"\sqrt{-4}", "2i", Correct);
    check(r"(-8)^{1/3}", "-2", Undecided);
    check(r"\sqrt{12}", r"\sqrt12", Undecided);
    check(r"\sqrt{x^2}", "x", Wrong);
    check(r"\sqrt{4x}", r"2\sqrt{x}", Correct);
    check(r"\sqrt{x}\sqrt{y}", r"\sqrt{xy}", Correct);
    check(r"\sqrt{x+1}", r"\sqrt{x}+1", Wrong);
    check(r"\frac{1}{\sqrt{x+1}}", r"\frac{\sqrt{x+1}}{x+1}", Correct);
}

#[test]
fn decimals_stand_for_what_they_round_to() {
    check(r"\sqrt{2}", "1.414214", Correct);
    check(r"\sqrt{2}", "1.41421356", Correct);
    check(r"\sqrt{2}", "1.414213", Wrong);
    check(r"\sqrt{2}", "1.4142", Wrong);
    check(r"\sqrt{2}", "1.41", Wrong);
    check(r"\pi", "3.141593", Correct);
    check(r"\pi", "3.141592", Wrong);
    check(r"\pi", "3.14159", Wrong);
    check(r"\pi", r"\frac{22}{7}", Wrong);
    check(r"\pi", r"\frac{355}{113}", Wrong);
    check("3.141593", r"\pi", Correct);
    check("e", "2.718282", Correct);
    check(r"e^{\pi\sqrt{163}}", "262537412640768744", Wrong);
    check(r"\frac{1}{8}", "0.1250001", Wrong);
    check(r"\frac{1}{3000000}", "0.000000", Wrong);
    check("0.0000012", "0.0000014", Wrong);
    check(r"\sqrt{2}", r"\approx 1.414214", Correct);
    check(r"\sqrt{2}", r"\sqrt{2} \approx 1.41", Correct);
}

#[test]
fn precision_is_an_option() {
    let at = |precision: u32, answer: &str| {
        let options = super::MathOptions { precision, ..super::MathOptions::default() };
        super::super::judge("1/3", &[answer], super::Language::En, &options).verdict
    };
    assert_eq!(at(3, "0.333"), Correct);
    assert_eq!(at(6, "0.333"), Wrong);
    assert_eq!(at(8, "0.333333"), Wrong);
    assert_eq!(at(u32::MAX, "0.333333"), Wrong);
}

#[test]
fn powers_and_counting() {
    check("1024", "2^{10}", Correct);
    check("2^{10}", "1024", Correct);
    check("2^{10}", "2^{11}", Wrong);
    check("100000", "10^5", Correct);
    check("1000000", "10^5", Wrong);
    check(r"\frac{1}{1024}", "2^{-10}", Correct);
    check("2n", "2ⁿ", Wrong);
    check("2^n", "2ⁿ", Correct);
    check("x^2", "x**2", Correct);
    check("1012", "101₂", Wrong);
    check("3", "log₂8", Correct);
    check("6^n", r"2^n \cdot 3^n", Correct);
    check("2^{n+1}", r"2\cdot 2^n", Correct);
    check("4^n", "2^{2n}", Correct);
    check("2^{n+1}", "2^n+1", Wrong);
    check("2^n", "n^2", Wrong);
    check("120", "5!", Correct);
    check("5!", "120", Correct);
    check("120", "6!", Wrong);
    check("10", r"\binom{5}{2}", Correct);
    check("10", r"{5 \choose 2}", Correct);
    check(r"\binom{5}{2}", r"\binom{5}{3}", Correct);
    check(r"\binom{5}{2}", r"\binom{5}{1}", Wrong);
    check("2^{2017}-1", r"2^{2017} - 1", Correct);
    check("2^{2017}-1", "2^{2017}+1", Wrong);
    check("2^{10^9}", "2^{10^9}", Correct);
    check("2^{10^9}", "2^{10^9}+1", Wrong);
    check("0", "10^{1000000000}", Wrong);
    check("(a+b+c+d)^{400}", "(a+b+c-d)^{400}", Wrong);
    check("(a+b+c+d)^{400}", "(d+a+b+c)^{400}", Undecided);
    check("1500", r"1.5 \times 10^3", Correct);
    check("1500", "1.5e3", Correct);
    check("1500", r"1.5 \times 10^4", Wrong);
    check("0.0015", r"1.5 \cdot 10^{-3}", Correct);
    check("x", "x^{998244353}", Wrong);
    check("2^{3^2}", "512", Correct);
    check("64", "2^3^2", Undecided);
    check("8", "2^{3}!", Undecided);
}

#[test]
fn logarithms_and_constants() {
    check("3", r"\log_2 8", Correct);
    check("3", r"\log_{2}(8)", Correct);
    check("3", r"\log_2 9", Wrong);
    check(r"\frac{3}{2}", r"\log_4 8", Correct);
    check("2", r"\ln e^2", Correct);
    check(r"\ln 6", r"\ln 2 + \ln 3", Correct);
    check(r"\ln 6", r"\ln 5", Wrong);
    check(r"2\ln 3", r"\ln 9", Correct);
    check(r"\ln 8", r"3\ln(2)", Correct);
    check(r"\ln 2", r"\log 2", Undecided);
    check(r"2\log 2", r"\log 4", Correct);
    check(r"2\log 2", r"\log 5", Wrong);
    check(r"\log(2x)", r"\log 2 + \log x", Undecided);
    check(r"\ln 2", "0.693147", Correct);
    check(r"\ln 2", "0.693", Wrong);
    check(r"\log_2 3", r"\frac{\ln 3}{\ln 2}", Correct);
    check("5", r"e^{\ln 5}", Correct);
    check("e^2", r"e \cdot e", Correct);
    check("e^2", "2e", Wrong);
    check("e^{x+1}", r"e\cdot e^x", Correct);
    check("-1", r"e^{i\pi}", Correct);
    check(r"|-5|", "5", Correct);
    check(r"\lfloor \pi \rfloor", "3", Correct);
    check(r"\lceil \pi \rceil", "3", Wrong);
    check(r"|\sqrt{2}-2|", r"2-\sqrt{2}", Correct);
}

#[test]
fn polynomials_and_rational_functions() {
    check("x+1", "1+x", Correct);
    check("2x+3", "3+2x", Correct);
    check("2x+3", "2x+2", Wrong);
    check("(x+1)^2", "x^2+2x+1", Correct);
    check("(x+1)^2", "x^2+1", Wrong);
    check("(x-1)(x+1)", "x^2-1", Correct);
    check("(x-1)(x+1)", "x^2+1", Wrong);
    check("x^2-y^2", "(x+y)(x-y)", Correct);
    check("x^2y", "x y^2", Wrong);
    check("2xy", "2yx", Correct);
    check(r"\frac{1}{x}+\frac{1}{y}", r"\frac{x+y}{xy}", Correct);
    check(r"\frac{1}{x}+\frac{1}{y}", r"\frac{2}{x+y}", Wrong);
    check(r"\frac{x+1}{x-1}", r"\frac{-x-1}{1-x}", Correct);
    check(r"\frac{x+1}{x-1}", r"\frac{x-1}{x+1}", Wrong);
    check(r"\frac{1}{(x-1)(x-2)}", r"\frac{1}{x-2}-\frac{1}{x-1}", Correct);
    check("x+1", r"\frac{x^2-1}{x-1}", Undecided);
    check(r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}", Correct);
    check(r"\frac{n(n+1)}{2}", r"\binom{n}{2}", Undecided);
    check("x_1+x_2", "x_2+x_1", Correct);
    check("x_1", "x_2", Wrong);
    check("x_{12}", "x_1", Wrong);
    check(r"\pi r^2", r"r^2\pi", Correct);
    check(r"\pi r^2", r"2\pi r", Wrong);
    check(r"\alpha+\beta", "β+α", Correct);
    check("0.5x", r"\frac{x}{2}", Correct);
    check("x", "X", Wrong);
    check("(a+b+c)^{20}", "(a+b+c)^{20}", Correct);
    check("f(x)", "f(y)", Undecided);
}

#[test]
fn complex_numbers_and_what_is_left_undecided() {
    check("3+4i", "4i+3", Correct);
    check("3+4i", "3-4i", Wrong);
    check("(1+i)^2", "2i", Correct);
    check(r"\frac{1}{1+i}", r"\frac{1-i}{2}", Correct);
    check("i^2", "-1", Correct);
    check("5", "3+4i", Wrong);
    check(r"\sin x", r"\sin x", Correct);
    check(r"\sin x", r"\sin(x)", Correct);
    check(r"\sin x", r"\cos x", Undecided);
    check(r"\frac12", r"\sin 30^\circ", Undecided);
    check(r"\sin^2 x + \cos^2 x", "1", Undecided);
    check("1", r"\sum_{n=1}^{\infty} 2^{-n}", Undecided);
    check(r"\int_0^1 x\,dx", r"\int_0^1 x \, dx", Correct);
    check(r"\int_0^1 x\,dx", r"\frac12", Undecided);
    check(r"\int f\,dx", r"\int F\,dx", Undecided);
    check(r"\lim_{x\to 0} x", "0", Undecided);
    check("1", r"\frac{1}{0}", Undecided);
}

#[test]
fn what_has_two_readings_has_none() {
    check("6", "2 3", Undecided);
    check("x^2", "x2", Undecided);
    check("24", "4!!", Undecided);
    check("5", "--5", Undecided);
    check("2", r"\frac{4}{2", Undecided);
    check("2", ")2(", Undecided);
    check("1", r"\unknown{1}", Undecided);
    check(r"\frac{\ln 2}{3}", r"\ln 2/3", Undecided);
    check("5", "", Undecided);
}
