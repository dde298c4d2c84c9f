//! How an answer tells in which language it was given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
