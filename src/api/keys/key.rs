//! One key: its hash, its scopes, its limits.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::Expiry;
use super::file::GIVEN_NAMES;

/// SHA-256 of a key, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

impl ConstantTimeEq for KeyHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "a hash is `sha256:` and 64 hexadecimal digits, as `xenoglot keys new` prints it";
        let digits = text.strip_prefix("sha256:").map(str::as_bytes).unwrap_or_default();
        if digits.len() != 64 {
            return Err(EXPECTED);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(EXPECTED);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Ok(Self(hash))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What a key opens. `admin` opens everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyScopes {
    pub inference: bool,
    pub metrics: bool,
    pub admin: bool,
}

impl KeyScopes {
    pub const NAMES: [&str; 3] = ["inference", "metrics", "admin"];

    /// # Errors
    /// An empty list, or a scope that there is not.
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Result<Self, String> {
        let mut scopes = Self::default();
        for name in names {
            match name.as_ref() {
                "inference" => scopes.inference = true,
                "metrics" => scopes.metrics = true,
                "admin" => scopes.admin = true,
                other => return Err(format!("`{other}` is no scope: {}", Self::NAMES.join(", "))),
            }
        }
        if scopes == Self::default() {
            return Err(format!("a key needs at least one scope of {}", Self::NAMES.join(", ")));
        }
        Ok(scopes)
    }

    pub fn names(self) -> Vec<&'static str> {
        let chosen = [self.inference, self.metrics, self.admin];
        Self::NAMES.into_iter().zip(chosen).filter_map(|(name, chosen)| chosen.then_some(name)).collect()
    }
}

impl<'de> Deserialize<'de> for KeyScopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_names(&Vec::<String>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// How much a key may use; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyLimits {
    pub requests_per_minute: Option<NonZeroU32>,
    /// Prompt and completion together.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// The same, from midnight to midnight (UTC).
    pub tokens_per_day: Option<NonZeroU32>,
    /// Requests at once.
    pub max_concurrent: Option<NonZeroU32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// For logs and metrics.
    pub name: String,
    pub hash: KeyHash,
    pub scopes: KeyScopes,
    pub limits: KeyLimits,
    /// Served names that it may use; `None` is all.
    pub models: Option<Vec<String>>,
    /// Its prompts share the prefix cache with those of all that share it.
    pub shared_cache: bool,
    /// Its requests may go before those of others.
    pub priority: bool,
    pub expires: Option<Expiry>,
}

impl Key {
    /// Not of the keys file, where these names are reserved.
    pub fn is_of_settings(&self) -> bool {
        GIVEN_NAMES.contains(&self.name.as_str())
    }

    /// By what things that are kept name the key that they were made with: a key of the file by its name, which outlives a
    /// rotation; one of the settings, whose name others share, by its hash too.
    pub fn identity(&self) -> String {
        if self.is_of_settings() { format!("{}:{}", self.name, self.hash) } else { self.name.clone() }
    }
}

/// Hashes of keys of one scope, from the settings.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys(Vec<KeyHash>);

impl ApiKeys {
    /// Blank keys are skipped: an empty environment variable is no key.
    pub fn new<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> Self {
        let hash = |key: S| {
            let key = key.as_ref().trim();
            (!key.is_empty()).then(|| KeyHash::of(key))
        };
        Self(keys.into_iter().filter_map(hash).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn hashes(&self) -> &[KeyHash] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_as_they_are_written() {
        // `printf abc | sha256sum`
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHash::of("abc").to_string(), abc);
        let check = |text: &str, expected: bool| {
            assert_eq!(text.parse() == Ok(KeyHash::of("abc")), expected, "{text}");
        };
        check(abc, true);
        check(&abc.to_uppercase().replace("SHA", "sha"), true);
        check(&abc[7..], false);
        check(&abc[..70], false);
        check(&abc.replace('b', "g"), false);
        check(&format!("sha256:{}", "é".repeat(32)), false);
        check("", false);
    }

    #[test]
    fn scopes_are_named() {
        let check = |names: &[&str], expected: Option<&[&str]>| {
            let scopes = KeyScopes::from_names(names).ok().map(KeyScopes::names);
            assert_eq!(scopes.as_deref(), expected, "{names:?}");
        };
        check(&["metrics", "inference"], Some(&["inference", "metrics"]));
        check(&["admin", "admin"], Some(&["admin"]));
        check(&[], None);
        check(&["inferense"], None);
    }
}
