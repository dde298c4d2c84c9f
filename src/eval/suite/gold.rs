//! From a source's answer to the gold: the text after GSM8K's hashes, thousands commas, floats that are integers.

/// What to do to an answer, in the manifest's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The text after the last `####`.
    AfterHashes,
    /// `114,200` is 114200; commas that do not group by three are an error.
    ThousandsCommas,
    /// `8.0` is 8; other fractions stay.
    Integer,
    /// `$x$` is x.
    Dollars,
}

const RULES: [(&str, Rule); 4] = [
    ("after-hashes", Rule::AfterHashes),
    ("thousands-commas", Rule::ThousandsCommas),
    ("integer", Rule::Integer),
    ("dollars", Rule::Dollars),
];

impl Rule {
    pub fn named(name: &str) -> Option<Self> {
        RULES.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule)
    }

    pub fn names() -> [&'static str; 4] {
        RULES.map(|(name, _)| name)
    }

    /// # Errors
    /// What the answer lacks.
    pub fn apply(self, answer: &str) -> Result<String, String> {
        match self {
            Self::AfterHashes => match answer.rsplit_once("####") {
                Some((_, rest)) => Ok(rest.trim().to_owned()),
                None => Err("holds no ####".to_owned()),
            },
            Self::ThousandsCommas if is_grouped(answer) => Ok(answer.replace(',', "")),
            Self::ThousandsCommas => {
                Err(format!("{answer:?}: its commas do not part groups of three digits"))
            }
            Self::Integer => Ok(match answer.split_once('.') {
                Some((whole, zeros)) if !whole.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
                _ => answer,
            }
            .to_owned()),
            Self::Dollars => {
                let inner = answer.trim().strip_prefix('$').and_then(|rest| rest.strip_suffix('$'));
                Ok(inner.unwrap_or(answer).trim().to_owned())
            }
        }
    }
}

/// Whether commas, if any, stand before every three digits of the integer part.
fn is_grouped(number: &str) -> bool {
    if !number.contains(',') {
        return true;
    }
    let number = number.trim().trim_start_matches(['+', '-']);
    let whole = number.split_once('.').map_or(number, |(whole, _)| whole);
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    (1..=3).contains(&first.len()) && digits(first) && groups.all(|group| group.len() == 3 && digits(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_golds() {
        let check = |rule: &str, answer: &str, expected: Result<&str, &str>| {
            let found = Rule::named(rule).unwrap().apply(answer);
            match expected {
                Ok(gold) => assert_eq!(found.as_deref(), Ok(gold), "{rule} {answer}"),
                Err(part) => assert!(found.as_ref().is_err_and(|error| error.contains(part)), "{found:?}"),
            }
        };
        check("after-hashes", "48/2 = 24.\n#### 72", Ok("72"));
        check("after-hashes", "a #### 1\n#### 1,200 ", Ok("1,200"));
        check("after-hashes", "72", Err("no ####"));
        check("thousands-commas", "114,200", Ok("114200"));
        check("thousands-commas", "-1,234,567.5", Ok("-1234567.5"));
        check("thousands-commas", "18", Ok("18"));
        check("thousands-commas", "1,23", Err("groups of three"));
        check("thousands-commas", "1234,567", Err("groups of three"));
        check("thousands-commas", ",567", Err("groups of three"));
        check("integer", "8.0", Ok("8"));
        check("integer", "-12.000", Ok("-12"));
        check("integer", "8.5", Ok("8.5"));
        check("integer", ".0", Ok(".0"));
        check("integer", "204", Ok("204"));
        check("dollars", "$\\frac12$", Ok("\\frac12"));
        check("dollars", "$5", Ok("$5"));
    }
}
