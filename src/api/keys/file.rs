//! The keys file: TOML, one table a key, hashed at rest.
//!
//! ```toml
//! [name]
//! hash = "sha256:.."
//! scopes = ["inference"]
//! tokens_per_minute = 20000
//! expires = 2030-01-31T00:00:00Z
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::Metadata;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Expiry, Key, KeyHash, KeyLimits, KeyScopes};

/// A name is a label of metrics, whose number is bounded.
const KEYS_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 64;
/// A keys file has a few hundred bytes a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The names that the settings' own keys have in logs and metrics, and what stands there for none.
pub(super) const GIVEN_NAMES: [&str; 3] = ["api_keys", "admin_keys", "metrics_api_key"];

/// Why a keys file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: has {bytes} bytes, more than {FILE_BYTES_MAX}: this is no keys file", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("{}: was written to while it was read: what stood before stays in force; at the start, start again", path.display())]
    Changing { path: PathBuf },
    #[error("{}: holds {keys} keys, more than {KEYS_MAX}", path.display())]
    TooMany { path: PathBuf, keys: usize },
    #[error("{}:{line}: {message}", path.display())]
    Invalid { path: PathBuf, line: usize, message: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    hash: KeyHash,
    scopes: KeyScopes,
    requests_per_minute: Option<NonZeroU32>,
    tokens_per_minute: Option<NonZeroU32>,
    tokens_per_day: Option<NonZeroU32>,
    max_concurrent: Option<NonZeroU32>,
    models: Option<Vec<String>>,
    #[serde(default)]
    shared_cache: bool,
    #[serde(default)]
    priority: bool,
    expires: Option<Expiry>,
}

/// # Errors
/// The line at fault.
pub fn read(path: &Path) -> Result<Vec<Key>, KeysError> {
    let failed = |source| KeysError::Read { path: path.to_owned(), source };
    let before = std::fs::metadata(path).map_err(failed)?;
    let bytes = before.len();
    if bytes > FILE_BYTES_MAX {
        return Err(KeysError::TooLarge { path: path.to_owned(), bytes });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let after = std::fs::metadata(path).map_err(failed)?;
    if before.is_file() && (version(&before) != version(&after) || text.len() as u64 != bytes) {
        return Err(KeysError::Changing { path: path.to_owned() });
    }
    parse(path, &text)
}

/// Which content a file has, as far as its entry tells.
pub(super) type Version = (u64, i64, i64, i64, u64);

pub(super) fn version(metadata: &Metadata) -> Version {
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.ctime_nsec(), metadata.len())
}

fn parse(path: &Path, text: &str) -> Result<Vec<Key>, KeysError> {
    let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let wrong = |offset: usize, message: String| {
        Err(KeysError::Invalid { path: path.to_owned(), line: line_of(offset), message })
    };
    let table = match toml::de::DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => return wrong(error.span().map_or(0, |span| span.start), error.message().to_owned()),
    };
    if table.get_ref().len() > KEYS_MAX {
        return Err(KeysError::TooMany { path: path.to_owned(), keys: table.get_ref().len() });
    }
    let mut lines: HashMap<&str, usize> = HashMap::new();
    for (name, value) in table.get_ref() {
        let (name, start) = (name.get_ref().as_ref(), name.span().start);
        if !value.get_ref().is_table() {
            return wrong(start, format!("`{name}` stands outside of a key's table: begin with [NAME]"));
        }
        if let Err(problem) = check_name(name) {
            return wrong(start, problem);
        }
        lines.insert(name, start);
    }
    let entries: BTreeMap<String, Entry> = match toml::from_str(text) {
        Ok(entries) => entries,
        Err(error) => return wrong(error.span().map_or(0, |span| span.start), error.message().to_owned()),
    };
    let mut owners: HashMap<KeyHash, String> = HashMap::new();
    let mut keys = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let start = lines.get(name.as_str()).copied().unwrap_or(0);
        if let Some(owner) = owners.insert(entry.hash, name.clone()) {
            return wrong(start, format!("[{name}] has the hash of [{owner}]: make a key of its own"));
        }
        if entry.scopes.admin && entry.models.is_some() {
            return wrong(
                start,
                format!("[{name}] has the scope admin, which opens every model: leave out `models`"),
            );
        }
        keys.push(Key {
            name,
            hash: entry.hash,
            scopes: entry.scopes,
            limits: KeyLimits {
                requests_per_minute: entry.requests_per_minute,
                tokens_per_minute: entry.tokens_per_minute,
                tokens_per_day: entry.tokens_per_day,
                max_concurrent: entry.max_concurrent,
            },
            models: entry.models,
            shared_cache: entry.shared_cache,
            priority: entry.priority,
            expires: entry.expires,
        });
    }
    Ok(keys)
}

/// # Errors
/// What a name may be: it goes into logs, labels and TOML as it is.
fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(fits) {
        let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
        return Err(format!(
            "`{shown}` is no name of a key: 1 to {NAME_BYTES_MAX} letters, digits, `_` and `-`"
        ));
    }
    if GIVEN_NAMES.contains(&name) {
        return Err(format!("`{name}` is what the settings' own keys are called: choose another name"));
    }
    Ok(())
}

