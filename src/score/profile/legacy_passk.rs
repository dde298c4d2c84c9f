//! `legacy-passk`: the scorer of the Budget Alignment evaluation, with its faults.
//!
//! Any box of the completion, in the trace or in the answer, counts as a hit if its text is the gold's, character by
//! character. A box ends at its first closing brace, so nested braces break it, and "025" is not "25".

use super::StringMatch;

const OPEN: &str = "\\boxed{";

pub(in crate::score) fn find(gold: &str, completion: &str) -> StringMatch {
    let gold = gold.trim();
    let mut last = StringMatch::none();
    let mut from = 0;
    // The pattern is `\\boxed\{([^}]+?)\}`: at least one character that is no closing brace, then one that is.
    while let Some(at) = completion[from..].find(OPEN) {
        let start = from + at + OPEN.len();
        let Some(length) = completion[start..].find('}') else { break };
        from = start + length;
        if length == 0 {
            continue;
        }
        let content = &completion[start..from];
        let correct = content.trim() == gold;
        last = StringMatch { span: Some(start..from), normalised: Some(content.trim().to_owned()), correct };
        if correct {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_box_is_a_hit() {
        let check = |gold: &str, completion: &str, expected: bool| {
            assert_eq!(find(gold, completion).correct, expected, "{completion}");
        };
        check("42", r"\boxed{42}", true);
        check("42", r"\boxed{ 42 }", true);
        check("42", r"<think>\boxed{42}</think>\boxed{41}", true);
        check("42", r"\boxed{42} no, \boxed{41}", true);
        check("25", r"\boxed{025}", false);
        check(r"\frac{1}{2}", r"\boxed{\frac{1}{2}}", false);
        check(r"\frac{1", r"\boxed{\frac{1}{2}}", true);
        check("42", "42", false);
        check("42", r"\boxed{}\boxed{42}", true);
        check("42", r"\boxed{42", false);
    }
}
