//! Where options come from: a TOML file, environment variables, flags. Each error says which.

use std::path::{Path, PathBuf};

use super::{KEYS, Overrides, nearest};

/// What [`super::Settings::load`] reads. `environment` holds (name, value) pairs; those that do not begin with
/// `XENOGLOT_` are passed over.
pub struct Sources<'a> {
    pub file: Option<&'a Path>,
    pub environment: &'a [(String, String)],
    pub flags: Overrides,
}

/// Why the options could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {message}", path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
    #[error("{}:{line}: unknown key `{key}`{}", path.display(), did_you_mean(*nearest))]
    UnknownKey { path: PathBuf, line: usize, key: String, nearest: Option<&'static str> },
    #[error("{}:{line}: {key}: {message}", path.display())]
    FileValue { path: PathBuf, line: usize, key: String, message: String },
    #[error("{variable}: {message}")]
    EnvironmentValue { variable: String, message: String },
    #[error("unknown variable {variable}{}", did_you_mean(nearest.as_deref()))]
    UnknownVariable { variable: String, nearest: Option<String> },
    #[error("{key}: {message}")]
    Invalid { key: &'static str, message: String },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// Variables that are not options: where the settings file lies, what the evaluation harness reads itself (more
/// folders with suites, the key it sends), and which binary the scripts run, which that binary then sees.
const OTHER_VARIABLES: [&str; 5] =
    ["XENOGLOT_CONFIG", "XENOGLOT_DATA", "XENOGLOT_SUITES", "XENOGLOT_API_KEY", "XENOGLOT_BIN"];

pub(super) fn read_file(path: &Path) -> Result<Overrides, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    parse_file(path, &text)
}

pub(super) fn parse_file(path: &Path, text: &str) -> Result<Overrides, SettingsError> {
    let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let error_line = |error: &toml::de::Error| error.span().map_or(1, |span| line_of(span.start));
    let table = toml::de::DeTable::parse(text).map_err(|error| SettingsError::Syntax {
        path: path.to_owned(),
        line: error_line(&error),
        message: error.message().to_owned(),
    })?;
    let known = || KEYS.iter().map(|(key, _)| *key);
    for key in table.get_ref().keys() {
        let name = key.get_ref().as_ref();
        if !known().any(|known| known == name) {
            return Err(SettingsError::UnknownKey {
                path: path.to_owned(),
                line: line_of(key.span().start),
                key: name.to_owned(),
                nearest: nearest(name, known()),
            });
        }
    }
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let entry = table
            .get_ref()
            .iter()
            .find(|(key, value)| (key.span().start..=value.span().end).contains(&start));
        SettingsError::FileValue {
            path: path.to_owned(),
            line: line_of(start),
            key: entry.map(|(key, _)| key.get_ref().to_string()).unwrap_or_default(),
            message: error.message().to_owned(),
        }
    })
}

/// The variable that sets `key`.
pub(super) fn variable_of(key: &str, given: &str) -> String {
    if given.is_empty() { format!("XENOGLOT_{}", key.to_ascii_uppercase()) } else { given.to_owned() }
}

pub(super) fn read_environment(pairs: &[(String, String)]) -> Result<Overrides, SettingsError> {
    let known: Vec<(&str, String)> =
        KEYS.iter().map(|(key, given)| (*key, variable_of(key, given))).collect();
    let mut overrides = Overrides::default();
    for (variable, value) in pairs {
        if !variable.starts_with("XENOGLOT_") || OTHER_VARIABLES.contains(&variable.as_str()) {
            continue;
        }
        let Some((key, _)) = known.iter().find(|(_, name)| name == variable) else {
            let nearest = nearest(variable, known.iter().map(|(_, name)| name.as_str())).map(str::to_owned);
            return Err(SettingsError::UnknownVariable { variable: variable.clone(), nearest });
        };
        overrides
            .set(key, value)
            .map_err(|message| SettingsError::EnvironmentValue { variable: variable.clone(), message })?;
    }
    Ok(overrides)
}
