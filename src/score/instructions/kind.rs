//! The kinds of instructions with their arguments, and how each is read from a row of IFEval.

use serde_json::{Map, Value};

use super::case::Case;
use super::error::InstructionError;
use super::{Context, Followed, case, format, length, words};
use crate::language::Language;

/// One instruction, ready to be checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    KeywordExistence { keywords: Vec<String> },
    KeywordFrequency { keyword: String, amount: Amount },
    ForbiddenWords { words: Vec<String> },
    LetterFrequency { letter: char, amount: Amount },
    ResponseLanguage(Target),
    Sentences(Amount),
    Paragraphs(usize),
    Words(Amount),
    ParagraphFirstWord { paragraphs: usize, nth: usize, word: String },
    Placeholders(usize),
    Postscript { marker: String },
    BulletLists(usize),
    ConstrainedResponse { responses: Vec<String> },
    HighlightedSections(usize),
    MultipleSections { splitter: String, sections: usize },
    JsonFormat,
    Title,
    TwoResponses,
    RepeatPrompt { prompt: String },
    EndPhrase { phrase: String },
    Quotation,
    WholeCase(Case, Language),
    CapitalWords(Amount),
    NoComma,
}

/// "less than" or "at least" so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount {
    LessThan(usize),
    AtLeast(usize),
}

/// The language to answer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Known(Language),
    /// One that `language` does not know, by its code: its script decides as far as it can.
    ByScript(&'static length::ScriptOnly),
}

impl Amount {
    pub fn holds(self, count: usize) -> bool {
        self.holds_within(count, count) == Followed::Yes
    }

    /// For a count that is known to be between two bounds.
    pub fn holds_within(self, low: usize, high: usize) -> Followed {
        match self {
            Self::AtLeast(wanted) if low >= wanted => Followed::Yes,
            Self::AtLeast(wanted) if high < wanted => Followed::No,
            Self::LessThan(limit) if high < limit => Followed::Yes,
            Self::LessThan(limit) if low >= limit => Followed::No,
            _ => Followed::Undecided,
        }
    }
}

pub(super) const NAMES: [&str; 25] = [
    "keywords:existence",
    "keywords:frequency",
    "keywords:forbidden_words",
    "keywords:letter_frequency",
    "language:response_language",
    "length_constraints:number_sentences",
    "length_constraints:number_paragraphs",
    "length_constraints:number_words",
    "length_constraints:nth_paragraph_first_word",
    "detectable_content:number_placeholders",
    "detectable_content:postscript",
    "detectable_format:number_bullet_lists",
    "detectable_format:constrained_response",
    "detectable_format:number_highlighted_sections",
    "detectable_format:multiple_sections",
    "detectable_format:json_format",
    "detectable_format:title",
    "combination:two_responses",
    "combination:repeat_prompt",
    "startend:end_checker",
    "startend:quotation",
    "change_case:english_capital",
    "change_case:english_lowercase",
    "change_case:capital_word_frequency",
    "punctuation:no_comma",
];

/// What a prompt of `constrained_response` names where its arguments do not.
const CONSTRAINED_RESPONSES: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];

impl Kind {
    pub fn parse(id: &str, kwargs: &Value, at: usize) -> Result<Self, InstructionError> {
        let kwargs = kwargs.as_object().ok_or(InstructionError::NotAnObject { at })?;
        let mut arguments = Arguments { id, at, kwargs, taken: Vec::new() };
        let kind = Self::read(&mut arguments)?;
        arguments.finish()?;
        Ok(kind)
    }

