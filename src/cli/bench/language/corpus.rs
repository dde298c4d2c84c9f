//! Texts by language: data sets where they are, else the sentences that are built in.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::language::Language;

pub(super) struct Corpus {
    pub languages: Vec<Texts>,
}

pub(super) struct Texts {
    pub language: Language,
    pub source: String,
    /// Questions of a data set; the built-in sentences two by two, to be about as long.
    pub questions: Vec<String>,
    /// Whether question i says the same as question i of English.
    pub parallel: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CorpusError {
    #[error("reading {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: {message}", path.display())]
    Line { path: PathBuf, line: usize, message: String },
}

macro_rules! built_in {
    ($($code:literal: $file:literal),+ $(,)?) => { [$(($code, include_str!($file))),+] };
}

const BUILT_IN: [(&str, &str); 20] = built_in! {
    "ar": "sentences/ar.txt", "fa": "sentences/fa.txt", "hi": "sentences/hi.txt", "id": "sentences/id.txt",
    "it": "sentences/it.txt", "ko": "sentences/ko.txt", "nl": "sentences/nl.txt", "pl": "sentences/pl.txt",
    "pt": "sentences/pt.txt", "tr": "sentences/tr.txt", "uk": "sentences/uk.txt", "vi": "sentences/vi.txt",
    "bn": "../quality/bn.txt", "en": "../quality/en.txt", "fr": "../quality/fr.txt", "ja": "../quality/ja.txt",
    "sw": "../quality/sw.txt", "te": "../quality/te.txt", "th": "../quality/th.txt", "zh": "../quality/zh.txt",
};

impl Corpus {
    /// All languages that there is text of.
    pub fn read(data: Option<&Path>) -> Result<Self, CorpusError> {
        let mut languages = Vec::new();
        for language in Language::ALL {
            languages.extend(texts(data, *language)?);
        }
        Ok(Self { languages })
    }

    pub fn of(&self, language: Language) -> Option<&Texts> {
        self.languages.iter().find(|texts| texts.language == language)
    }
}

fn texts(data: Option<&Path>, language: Language) -> Result<Option<Texts>, CorpusError> {
    let mut sources = Vec::new();
    let mut questions = Vec::new();
    if let Some(data) = data {
        let mgsm = data.join(format!("mgsm/mgsm_{language}.tsv"));
        let msvamp = data.join(format!("msvamp/test_{}.jsonl", language.english_name()));
        let text = data.join(format!("text/{language}.txt"));
        for (name, path, read) in
            [("MGSM", mgsm, tsv as Reader), ("MSVAMP", msvamp, jsonl), ("text", text, plain)]
        {
            if path.is_file() {
                questions.extend(read(&path)?);
                sources.push(name);
            }
        }
    }
    let parallel = sources.first().is_some_and(|source| *source != "text");
    if let Some((_, text)) =
        BUILT_IN.iter().find(|(code, _)| questions.is_empty() && *code == language.code())
    {
        let lines: Vec<_> = text.lines().collect();
        questions = lines.chunks(2).map(|pair| pair.join(" ")).collect();
        sources.push("built in");
    }
    let source = format!("{}, {}", sources.join(", "), questions.len());
    Ok((!questions.is_empty()).then_some(Texts { language, source, questions, parallel }))
}

type Reader = fn(&Path) -> Result<Vec<String>, CorpusError>;

/// A question, a tab, an answer.
fn tsv(path: &Path) -> Result<Vec<String>, CorpusError> {
    let question = |line: &str| line.rsplit_once('\t').map(|(question, _)| question.to_owned());
    lines(path, |line| question(line).ok_or_else(|| "no tab between question and answer".to_owned()))
}

/// A text a line.
fn plain(path: &Path) -> Result<Vec<String>, CorpusError> {
    lines(path, |line| Ok(line.to_owned()))
}

#[derive(Deserialize)]
struct Row {
    /// In the file's language; the English file has only this or only `query`.
    m_query: Option<String>,
    query: Option<String>,
}

fn jsonl(path: &Path) -> Result<Vec<String>, CorpusError> {
    lines(path, |line| {
        let row: Row = serde_json::from_str(line).map_err(|error| error.to_string())?;
        row.m_query.or(row.query).ok_or_else(|| "no field `m_query`".to_owned())
    })
}

fn lines(path: &Path, parse: impl Fn(&str) -> Result<String, String>) -> Result<Vec<String>, CorpusError> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|source| CorpusError::Read { path: path.to_owned(), source })?;
    let parsed = text.lines().enumerate().map(|(i, line)| {
        parse(line).map_err(|message| CorpusError::Line { path: path.to_owned(), line: i + 1, message })
    });
    parsed.collect()
}

pub(super) fn whole(texts: &Texts) -> Vec<String> {
    texts.questions.clone()
}

/// Five words on end, or as many characters as carry about as much where words are not set apart.
pub(super) fn spans(texts: &Texts) -> Vec<String> {
    let characters = match texts.language {
        Language::Zh => 8,
        Language::Ja => 12,
        Language::Th => 20,
        _ => return texts.questions.iter().flat_map(|question| words(question)).collect(),
    };
    let cut = |question: &String| {
        let all: Vec<char> = question.chars().collect();
        all.chunks_exact(characters).map(|span| span.iter().collect()).collect::<Vec<String>>()
    };
    texts.questions.iter().flat_map(cut).collect()
}

fn words(question: &str) -> Vec<String> {
    let words: Vec<_> = question.split_whitespace().collect();
    words.chunks_exact(5).map(|span| span.join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_but_three_is_built_in() {
        let corpus = Corpus::read(None).unwrap();
        let missing: Vec<_> = Language::ALL
            .iter()
            .filter(|language| corpus.of(**language).is_none())
            .map(|l| l.code())
            .collect();
        // MGSM and MSVAMP have these.
        assert_eq!(missing, ["de", "es", "ru"]);
        let unread = BUILT_IN.iter().filter(|(code, _)| corpus.of(code.parse().unwrap()).is_none());
        assert_eq!(unread.map(|(code, _)| *code).collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn data_sets_are_read_and_bad_lines_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("mgsm")).unwrap();
        std::fs::create_dir_all(folder.path().join("msvamp")).unwrap();
        std::fs::write(folder.path().join("mgsm/mgsm_de.tsv"), "Wie viele sind es?\t3\n").unwrap();
        std::fs::write(
            folder.path().join("msvamp/test_German.jsonl"),
            "{\"m_query\": \"Wie viel?\", \"query\": \"x\"}\n",
        )
        .unwrap();
        let corpus = Corpus::read(Some(folder.path())).unwrap();
        let german = corpus.of(Language::De).unwrap();
        assert_eq!((german.questions.len(), german.questions[1].as_str()), (2, "Wie viel?"));
        assert_eq!(german.source, "MGSM, MSVAMP, 2");

        std::fs::write(folder.path().join("mgsm/mgsm_de.tsv"), "Wie viele?\t3\nWie viele?\n").unwrap();
        let message = Corpus::read(Some(folder.path())).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("mgsm_de.tsv, line 2: no tab"), "{message}");
    }

    #[test]
    fn spans_are_five_words_or_characters() {
        let of = |language, question: &str| {
            spans(&Texts {
                language,
                source: String::new(),
                questions: vec![question.to_owned()],
                parallel: false,
            })
        };
        assert_eq!(of(Language::En, "one two three four five six"), ["one two three four five"]);
        assert_eq!(of(Language::Zh, "一二三四五六七八九"), ["一二三四五六七八"]);
    }
}
