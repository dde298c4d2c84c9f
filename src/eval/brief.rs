//! A sample in a few bytes: what a table of a run's samples and a comparison of two runs read of each, beside the record, which is
//! long. Kept as a JSON array, so that names are not repeated a hundred thousand times.

use serde::{Deserialize, Serialize};

use crate::language::Language;
use crate::score::language::Summary;

use super::record::{Outcome, SampleRecord};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct SampleBrief {
    pub outcome: Outcome,
    pub following: Option<bool>,
    pub trace: LanguageBrief,
    pub answer: LanguageBrief,
    pub completion_tokens: Option<u64>,
    pub thinking_tokens: Option<u64>,
}

/// A text's language; nothing is known of a trace that is not there, or of a text that is all neutral.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LanguageBrief {
    /// The target's share, in thousandths.
    pub score: Option<f64>,
    /// What most of it is written in: a language's code or a script's name.
    pub language: Option<String>,
    pub switches: u64,
    pub wrong_script_characters: u64,
}

type TextRow = (Option<f64>, Option<String>, u64, u64);

/// The last is not in rows of older builds.
#[derive(Serialize, Deserialize)]
struct Row(Outcome, Option<bool>, TextRow, TextRow, Option<u64>, #[serde(default)] Option<u64>);

impl From<Row> for SampleBrief {
    fn from(row: Row) -> Self {
        let Row(outcome, following, trace, answer, completion_tokens, thinking_tokens) = row;
        let (trace, answer) = (trace.into(), answer.into());
        Self { outcome, following, trace, answer, completion_tokens, thinking_tokens }
    }
}

impl From<SampleBrief> for Row {
    fn from(brief: SampleBrief) -> Self {
        let SampleBrief { outcome, following, trace, answer, completion_tokens, thinking_tokens } = brief;
        Self(outcome, following, trace.into(), answer.into(), completion_tokens, thinking_tokens)
    }
}

impl From<TextRow> for LanguageBrief {
    fn from((score, language, switches, wrong_script_characters): TextRow) -> Self {
        Self { score, language, switches, wrong_script_characters }
    }
}

impl From<LanguageBrief> for TextRow {
    fn from(brief: LanguageBrief) -> Self {
        (brief.score, brief.language, brief.switches, brief.wrong_script_characters)
    }
}

impl From<&SampleRecord> for SampleBrief {
    fn from(record: &SampleRecord) -> Self {
        let of = |text: &Option<Summary>| {
            text.as_ref().map(|text| LanguageBrief::of(text, record.language)).unwrap_or_default()
        };
        Self {
            outcome: record.outcome,
            following: record.following,
            trace: of(&record.trace_language),
            answer: of(&record.answer_language),
            completion_tokens: record.completion_tokens,
            thinking_tokens: record.thinking_tokens,
        }
    }
}

impl LanguageBrief {
    fn of(text: &Summary, target: Language) -> Self {
        Self {
            score: text.score.map(|score| (score * 1000.0).round() / 1000.0),
            language: text.score.map(|score| {
                let mut most = (target.code(), score);
                for (name, share) in &text.off_target {
                    if *share > most.1 {
                        most = (name, *share);
                    }
                }
                most.0.to_owned()
            }),
            switches: text.switches as u64,
            wrong_script_characters: text.wrong_script_characters as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_text_is_in_what_most_of_it_is_in() {
        let check = |score: Option<f64>, others: &[(&str, f64)], expected: (Option<f64>, Option<&str>)| {
            let off_target: BTreeMap<String, f64> =
                others.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect();
            let text = Summary { score, switches: 2, off_target, wrong_script_characters: 3 };
            let brief = LanguageBrief::of(&text, Language::Sw);
            assert_eq!((brief.score, brief.language.as_deref()), expected);
            assert_eq!((brief.switches, brief.wrong_script_characters), (2, 3));
        };
        check(Some(1.0), &[], (Some(1.0), Some("sw")));
        check(Some(0.123_456), &[("en", 0.8), ("fr", 0.07)], (Some(0.123), Some("en")));
        check(Some(0.5), &[("en", 0.5)], (Some(0.5), Some("sw")));
        check(None, &[], (None, None));
    }

    #[test]
    fn it_is_kept_as_an_array() {
        let text = r#"["no_box",true,[0.5,"en",1,0],[null,null,0,0],12,7]"#;
        let brief: SampleBrief = serde_json::from_str(text).unwrap();
        assert_eq!((brief.outcome, brief.trace.language.as_deref()), (Outcome::NoBox, Some("en")));
        assert_eq!(serde_json::to_string(&brief).unwrap(), text);
        let older: SampleBrief = serde_json::from_str(&text.replace(",7]", "]")).unwrap();
        assert_eq!(older, SampleBrief { thinking_tokens: None, ..brief });
    }
}
