//! Whether the text around a box leaves it the answer: `-\boxed{5}`, `\sqrt{\boxed{5}}`, `\boxed{5} million` and "not
//! \boxed{5}" do not. Which value they state is not worked out; they are left undecided.

use super::beside::{changes_what_follows, changes_what_precedes, is_case};
use super::formula::{floor, head};
use super::joined::is_joiner;
use super::taken_back::is_taken_back;
use super::value::{UNIT_LETTERS, is_blank, is_digit};
use crate::score::phrases::{
    COMPOUND_UNITS, MAGNITUDES, NEGATIONS, QUOTATIONS, REQUESTS, WRITING, WRONGS, measure,
};

/// Bytes that are looked at on each side.
const WINDOW: usize = 96;

/// Whether what stands before `start` and behind `end` changes what a box, or several joined, says.
pub(super) fn is_changed(text: &str, start: usize, end: usize) -> bool {
    let before = &text[floor(text, start.saturating_sub(WINDOW))..start];
    let after = head(&text[end..], WINDOW);
    changes_from_left(before)
        || changes_from_right(after)
        || is_quoted(before, after)
        || equals_another(&text[start..end], after)
        || is_part_of_more(after)
        || is_taken_back(text, end)
}

/// "\boxed{48} feet 6 inches", "\boxed{48} minutes and 30 seconds", "\boxed{48}, 49 or 50", "\boxed{5} M".
fn is_part_of_more(after: &str) -> bool {
    let near = after.trim_start_matches(is_closing);
    let letters = |text: &str| text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
    let unit = &near[..letters(near)];
    if ["M", "MM", "Md", "Mrd", "Mio", "Mld"].contains(&unit) {
        return true;
    }
    let is_compound = COMPOUND_UNITS.contains(&unit.to_lowercase().as_str());
    let behind = near[unit.len()..].trim_start_matches(is_blank);
    let next = &behind[..letters(behind)];
    let number = behind[next.len()..].trim_start_matches(is_blank);
    let goes_on = next.is_empty() || is_joiner(&next.to_lowercase());
    if is_compound && goes_on && number.starts_with(is_digit) {
        return true;
    }
    let Some(listed) = near.strip_prefix(',').map(|rest| rest.trim_start_matches(is_blank)) else {
        return false;
    };
    let joined = listed.trim_start_matches(is_digit).trim_start_matches(|c: char| is_blank(c) || c == ',');
    let joiner = &joined[..letters(joined)];
    listed.starts_with(is_digit)
        && is_joiner(&joiner.to_lowercase())
        && joined[joiner.len()..].trim_start_matches(is_blank).starts_with(is_digit)
}

/// Words, and signs of scripts without blanks, that may stand between who asked for a value and the value.
const QUOTED_WORDS_MAX: usize = 3;
const QUOTED_SIGNS_MAX: usize = 8;
/// Bytes behind a value in which a word for writing may stand: "Ich soll \boxed{5} schreiben".
const WRITING_BEHIND_MAX: usize = 24;

/// "The user asked me to write \boxed{12}", and not "we are asked to find x, which is".
fn is_quoted(before: &str, after: &str) -> bool {
    let sentence = before.rsplit(['.', '\n', '!', '?', '。', '！', '？', '।']).next().unwrap_or_default();
    let lower = sentence.to_lowercase();
    let between = |words: &&str| {
        let between = &lower[lower.rfind(*words)? + words.len()..];
        let signs = between.chars().filter(|c| *c > '\u{e00}').count();
        let is_near = between.split_whitespace().count() <= QUOTED_WORDS_MAX && signs <= QUOTED_SIGNS_MAX;
        is_near.then_some(between.len())
    };
    if QUOTATIONS.iter().any(|words| between(words).is_some()) {
        return true;
    }
    let near = REQUESTS.iter().filter_map(between).max();
    near.is_some_and(|length| {
        let behind = head(after, WRITING_BEHIND_MAX).to_lowercase();
        let sides = [&lower[lower.len() - length..], &behind];
        WRITING.iter().any(|verb| sides.iter().any(|side| side.contains(verb)))
    })
}

