//! One text's result, as JSON and for a person.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::language::Language;
use crate::score::language::{
    CompletionLanguage, LanguageProfile, LanguageScorer, Segment, TextScore, Verdict,
};

pub(super) struct Report {
    profile: LanguageProfile,
    target: Language,
    /// The text as a whole.
    whole: TextScore,
    parts: CompletionLanguage,
}

impl Report {
    pub fn of(scorer: &LanguageScorer, text: &str, target: Language) -> Self {
        let parts = scorer.score_completion(text, target);
        Self { profile: scorer.profile(), target, whole: scorer.whole(&parts, target), parts }
    }

    pub fn following(&self) -> bool {
        self.parts.following
    }

    pub fn undecidable(&self) -> bool {
        self.parts.undecidable
    }

    pub fn json(&self, id: Option<Value>, segments: bool) -> Value {
        let mut object = Map::new();
        object.extend(id.map(|id| ("id".to_owned(), id)));
        object.insert("target".to_owned(), self.target.code().into());
        object.insert("profile".to_owned(), self.profile.name().into());
        object.insert("following".to_owned(), self.following().into());
        object.insert("undecidable".to_owned(), self.undecidable().into());
        object.extend(text_json(&self.whole));
        if let Some(trace) = &self.parts.trace {
            object.insert("trace".to_owned(), text_json(trace).into());
            object.insert("answer".to_owned(), text_json(&self.parts.answer).into());
        }
        if segments {
            object.insert("segments".to_owned(), self.whole.segments.iter().map(segment_json).collect());
        }
        Value::Object(object)
    }

    pub fn text(&self, text: &str, segments: bool) -> String {
        let mut out = String::new();
        let verdict = match (self.following(), self.undecidable()) {
            (true, false) => "follows",
            (true, true) => "passes (nothing in the answer tells its language)",
            (false, _) => "does not follow",
        };
        let _ = writeln!(out, "{}: {verdict}", self.target.english_name());
        let _ = writeln!(out, "  {}", text_line(&self.whole));
        if let Some(trace) = &self.parts.trace {
            let _ = writeln!(out, "  trace:  {}", text_line(trace));
            let _ = writeln!(out, "  answer: {}", text_line(&self.parts.answer));
        }
        if segments {
            for segment in &self.whole.segments {
                let excerpt: String =
                    text[segment.span.clone()].split_whitespace().collect::<Vec<_>>().join(" ");
                let span = format!("{}..{}", segment.span.start, segment.span.end);
                let _ = writeln!(out, "  {span:>13}  {:<8} {excerpt}", segment.verdict.name());
            }
        }
        out
    }
}

fn text_json(text: &TextScore) -> Map<String, Value> {
    let off_target: Map<String, Value> =
        text.off_target.iter().map(|(name, share)| (name.clone(), rounded(*share).into())).collect();
    let mut object = Map::new();
    let mut field = |name: &str, value: Value| object.insert(name.to_owned(), value);
    field("score", text.score.map(rounded).into());
    field("language", text.top.map(Verdict::name).into());
    field("switches", text.switches.into());
    field("off_target", off_target.into());
    field("wrong_script_characters", text.wrong_script_characters.into());
    if let Some(variant) = text.variant {
        field("variant", json!(variant));
    }
    object
}

fn segment_json(segment: &Segment) -> Value {
    json!({
        "start": segment.span.start,
        "end": segment.span.end,
        "language": match segment.verdict {
            Verdict::Neutral => None,
            verdict => Some(verdict.name()),
        },
        "weight": segment.weight,
    })
}

/// To six places, more than the measurement is worth.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn text_line(text: &TextScore) -> String {
    let score = text.score.map_or_else(|| "neutral".to_owned(), |score| format!("{:.1} %", 100.0 * score));
    let mut line = format!(
        "{score}, {} switches, {} letters of wrong scripts",
        text.switches, text.wrong_script_characters
    );
    for (name, share) in &text.off_target {
        let _ = write!(line, ", {name} {:.1} %", 100.0 * share);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, target: Language) -> Report {
        Report::of(&LanguageScorer::with_all_languages(), text, target)
    }

    #[test]
    fn json_of_a_completion_has_its_parts() {
        let text = "<think>まず、りんごの数を数えます。</think>The answer is forty-two apples.";
        let found = report(text, Language::Ja).json(Some(json!("a")), true);
        assert_eq!((&found["id"], &found["following"]), (&json!("a"), &json!(false)));
        assert_eq!((&found["trace"]["score"], &found["answer"]["score"]), (&json!(1.0), &json!(0.0)));
        assert_eq!((&found["answer"]["language"], &found["switches"]), (&json!("en"), &json!(1)));
        let last = found["segments"].as_array().unwrap().last().unwrap();
        let span = last["start"].as_u64().unwrap() as usize..last["end"].as_u64().unwrap() as usize;
        assert_eq!((&text[span], &last["language"]), ("The answer is forty-two apples.", &json!("en")));
    }

    #[test]
    fn a_bare_number_passes_without_a_language() {
        let found = report("\\boxed{42}", Language::Ja).json(None, true);
        assert_eq!((&found["following"], &found["undecidable"]), (&json!(true), &json!(true)));
        assert_eq!((&found["score"], &found["language"]), (&Value::Null, &Value::Null));
        assert!(found.get("trace").is_none());
    }

    #[test]
    fn the_variant_of_chinese_is_said() {
        assert_eq!(report("我们算一算。", Language::Zh).json(None, false)["variant"], "Hans");
        assert_eq!(report("我們算一算。", Language::Zh).json(None, false)["variant"], "Hant");
    }

    #[test]
    fn a_person_reads_lines() {
        let text = report("まず数えます。 Then we add them all.", Language::Ja)
            .text("まず数えます。 Then we add them all.", true);
        assert!(text.starts_with("Japanese: does not follow\n"), "{text}");
        assert!(text.contains("0..21") && text.contains("en       Then we add them all."), "{text}");
    }
}
