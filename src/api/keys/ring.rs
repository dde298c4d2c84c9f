//! The keys of a running server: found by what a caller presents, replaced as a whole when their file changes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::file::{self, GIVEN_NAMES, KeysError};
use super::{ApiKeys, Key, KeyHash, KeyLimits, KeyScopes};
use crate::api::auth::AuthOptions;
use crate::api::clock::Clock;
use crate::api::rate_limit::KeyUsage;

/// A key with what it has used, which it keeps when the file is read again.
#[derive(Debug)]
pub struct HeldKey {
    pub key: Key,
    pub usage: Arc<KeyUsage>,
}

/// As many as a file may have.
const GONE_MAX: usize = 1024;

#[derive(Debug)]
pub struct KeyRing {
    /// Of the settings. Keys of one scope have one name.
    given: Vec<Arc<HeldKey>>,
    file: Option<PathBuf>,
    held: RwLock<Arc<[Arc<HeldKey>]>>,
    /// What keys used whose entries are gone, by name, the latest last: an entry that comes back is not a new one.
    gone: Mutex<VecDeque<(String, Arc<KeyUsage>)>>,
    pub clock: Clock,
}

impl KeyRing {
    /// # Errors
    /// A keys file that cannot be read.
    pub fn new(options: &AuthOptions, clock: Clock) -> Result<Self, KeysError> {
        let [inference, admin, metrics] = GIVEN_NAMES;
        let none = KeyScopes::default();
        // Of two alike the last is found: it has the larger scope.
        let given = [
            given(metrics, &options.metrics, KeyScopes { metrics: true, ..none }, &clock),
            given(inference, &options.inference, KeyScopes { inference: true, ..none }, &clock),
            given(admin, &options.admin, KeyScopes { admin: true, ..none }, &clock),
        ]
        .concat();
        let (held, gone) = (RwLock::new(given.clone().into()), Mutex::default());
        let ring = Self { held, given, file: options.keys_file.clone(), gone, clock };
        ring.reload()?;
        Ok(ring)
    }

    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the keys file again, and answers how many keys it has. Keys keep what they have used by their names, also over a
    /// time without an entry.
    ///
    /// # Errors
    /// What is wrong with the file; the old keys stay.
    pub fn reload(&self) -> Result<usize, KeysError> {
        let Some(path) = &self.file else { return Ok(0) };
        let keys = file::read(path)?;
        let count = keys.len();
        self.replace(keys);
        Ok(count)
    }

    fn replace(&self, keys: Vec<Key>) {
        // Held to the end: two that replace take turns.
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.all();
        let of_file = old.iter().filter(|held| !held.key.is_of_settings());
        gone.extend(of_file.map(|held| (held.key.name.clone(), held.usage.clone())));
        let known: HashMap<String, Arc<KeyUsage>> = gone.iter().cloned().collect();
        let there: HashSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        gone.retain(|(name, _)| !there.contains(name.as_str()));
        let too_many = gone.len().saturating_sub(GONE_MAX);
        gone.drain(..too_many);
        let hold = |key: Key| {
            let usage = match known.get(&key.name) {
                Some(usage) => {
                    usage.limit(&key.limits);
                    usage.clone()
                }
                None => Arc::new(KeyUsage::new(&key.limits, self.clock.clone())),
            };
            Arc::new(HeldKey { key, usage })
        };
        let held: Arc<[_]> = self.given.iter().cloned().chain(keys.into_iter().map(hold)).collect();
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
    }

    pub fn all(&self) -> Arc<[Arc<HeldKey>]> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key that a caller presents. Of two alike the file's is found, for it is the one with limits.
    pub fn find(&self, presented: &str) -> Option<Arc<HeldKey>> {
        let held = self.all();
        let at = last_match(held.iter().map(|held| &held.key.hash), &KeyHash::of(presented))?;
        held.get(at).cloned()
    }

    /// Whether there is any key for admins, also one that is over: the routes stay off without one.
    pub fn has_admin(&self) -> bool {
        self.all().iter().any(|held| held.key.scopes.admin)
    }
}

