//! How an answer tells in which language it was given, and `/v1/language`, which says it of any text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parse::RequestBody;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LanguageRequest {
    /// A completion, its trace included where it has one.
    pub text: String,
    /// The language that it should be in, as BCP 47.
    pub target: String,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for LanguageRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MeasuredLanguage {
    #[serde(flatten)]
    pub report: LanguageReport,
    /// In the order of the text.
    pub segments: Vec<LanguageSegment>,
}

/// A stretch of the text in one language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LanguageSegment {
    /// In bytes of the text's UTF-8, as is `end`.
    pub start: usize,
    pub end: usize,
    /// The language, or the name of a script that none of the known ones is written in; absent: nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// In how far an answer is in the language that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LanguageReport {
    /// Its code.
    pub target: String,
    /// Absent without a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<LanguagePart>,
    pub answer: LanguagePart,
    /// Trace and answer are both in the target for at least four fifths; a part without words passes.
    pub following: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LanguagePart {
    /// The language, or script, with the largest share; absent without words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The target's share of what is told apart, mathematics and code left out; absent without words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Changes of language.
    pub switches: u64,
    /// Shares of other languages and scripts.
    pub off_target: BTreeMap<String, f64>,
    /// Letters of scripts that neither the target nor mathematics is written in.
    pub wrong_script_characters: u64,
}
