//! The suites that are part of the binary, so that it evaluates wherever it is copied to.

/// A suite's files by name.
#[derive(Debug)]
pub(super) struct EmbeddedSuite {
    pub name: &'static str,
    pub files: &'static [(&'static str, &'static str)],
}

const SUITES: &[EmbeddedSuite] = &[];

pub(super) fn find(name: &str) -> Option<&'static EmbeddedSuite> {
    SUITES.iter().find(|suite| suite.name == name)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|suite| suite.name)
}