fn given(name: &str, keys: &ApiKeys, scopes: KeyScopes, clock: &Clock) -> Vec<Arc<HeldKey>> {
    let limits = KeyLimits::default();
    let usage = Arc::new(KeyUsage::new(&limits, clock.clone()));
    let hold = |hash: &KeyHash| {
        let key = Key {
            name: name.to_owned(),
            hash: *hash,
            scopes,
            limits,
            models: None,
            shared_cache: true,
            priority: true,
            expires: None,
        };
        Arc::new(HeldKey { key, usage: usage.clone() })
    };
    keys.hashes().iter().map(hold).collect()
}

/// Compares with every hash, whichever it is: the time must not say which key came close, nor where it stands.
fn last_match<'a>(hashes: impl Iterator<Item = &'a KeyHash>, presented: &KeyHash) -> Option<usize> {
    // 0 is none.
    let mut found = 0_u64;
    for (number, hash) in (1..).zip(hashes) {
        found.conditional_assign(&number, hash.ct_eq(presented));
    }
    usize::try_from(found).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn every_key_is_compared_whichever_it_is() {
        let keys = ["a", "b", "c", "b"];
        let hashes = keys.map(KeyHash::of);
        let check = |presented: &str, expected: Option<usize>| {
            let compared = Cell::new(0);
            let counted = hashes.iter().inspect(|_| compared.set(compared.get() + 1));
            assert_eq!(last_match(counted, &KeyHash::of(presented)), expected, "{presented}");
            assert_eq!(compared.get(), keys.len(), "{presented}");
        };
        check("a", Some(0));
        check("b", Some(3));
        check("c", Some(2));
        check("d", None);
        check("", None);
    }

    fn written(folder: &Path, keys: &[(&str, &str, u32)]) {
        let table = |(name, key, tokens): &(&str, &str, u32)| {
            let hash = KeyHash::of(key);
            format!("[{name}]\nhash = \"{hash}\"\nscopes = [\"inference\"]\ntokens_per_minute = {tokens}\n")
        };
        std::fs::write(folder.join("keys.toml"), keys.iter().map(table).collect::<String>()).unwrap();
    }

    #[test]
    fn a_key_that_is_read_again_keeps_what_it_used() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), &[("a", "xg-a", 100), ("b", "xg-b", 100)]);
        let options = AuthOptions {
            inference: ApiKeys::new(["xg-given"]),
            keys_file: Some(folder.path().join("keys.toml")),
            ..AuthOptions::default()
        };
        let clock = Clock::from_fn(|| 0);
        let ring = KeyRing::new(&options, clock).unwrap();
        let name = |key: &str| ring.find(key).map(|held| held.key.name.clone());
        assert_eq!(name("xg-a").as_deref(), Some("a"));
        ring.find("xg-a").unwrap().usage.reserve(60).unwrap().settle(60);

        written(folder.path(), &[("a", "xg-new", 90)]);
        assert_eq!(ring.reload().unwrap(), 1);
        assert_eq!((name("xg-a"), name("xg-b")), (None, None));
        assert_eq!(name("xg-given").as_deref(), Some("api_keys"));
        let standing = ring.find("xg-new").unwrap().usage.standing().1.unwrap();
        assert_eq!((standing.limit, standing.remaining), (90, 40));

        written(folder.path(), &[("b", "xg-b", 100)]);
        ring.reload().unwrap();
        assert_eq!(name("xg-new"), None);
        written(folder.path(), &[("a", "xg-new", 90)]);
        ring.reload().unwrap();
        let standing = ring.find("xg-new").unwrap().usage.standing().1.unwrap();
        assert_eq!(
            (standing.limit, standing.remaining),
            (90, 40),
            "an entry that comes back is not a new one"
        );

        std::fs::write(folder.path().join("keys.toml"), "[a\n").unwrap();
        assert!(ring.reload().unwrap_err().to_string().contains("keys.toml:1: "));
        assert_eq!(name("xg-new").as_deref(), Some("a"), "a broken file changes nothing");
    }
}