/// `\boxed{5} = 3 + y`, `\boxed{5} = 6`: the equation goes on behind the box to what says another value, or may.
fn equals_another(whole: &str, after: &str) -> bool {
    let near = after.trim_start_matches(is_closing);
    let Some(side) = near.strip_prefix('=') else { return false };
    let side = side.trim_start_matches(is_closing);
    let end = side
        .char_indices()
        .find(|(at, c)| {
            "$\n=".contains(*c) || [". ", ", ", "\\)", "\\]"].iter().any(|mark| side[*at..].starts_with(mark))
        })
        .map_or(side.len(), |(at, _)| at);
    let side = side[..end].trim_end_matches(|c: char| is_blank(c) || c == '.');
    let plain = |text: &str| -> Option<String> {
        let digits: String = text.chars().filter(|c| *c != ',').collect();
        digits
            .chars()
            .all(is_digit)
            .then(|| digits.trim_start_matches('0').to_owned())
            .filter(|_| !digits.is_empty())
    };
    let content = whole.find('{').map_or(whole, |at| &whole[at + 1..whole.len() - 1]);
    if let (Some(said), Some(other)) = (plain(content.trim()), plain(side)) {
        return said != other;
    }
    // `= y` names the value; `= 3 + y` is another question.
    side.chars().count() > 1 && has_variable(side)
}

/// Whether a letter stands alone in a formula, and not in a command or word.
fn has_variable(formula: &str) -> bool {
    let mut previous = ' ';
    let mut letters = formula.chars().peekable();
    while let Some(c) = letters.next() {
        let next = letters.peek().copied().unwrap_or(' ');
        if c.is_ascii_alphabetic() && !previous.is_alphabetic() && previous != '\\' && !next.is_alphabetic() {
            return true;
        }
        previous = c;
    }
    false
}

fn changes_from_left(before: &str) -> bool {
    let near = trim_end_spaces(before);
    let adjacent = near.len() == before.len();
    // TeX's own spaces set nothing apart: `3\,\boxed{5}` is 15.
    let in_formula = !adjacent && !before.ends_with(is_blank) && !before.ends_with("quad");
    let Some(c) = near.chars().next_back() else { return false };
    let further = near[..near.len() - c.len_utf8()].trim_end_matches(is_blank);
    match c {
        '$' => is_denied(near.trim_end_matches('$')),
        '(' | '[' if near.ends_with("\\(") || near.ends_with("\\[") => is_denied(&near[..near.len() - 2]),
        '{' => is_argument(&near[..near.len() - 1]),
        '-' | '−' | '–' => !adjacent_dash_is_prose(further, adjacent || in_formula),
        // A quotation's mark, and arrows.
        '>' if near.rfind('<').is_some_and(|at| is_tag(&near[at..])) => {
            ["<del>", "<s>", "<strike>"].iter().any(|tag| near.ends_with(tag))
        }
        '>' | '<' => !further.is_empty() && !further.ends_with(['-', '=', '\n', '>']),
        '*' => !(adjacent || further.is_empty() || further.ends_with(['\n', '*'])),
        '~' => near.ends_with("~~"),
        // A comment of TeX.
        '%' => further.is_empty() || further.ends_with('\n'),
        '+' | '/' | '^' | '_' | '×' | '÷' | '·' | '≤' | '≥' | '≠' | '±' | '√' => true,
        '.' | ',' | '٫' | '٬' if adjacent && further.ends_with(is_digit) => true,
        ',' | ';' => is_listed(further),
        c if is_digit(c) => adjacent || in_formula,
        c if c.is_ascii_alphabetic() => {
            let word = near.len() - near.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
            let command = near[..near.len() - word].ends_with('\\');
            if command {
                return OPERATORS.contains(&&near[near.len() - word..]);
            }
            (word == 1 && adjacent) || is_denied(near)
        }
        _ => is_denied(near),
    }
}

/// `(6, \boxed{5})`: a bracket and a number stand before the comma.
fn is_listed(before: &str) -> bool {
    let number = before.trim_end_matches(is_digit);
    number.len() < before.len() && number.trim_end_matches(is_blank).ends_with(['(', '[', '{'])
}

/// Commands that take what follows them into a formula.
const OPERATORS: [&str; 26] = [
    "ne", "neq", "times", "cdot", "div", "pm", "mp", "lt", "gt", "le", "leq", "ge", "geq", "leqslant",
    "geqslant", "not", "sin", "cos", "tan", "log", "ln", "exp", "sqrt", "over", "pi", "sum",
];

/// `<answer>`, and no comparison.
fn is_tag(text: &str) -> bool {
    let name = &text[1..text.len() - 1];
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "/_-|".contains(c))
}

fn trim_end_spaces(text: &str) -> &str {
    let mut text = text.trim_end_matches(is_blank);
    while let Some(rest) = ["\\,", "\\;", "\\:", "\\!", "\\ ", "\\quad", "\\displaystyle"]
        .iter()
        .find_map(|space| text.strip_suffix(space))
    {
        text = rest.trim_end_matches(is_blank);
    }
    text
}