    fn read(arguments: &mut Arguments<'_>) -> Result<Self, InstructionError> {
        let a = arguments;
        Ok(match a.id {
            "keywords:existence" => Self::KeywordExistence { keywords: a.texts("keywords")? },
            "keywords:frequency" => Self::KeywordFrequency {
                keyword: a.text("keyword")?,
                amount: a.amount("frequency", "relation")?,
            },
            "keywords:forbidden_words" => Self::ForbiddenWords { words: a.texts("forbidden_words")? },
            "keywords:letter_frequency" => Self::LetterFrequency {
                letter: a.letter("letter")?,
                amount: a.amount("let_frequency", "let_relation")?,
            },
            "language:response_language" => Self::ResponseLanguage(a.target("language")?),
            "length_constraints:number_sentences" => Self::Sentences(a.amount("num_sentences", "relation")?),
            "length_constraints:number_paragraphs" => Self::Paragraphs(a.count("num_paragraphs")?),
            "length_constraints:number_words" => Self::Words(a.amount("num_words", "relation")?),
            "length_constraints:nth_paragraph_first_word" => Self::ParagraphFirstWord {
                paragraphs: a.count("num_paragraphs")?,
                nth: a.count("nth_paragraph")?,
                word: a.text("first_word")?.to_lowercase(),
            },
            "detectable_content:number_placeholders" => Self::Placeholders(a.count("num_placeholders")?),
            "detectable_content:postscript" => Self::Postscript { marker: a.text("postscript_marker")? },
            "detectable_format:number_bullet_lists" => Self::BulletLists(a.count("num_bullets")?),
            "detectable_format:constrained_response" => {
                Self::ConstrainedResponse { responses: a.responses()? }
            }
            "detectable_format:number_highlighted_sections" => {
                Self::HighlightedSections(a.count("num_highlights")?)
            }
            "detectable_format:multiple_sections" => Self::MultipleSections {
                splitter: a.text("section_spliter")?,
                sections: a.count("num_sections")?,
            },
            "detectable_format:json_format" => Self::JsonFormat,
            "detectable_format:title" => Self::Title,
            "combination:two_responses" => Self::TwoResponses,
            "combination:repeat_prompt" => Self::RepeatPrompt { prompt: a.text("prompt_to_repeat")? },
            "startend:end_checker" => Self::EndPhrase { phrase: a.text("end_phrase")? },
            "startend:quotation" => Self::Quotation,
            "change_case:english_capital" => Self::WholeCase(Case::Capital, a.cased_language()?),
            "change_case:english_lowercase" => Self::WholeCase(Case::Small, a.cased_language()?),
            "change_case:capital_word_frequency" => {
                Self::CapitalWords(a.amount("capital_frequency", "capital_relation")?)
            }
            "punctuation:no_comma" => Self::NoComma,
            _ => return Err(InstructionError::Unknown { at: a.at, id: a.id.to_owned() }),
        })
    }

    /// Whether a text, which is not blank, follows this instruction.
    pub fn check(&self, text: &str, context: Context<'_>) -> Followed {
        match self {
            Self::KeywordExistence { keywords } => {
                keywords.iter().all(|keyword| words::occurrences(text, keyword) > 0).into()
            }
            Self::KeywordFrequency { keyword, amount } => {
                amount.holds(words::occurrences(text, keyword)).into()
            }
            Self::ForbiddenWords { words } => {
                (!words.iter().any(|word| words::occurs_whole(text, word))).into()
            }
            Self::LetterFrequency { letter, amount } => {
                amount.holds(case::count_letter(text, *letter)).into()
            }
            Self::ResponseLanguage(target) => length::in_language(text, *target, context),
            Self::Sentences(amount) => length::sentences(text, *amount),
            Self::Paragraphs(count) => length::has_paragraphs(text, *count).into(),
            Self::Words(amount) => amount.holds(words::count(text)).into(),
            Self::ParagraphFirstWord { paragraphs, nth, word } => {
                length::starts_paragraph(text, *paragraphs, *nth, word).into()
            }
            Self::Placeholders(least) => (format::placeholders(text) >= *least).into(),
            Self::Postscript { marker } => format::has_postscript(text, marker).into(),
            Self::BulletLists(count) => (format::bullets(text) == *count).into(),
            Self::ConstrainedResponse { responses } => {
                responses.iter().any(|response| text.contains(response.as_str())).into()
            }
            Self::HighlightedSections(least) => (format::highlights(text) >= *least).into(),
            Self::MultipleSections { splitter, sections } => {
                (format::sections(text, splitter) >= *sections).into()
            }
            Self::JsonFormat => format::is_json(text).into(),
            Self::Title => format::has_title(text).into(),
            Self::TwoResponses => format::is_two_responses(text).into(),
            Self::RepeatPrompt { prompt } => {
                text.trim().to_lowercase().starts_with(&prompt.trim().to_lowercase()).into()
            }
            Self::EndPhrase { phrase } => format::ends_with(text, phrase).into(),
            Self::Quotation => format::is_quoted(text, context.language).into(),
            Self::WholeCase(case, language) => case.whole(text, *language, context),
            Self::CapitalWords(amount) => amount.holds(case::capital_words(text)).into(),
            Self::NoComma => (!format::has_comma(text, context.language)).into(),
        }
    }
}

