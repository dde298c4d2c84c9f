//! API keys: whose they are, what they open, how much they may use, until when.
//!
//! They come from the settings (nameless, without limits) and from a keys file (`file`), which is read again when it
//! changes (`watch`). A key is kept as its hash alone. It is 32 random bytes (`fresh`), so that a plain SHA-256 is enough:
//! argon2 and its kin slow down who guesses at passwords, and nobody guesses at 256 bits.

mod expiry;
mod file;
mod fresh;
mod key;
mod ring;
mod watch;

pub use expiry::Expiry;
pub use file::{KeysError, is_open_to_others, read, table};
pub use fresh::fresh_key;
pub use key::{ApiKeys, Key, KeyHash, KeyLimits, KeyScopes};
pub use ring::{HeldKey, KeyRing};
pub use watch::watch;
