//! New keys: `xg-` and 32 bytes of the system's generator, in hexadecimal.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};

/// # Errors
/// A system that gives no random bytes.
pub fn fresh_key() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut key = "xg-".to_owned();
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(key, "{byte:02x}");
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_alike() {
        let (one, other) = (fresh_key().unwrap(), fresh_key().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), "xg-".len() + 64);
        assert!(one.starts_with("xg-") && one[3..].bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