/// The arguments of one instruction; each may be taken once.
struct Arguments<'a> {
    id: &'a str,
    at: usize,
    kwargs: &'a Map<String, Value>,
    taken: Vec<&'static str>,
}

/// No text holds more of anything.
const COUNT_MAX: u64 = 1_000_000;

impl Arguments<'_> {
    fn wrong(&self, key: &str, message: impl Into<String>) -> InstructionError {
        let message = message.into();
        InstructionError::Argument { at: self.at, id: self.id.to_owned(), key: key.to_owned(), message }
    }

    fn optional(&mut self, key: &'static str) -> Option<&Value> {
        self.taken.push(key);
        self.kwargs.get(key).filter(|value| !value.is_null())
    }

    fn value(&mut self, key: &'static str) -> Result<&Value, InstructionError> {
        let missing = self.wrong(key, "is missing");
        self.optional(key).ok_or(missing)
    }

    fn text(&mut self, key: &'static str) -> Result<String, InstructionError> {
        let wrong = self.wrong(key, "must be a string that is not blank");
        let text = self.value(key)?.as_str().filter(|text| !text.trim().is_empty());
        text.map(str::to_owned).ok_or(wrong)
    }

    fn texts(&mut self, key: &'static str) -> Result<Vec<String>, InstructionError> {
        let wrong = self.wrong(key, "must be a list of strings that are not blank");
        let texts: Option<Vec<String>> = self.value(key)?.as_array().and_then(|values| {
            let text =
                |value: &Value| value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
            values.iter().map(text).collect()
        });
        texts.filter(|texts| !texts.is_empty()).ok_or(wrong)
    }

    /// Tables that went through a float column write 3 as 3.0.
    fn count(&mut self, key: &'static str) -> Result<usize, InstructionError> {
        let wrong = self.wrong(key, format!("must be a whole number from 0 to {COUNT_MAX}"));
        let value = self.value(key)?;
        let whole = value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0);
        whole.filter(|number| *number <= COUNT_MAX as f64).map(|number| number as usize).ok_or(wrong)
    }

    fn amount(&mut self, key: &'static str, relation: &'static str) -> Result<Amount, InstructionError> {
        let count = self.count(key)?;
        let wrong = self.wrong(relation, "must be \"less than\" or \"at least\"");
        match self.value(relation)?.as_str() {
            Some("less than") => Ok(Amount::LessThan(count)),
            Some("at least") => Ok(Amount::AtLeast(count)),
            _ => Err(wrong),
        }
    }

    fn letter(&mut self, key: &'static str) -> Result<char, InstructionError> {
        let wrong = self.wrong(key, "must be one character");
        let text = self.text(key)?.to_lowercase();
        let mut letters = text.trim().chars();
        letters.next().filter(|_| letters.next().is_none()).ok_or(wrong)
    }

    fn target(&mut self, key: &'static str) -> Result<Target, InstructionError> {
        let code = self.text(key)?;
        if let Ok(language) = code.parse() {
            return Ok(Target::Known(language));
        }
        let found = length::ScriptOnly::find(&code);
        found.map(Target::ByScript).ok_or_else(|| self.wrong(key, format!("{code:?} is no known language")))
    }

    /// English, as the kinds' names say, unless a translated suite names the language it means.
    fn cased_language(&mut self) -> Result<Language, InstructionError> {
        if self.optional("language").is_none() {
            return Ok(Language::En);
        }
        match self.target("language")? {
            Target::Known(language) if case::has_case(language) => Ok(language),
            _ => Err(self.wrong("language", "must be a known language whose script has capital letters")),
        }
    }

    fn responses(&mut self) -> Result<Vec<String>, InstructionError> {
        if self.optional("responses").is_none() {
            return Ok(CONSTRAINED_RESPONSES.map(str::to_owned).to_vec());
        }
        self.texts("responses")
    }

    /// An argument that nothing reads is a mistake in the data.
    fn finish(&self) -> Result<(), InstructionError> {
        let unread =
            self.kwargs.iter().find(|(key, value)| !value.is_null() && !self.taken.contains(&key.as_str()));
        match unread {
            None => Ok(()),
            Some((key, _)) => Err(self.wrong(key, "is no argument of this kind; leave it out or null")),
        }
    }
}