/// "Answer - \boxed{5}" and the bullet of a list, and not a minus.
fn adjacent_dash_is_prose(further: &str, adjacent: bool) -> bool {
    if adjacent {
        return false;
    }
    let word = further.chars().rev().take_while(|c| c.is_alphabetic()).take(2).count();
    further.is_empty() || further.ends_with(['\n', '*', '.', ':']) || word == 2
}

/// Whether an open brace belongs to a root, a fraction or an exponent.
fn is_argument(before: &str) -> bool {
    let mut rest = before.trim_end();
    // `\frac{1}{\boxed{5}}`: step over the first argument.
    if rest.ends_with('}') {
        let Some(open) = rest.rfind('{') else { return false };
        rest = &rest[..open];
    }
    if rest.ends_with(['^', '_', ']']) {
        return true;
    }
    let name = rest.len() - rest.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
    let command = rest[..rest.len() - name].ends_with('\\');
    let arithmetic = [
        "sqrt", "frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom", "overline", "log", "not", "cancel",
        "sout", "xcancel", "bcancel", "st", "phantom", "hphantom", "vphantom",
    ];
    command && arithmetic.contains(&&rest[rest.len() - name..])
}

/// Words that may stand between "wrong" and the box that it speaks of.
const DISOWNED_WORDS_MAX: usize = 4;

/// "the wrong answer would be", and not "17 is false and the answer is".
fn is_disowned(sentence: &str) -> bool {
    let words: Vec<&str> =
        sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let behind = words.iter().rposition(|word| WRONGS.contains(word)).map(|at| &words[at + 1..]);
    behind.is_some_and(|behind| {
        let turns = |word: &&str| is_joiner(word) || ["but", "so", "thus", "hence"].contains(word);
        behind.len() <= DISOWNED_WORDS_MAX && !behind.iter().any(turns)
    })
}

/// Whether one of the last words before the box says "not", or makes a bound or a wrong answer of it.
fn is_denied(before: &str) -> bool {
    let sentence = before
        .rsplit(['.', '\n', ',', ';', ':', '!', '?', '。', '，', '、', '：'])
        .next()
        .unwrap_or_default();
    if changes_what_follows(sentence) {
        return true;
    }
    let lower = sentence.to_lowercase();
    if is_disowned(&lower) {
        return true;
    }
    let last: Vec<&str> = lower.split_whitespace().rev().take(2).collect();
    let spaced = last.iter().any(|word| NEGATIONS.contains(&word.trim_matches(['*', '_', '"'])));
    let tail = &lower[floor(&lower, lower.len().saturating_sub(12))..];
    let unspaced = |word: &&&str| word.starts_with(|c: char| c > '\u{e00}') && tail.contains(**word);
    spaced || NEGATIONS.iter().any(|word| unspaced(&word))
}

fn changes_from_right(after: &str) -> bool {
    let near = after.trim_start_matches(is_blank);
    let adjacent = near.len() == after.len();
    let near = trim_start_spaces(near);
    let Some(c) = near.chars().next() else { return false };
    let rest = &near[c.len_utf8()..];
    let further = rest.trim_start_matches(is_blank);
    match c {
        // A degree sign is a unit.
        '^' => {
            let degree = ["\\circ", "{\\circ}", "°"].iter().find_map(|degree| rest.strip_prefix(degree));
            degree.is_none_or(|behind| behind.trim_start_matches(is_blank).starts_with(is_digit))
        }
        '_' => adjacent && rest.starts_with(|c: char| c.is_alphanumeric() || c == '{'),
        '!' => adjacent && rest.starts_with(|c: char| !c.is_whitespace() && !"*\"”)".contains(c)),
        '<' => !(rest.starts_with('/') || rest.starts_with('|')),
        '+' | '×' | '÷' | '·' | '±' | '≤' | '≥' | '≠' | '?' | '？' | '؟' => true,
        '>' => false,
        '~' => rest.starts_with('~'),
        '-' | '−' | '–' => starts_operand(further) && (c != '–' || adjacent),
        '*' => !rest.starts_with('*') && !adjacent && starts_operand(further),
        '/' => starts_operand(further),
        ':' | '٫' | '٬' => rest.starts_with(is_digit),
        '.' if adjacent => rest.starts_with(is_digit),
        ',' | ';' => {
            (adjacent && rest.starts_with(is_digit)) || goes_on_as_list(further) || starts_case(further)
        }
        c if is_digit(c) => adjacent || is_group(near),
        '\\' => {
            let name = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            if rest[..name].starts_with("text") || ["mathrm", "mbox"].contains(&&rest[..name]) {
                return starts_with_magnitude(rest[name..].trim_start_matches(['{', ' ', '~']));
            }
            if let Some(behind) = rest.strip_prefix("right") {
                return behind
                    .trim_start_matches([')', ']', '\\', '}', '.', '|'])
                    .starts_with(['^', '!', '_']);
            }
            if name == 0 {
                return starts_with_magnitude(near.trim_start_matches(is_closing));
            }
            ["times", "cdot", "div", "frac", "sqrt", "over", "pi", "choose", "mod", "bmod"]
                .contains(&&rest[..name])
                || OPERATORS.contains(&&rest[..name])
        }
        c if adjacent && is_factor(c, rest) => true,
        '$' | ')' | ']' => {
            let behind = near.trim_start_matches(is_closing);
            behind.starts_with(['?', '？', '؟', '^']) || starts_with_magnitude(behind)
        }
        _ => starts_with_magnitude(near),
    }
}