/// The key's table, as it stands in a file.
///
/// # Errors
/// A key that the file would not be read with.
pub fn table(key: &Key) -> Result<String, KeysError> {
    let path = Path::new("the new key");
    check_name(&key.name).map_err(|message| KeysError::Invalid {
        path: path.to_owned(),
        line: 1,
        message,
    })?;
    let mut text = format!("[{}]\nhash = \"{}\"\n", key.name, key.hash);
    let list = |names: &[&str]| toml::Value::from(names.to_vec()).to_string();
    // Writing to a string does not fail.
    let _ = writeln!(text, "scopes = {}", list(&key.scopes.names()));
    let limits = [
        ("requests_per_minute", key.limits.requests_per_minute),
        ("tokens_per_minute", key.limits.tokens_per_minute),
        ("tokens_per_day", key.limits.tokens_per_day),
        ("max_concurrent", key.limits.max_concurrent),
    ];
    for (name, limit) in limits {
        if let Some(limit) = limit {
            let _ = writeln!(text, "{name} = {limit}");
        }
    }
    if let Some(models) = &key.models {
        let models: Vec<&str> = models.iter().map(String::as_str).collect();
        let _ = writeln!(text, "models = {}", list(&models));
    }
    for (name, is_set) in [("shared_cache", key.shared_cache), ("priority", key.priority)] {
        if is_set {
            let _ = writeln!(text, "{name} = true");
        }
    }
    if let Some(expires) = key.expires {
        let _ = writeln!(text, "expires = {expires}");
    }
    parse(path, &text).map(|_| text)
}

/// Whether anyone but its owner may read or write the file. Hashes give no key away, but who writes it makes keys.
pub fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: &str) -> String {
        format!("hash = \"{}\"", KeyHash::of(key))
    }

    #[test]
    fn a_table_is_a_key() {
        let text = format!(
            "[alice]\n{}\nscopes = [\"inference\", \"metrics\"]\nrequests_per_minute = 60\n\
             tokens_per_minute = 20_000\ntokens_per_day = 1_000_000\nmax_concurrent = 4\nmodels = [\"m\", \"org/n\"]\n\
             shared_cache = true\npriority = true\nexpires = 2030-01-31T00:00:00Z\n\n[root]\n{}\nscopes = [\"admin\"]\n",
            hash("a"),
            hash("b")
        );
        let keys = parse(Path::new("keys.toml"), &text).unwrap();
        let [alice, root] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!((alice.name.as_str(), alice.hash), ("alice", KeyHash::of("a")));
        assert_eq!(alice.scopes.names(), ["inference", "metrics"]);
        assert_eq!(alice.limits.tokens_per_day.map(NonZeroU32::get), Some(1_000_000));
        assert_eq!(alice.models.as_deref(), Some(&["m".to_owned(), "org/n".to_owned()][..]));
        assert_eq!(alice.expires, Some("2030-01-31T00:00:00Z".parse().unwrap()));
        assert!(alice.shared_cache && alice.priority && !root.shared_cache && !root.priority);
        assert_eq!((root.limits, &root.models, root.expires), (KeyLimits::default(), &None, None));
        for key in keys {
            assert_eq!(parse(Path::new("x"), &table(&key).unwrap()).unwrap(), [key]);
        }
        assert_eq!(parse(Path::new("x"), "").unwrap(), []);
    }

    #[test]
    fn a_mistake_in_a_keys_file_names_its_line() {
        let key = |more: &str| format!("# keys\n[a]\n{}\nscopes = [\"inference\"]\n{more}\n", hash("a"));
        let check = |text: &str, line: usize, words: &str| {
            let error = parse(Path::new("keys.toml"), text).unwrap_err().to_string();
            let start = format!("keys.toml:{line}: ");
            assert!(error.starts_with(&start) && error.contains(words), "{text}: {error}");
        };
        check("[a]\nhash = \"sha256:00\"\nscopes = [\"inference\"]", 2, "64 hexadecimal digits");
        check(&key("scopse = 1"), 5, "scopse");
        check(&key("tokens_per_minute = 0"), 5, "nonzero");
        check(&key("tokens_per_minute = -1"), 5, "-1");
        check(&key("max_concurrent = 1.5"), 5, "floating point");
        check(&key("expires = 2030-01-31"), 5, "offset");
        check(&key("expires = \"soon\""), 5, "soon");
        check(&key("[b"), 5, "");
        check(&key("[api_keys]"), 5, "another name");
        check(&key("[\"a b\"]"), 5, "no name of a key");
        check(&key(&format!("[b]\n{}\nscopes = [\"admin\"]", hash("a"))), 5, "has the hash of [a]");
        check(&format!("[a]\n{}\nscopes = [\"inference\", \"all\"]", hash("a")), 3, "`all` is no scope");
        check(&format!("[a]\n{}\nscopes = []", hash("a")), 3, "at least one scope");
        check(
            &format!("[a]\n{}\nscopes = [\"admin\"]\nmodels = [\"m\"]", hash("a")),
            1,
            "leave out `models`",
        );
        check(&hash("a"), 1, "begin with [NAME]");
        check("[a]\nscopes = [\"admin\"]", 1, "hash");
        let error =
            parse(Path::new("k"), &(0..=KEYS_MAX).map(|i| format!("[k{i}]")).collect::<Vec<_>>().join("\n"));
        assert!(error.unwrap_err().to_string().contains("more than 1024"));
    }
}
