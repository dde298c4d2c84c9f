//! What is said to a model, and in its name, so that it thinks in a language: `prompts/*.toml`, in our own words, for native
//! speakers to edit.

use serde::Deserialize;

use super::Language;

/// The texts of one language. The keys are explained in `prompts/en.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasoningTexts {
    /// Asks for thinking and answering in the language.
    pub system: String,
    /// The first sentence of a trace, where one is asked for.
    pub thinking_prefix: String,
    /// The last sentence of a trace whose budget is used up.
    pub budget_close: String,
}

impl Language {
    /// What asks a model to think in this language.
    pub fn reasoning_texts(self) -> ReasoningTexts {
        let file = self.reasoning_file();
        toml::from_str(file).expect("a test reads every file")
    }

    fn reasoning_file(self) -> &'static str {
        match self {
            Self::Ar => include_str!("prompts/ar.toml"),
            Self::Bn => include_str!("prompts/bn.toml"),
            Self::De => include_str!("prompts/de.toml"),
            Self::En => include_str!("prompts/en.toml"),
            Self::Es => include_str!("prompts/es.toml"),
            Self::Fa => include_str!("prompts/fa.toml"),
            Self::Fr => include_str!("prompts/fr.toml"),
            Self::Hi => include_str!("prompts/hi.toml"),
            Self::Id => include_str!("prompts/id.toml"),
            Self::It => include_str!("prompts/it.toml"),
            Self::Ja => include_str!("prompts/ja.toml"),
            Self::Ko => include_str!("prompts/ko.toml"),
            Self::Nl => include_str!("prompts/nl.toml"),
            Self::Pl => include_str!("prompts/pl.toml"),
            Self::Pt => include_str!("prompts/pt.toml"),
            Self::Ru => include_str!("prompts/ru.toml"),
            Self::Sw => include_str!("prompts/sw.toml"),
            Self::Te => include_str!("prompts/te.toml"),
            Self::Th => include_str!("prompts/th.toml"),
            Self::Tr => include_str!("prompts/tr.toml"),
            Self::Uk => include_str!("prompts/uk.toml"),
            Self::Vi => include_str!("prompts/vi.toml"),
            Self::Zh => include_str!("prompts/zh.toml"),
        }
    }
}

#[cfg(test)]
mod tests {
    use unicode_script::{Script, UnicodeScript};

    use super::*;

    #[test]
    fn every_language_has_its_texts_in_its_own_scripts() {
        for &language in Language::ALL {
            let texts: ReasoningTexts = toml::from_str(language.reasoning_file())
                .unwrap_or_else(|error| panic!("src/language/prompts/{language}.toml: {error}"));
            for text in [texts.system, texts.thinking_prefix, texts.budget_close] {
                assert!(!text.trim().is_empty() && text.trim() == text, "{language}: {text:?}");
                let foreign = text.chars().find(|c| {
                    let script = c.script();
                    !matches!(script, Script::Common | Script::Inherited)
                        && !language.scripts().contains(&script)
                });
                assert_eq!(foreign, None, "{language}: {text}");
                // Templates and marks must find nothing to read in them.
                assert!(!text.contains(['{', '}', '<', '>']), "{language}: {text}");
            }
        }
    }
}