/// "; otherwise 6", ", if n is even".
fn starts_case(text: &str) -> bool {
    let length = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
    is_case(&text[..length].to_lowercase(), &text[length..])
}

/// What closes the formula or the emphasis around a box.
fn is_closing(c: char) -> bool {
    is_blank(c) || "$)]\\*".contains(c)
}

fn trim_start_spaces(text: &str) -> &str {
    let mut text = text;
    while let Some(rest) =
        ["\\,", "\\;", "\\:", "\\!", "\\ ", "{,}", "{}"].iter().find_map(|space| text.strip_prefix(space))
    {
        text = rest.trim_start_matches(is_blank);
    }
    text
}

/// "\boxed{5} 000": three digits that end there continue the number.
fn is_group(text: &str) -> bool {
    let digits = text.find(|c| !is_digit(c)).unwrap_or(text.len());
    text[..digits].chars().count() == 3 && !text[digits..].starts_with(char::is_alphanumeric)
}

/// `\boxed{5}, 6$`: another number up to the end of the formula or line.
fn goes_on_as_list(further: &str) -> bool {
    let digits = further.find(|c| !is_digit(c)).unwrap_or(further.len());
    let behind = further[digits..].trim_start_matches(is_blank);
    digits > 0 && behind.starts_with(['$', '\n', '\\', ')', ']', '}'])
}

/// `\boxed{5}x`, `\boxed{5}i`, `\boxed{5}k`: a letter that is no unit of one letter.
fn is_factor(c: char, rest: &str) -> bool {
    let word_ends = !rest.starts_with(char::is_alphabetic);
    c.is_ascii_alphabetic() && word_ends && (!UNIT_LETTERS.contains(c) || "kK".contains(c))
}

fn starts_operand(text: &str) -> bool {
    text.starts_with(|c: char| is_digit(c) || c == '\\' || c == '(' || c == '$')
        || text.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
            && !text.chars().nth(1).is_some_and(char::is_alphabetic)
}

