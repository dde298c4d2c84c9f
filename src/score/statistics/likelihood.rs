//! Which of several continuations a model finds likeliest: the rules of multiple choice by log-likelihood.
//!
//! Follows lm-evaluation-harness: `acc` takes the largest sum of log-probabilities; `acc_norm` the largest sum divided by
//! the option's length in characters, which its documentation calls bytes and its code does not; ties go to the first.
//! Options in different scripts differ in bytes a character; `acc_bytes` divides by bytes of UTF-8.

/// What the sums of log-probabilities are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalisation {
    /// acc
    None,
    /// acc_norm
    Characters,
    /// acc_bytes
    Bytes,
}

/// An option, and the sum of the log-probabilities of its tokens after the prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredOption<'a> {
    pub text: &'a str,
    pub logprob: f64,
}

impl Normalisation {
    fn length(self, text: &str) -> f64 {
        match self {
            Self::None => 1.0,
            // An empty option is as long as one character, for a division by zero ranks nothing.
            Self::Characters => text.chars().count().max(1) as f64,
            Self::Bytes => text.len().max(1) as f64,
        }
    }
}

/// The index of the likeliest option; `None` without options, and where a sum is no number.
pub fn likeliest(options: &[ScoredOption<'_>], normalisation: Normalisation) -> Option<usize> {
    if options.iter().any(|option| option.logprob.is_nan()) {
        return None;
    }
    let value = |option: &ScoredOption<'_>| option.logprob / normalisation.length(option.text);
    let better = |best: Option<(usize, f64)>, (index, found): (usize, f64)| match best {
        Some((_, value)) if value >= found => best,
        _ => Some((index, found)),
    };
    options.iter().map(value).enumerate().fold(None, better).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_by_hand() {
        let check = |options: &[(&str, f64)], expected: [Option<usize>; 3]| {
            let options: Vec<ScoredOption<'_>> =
                options.iter().map(|(text, logprob)| ScoredOption { text, logprob: *logprob }).collect();
            let rules = [Normalisation::None, Normalisation::Characters, Normalisation::Bytes];
            assert_eq!(rules.map(|rule| likeliest(&options, rule)), expected, "{options:?}");
        };
        check(&[("yes", -3.0), ("no", -2.5)], [Some(1), Some(0), Some(0)]);
        // 4 characters, 4 bytes: -1 each; 2 characters, 6 bytes: -1.5 and -0.5.
        check(&[("four", -4.0), ("四個", -3.0)], [Some(1), Some(0), Some(1)]);
        check(&[("a", -1.0), ("b", -1.0)], [Some(0); 3]);
        check(&[("", -1.0), ("ab", -1.5)], [Some(0), Some(1), Some(1)]);
        check(&[("a", f64::NEG_INFINITY), ("b", -9.0)], [Some(1); 3]);
        check(&[("a", f64::NAN), ("b", -9.0)], [None; 3]);
        check(&[], [None; 3]);
    }
}