/// Words that make another value of the box: "million", "squared", "or 6", "if n is even".
fn starts_with_magnitude(text: &str) -> bool {
    if changes_what_precedes(text) {
        return true;
    }
    let text = &text[measure(text).unwrap_or_default()..];
    let length = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
    let word = text[..length].to_lowercase();
    let unspaced = |name: &&str| name.starts_with(|c: char| c > '\u{e00}') && text.starts_with(*name);
    !word.is_empty()
        && (MAGNITUDES.contains(&word.as_str()) || MAGNITUDES.iter().any(unspaced) || starts_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The box is written as a hash.
    #[track_caller]
    fn check(text: &str, expected: bool) {
        let text = text.replace('#', r"\boxed{5}");
        let start = text.find(r"\boxed").unwrap();
        assert_eq!(is_changed(&text, start, start + 9), expected, "{text}");
    }

    #[test]
    fn parts_of_a_formula() {
        for text in [
            "$-#$",
            "$x = -#$",
            "$2#$",
            "$#^2$",
            "$#!$",
            r"$\sqrt{#}$",
            r"$\frac{#}{2}$",
            r"$\frac{1}{#}$",
            "$1/#$",
            r"$x \neq #$",
            "$x > #$",
            r"$# \times 10^{3}$",
            "$3 + #$",
            "$# + 3$",
            "$#/3$",
            "# million",
            r"$#$ million",
            r"#\text{ million}",
            "#万",
            "#0",
            "#.5",
            "#,000",
            "$x - #$",
            r"$2^{#}$",
            "$x_{#}$",
            r"\cancel{#}",
            r"$2 \cdot #$",
            "$x ≠ #$",
            "$# - x$",
            "at least #",
            r"#\,000",
            "# 000",
            "#{,}000",
            "#,5",
            "#٫5",
            "1.#",
            r"-\,#",
            r"$3\,#$",
            "$#x$",
            "$#i$",
            "#e3",
            "#k",
            "$#:3$",
            r"$# \le x$",
            "$#, 6$",
            "# or 6",
            "# and 6",
            r"$#\, \text{thousand}$",
            r"\phantom{#}",
            "~~#~~ 6",
            "# fourths",
            "负#",
            "minus #",
            "# squared",
            "#分の1",
            "# bis 6",
            "# ونصف",
            "# if n is even, 6 otherwise",
            "#?",
            "Is it #?",
            "$# = 3 + y$",
            "$#$ = 2x",
            "$# = 6$",
            r"\[# = \frac{y}{2}\]",
        ] {
            check(text, true);
        }
    }

    #[test]
    fn denials() {
        for text in [
            "The answer is not #.",
            "It cannot be #.",
            "The value # is wrong.",
            "Die Antwort ist nicht #.",
            "答案不是#。",
            "答えは#ではない。",
            "La respuesta no es #.",
            "It is not $#$.",
            "답은 #가 아닙니다.",
            "So #. Wait, that is wrong: it is 6.",
            "# n'est pas correct.",
            "# не верно",
            "# sio sahihi",
            "# ไม่ถูกต้อง",
            "# ভুল।",
            "# తప్పు",
            "# خطأ",
            "# गलत है",
            "# yanlış",
            "# salah",
            "# sai",
            "# è sbagliato",
            "# está errado",
            "# is onjuist",
            "# jest błędne",
            "# 틀렸습니다",
            "# (incorrect)",
            "# ✗",
            "The wrong answer would be #.",
            "The user asked me to write #; I did not find out.",
            "I was told to write $#$.",
            "# is what was asked for; but I refuse to say so",
            "Me pidieron escribir #.",
            "Ich soll # schreiben.",
            "#と書くように言われました。",
            "要求我写#。",
            "#, aber ich weigere mich.",
            "# ... or is it 6?",
            "#, right?",
            "# (oder nicht?)",
            "#\n\nSorry, it should be 47.",
            "#\n\nI made a mistake. The total is 47.",
            "#\n\nOh, sorry.",
            "#\n\n抱歉，我算错了，应该是47。",
        ] {
            check(text, true);
        }
    }

    #[test]
    fn answers_of_their_own() {
        for text in [
            "#",
            "$#$",
            "$$#$$",
            r"\[#\]",
            "The answer is #.",
            "**#**",
            "*#*",
            "- #",
            "* #",
            "> #",
            "Answer - #",
            "Answer: #!",
            "=> #",
            "x = #",
            r"$x = #$",
            r"$\Rightarrow #$",
            r"$\approx #$",
            r"#^\circ",
            r"#\%",
            "# dollars",
            "# - which is prime",
            "#, 000",
            "# apples, 3 pears",
            "No, it is #.",
            "not 4 but #",
            r"\text{#}",
            r"$\mathbf{#}$",
            r"\color{red}{#}",
            r"$x = 3, \quad #$",
            "答案是#。",
            "答えは#です。",
            r"#\text{ dollars}",
            "$#$.",
            "step 2 #",
            "(#)",
            "#\n\nHope this helps!",
            "| # |",
            "#.",
            "1. #",
            "It is #, as 2 is not odd.",
            "So 17 is false and the answer is #.",
            "# wrong answers",
            "$# = 5$",
            "$# = 2 + 3$",
            "$x = # = y$",
            r"$# = \frac{10}{2}$",
            r"\[# = 5.0\]",
            "# = 5 apples.",
            "#. Do you need more?",
            "# Would you like to know why?",
            "**#**\n\nIs that clear?",
            "The user asked me to solve it. #",
            "You asked me to find the total, which is #.",
            "We are asked to find x = #.",
            "#\n\nLet me know if you spot a mistake!",
            "#\n\nWe can check this: it should be positive, and it is.",
            "#\n\nI am sorry for the long solution.",
            "#\n\nVérifions qu'il n'y a pas d'erreur : 9 × 2 = 18.",
            "#\n\nВсё верно, ошибок нет.",
            "#\n\n我们检查一下：没有算错。",
            "#\n\n실수가 없습니다.",
            "#\n\nকোনো ভুল নেই।",
            "#, as I refuse no answer.",
        ] {
            check(text, false);
        }
    }
}
