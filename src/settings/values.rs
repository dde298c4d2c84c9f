//! The types of options that are neither numbers nor plain text, and how each is written as text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// An option's value from an environment variable.
pub(super) trait Text: Sized {
    fn from_text(text: &str) -> Result<Self, String>;
}

macro_rules! text_by_parsing {
    ($( $type:ty => $expected:literal ),* $(,)?) => { $(
        impl Text for $type {
            fn from_text(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| format!("`{text}` is not {}", $expected))
            }
        }
    )* };
}

text_by_parsing! {
    u16 => "a whole number from 0 to 65535",
    u64 => "a whole number of at least 0",
    usize => "a whole number of at least 0",
}

impl Text for bool {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("`{text}` is neither true nor false")),
        }
    }
}

impl Text for String {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Text for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

/// Items between commas.
impl Text for Vec<String> {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }
}

impl<T: Text> Text for Option<T> {
    fn from_text(text: &str) -> Result<Self, String> {
        T::from_text(text).map(Some)
    }
}

/// An enum whose variants have one spelling each.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $text:literal ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_doc])* $variant, )* }

        impl $name {
            /// The spellings, in order.
            pub const CHOICES: &[&str] = &[$( $text ),*];

            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $( $text => Ok(Self::$variant), )*
                    _ => Err(format!("`{text}` is not one of {}", Self::CHOICES.join(", "))),
                }
            }
        }

        impl Text for $name {
            fn from_text(text: &str) -> Result<Self, String> {
                text.trim().parse()
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

choice! {
    /// Type of the weights in memory.
    Dtype {
        /// The checkpoint's own: F32 stays, F16 and BF16 become bf16, GGUF blocks stay as they are.
        Auto = "auto",
        F32 = "f32",
        Bf16 = "bf16",
    }
}

choice! {
    /// Weights quantised while they are loaded.
    Quantize {
        None = "none",
        /// Bytes, an f32 scale an output row. Activations are rounded to two bytes, a scale a token, at every linear.
        Int8 = "int8",
        /// Bytes, a half scale for 64 neighbours of a row. Activations are rounded to a byte, a scale for 32, where the
        /// processor multiplies bytes, and stay as they are elsewhere.
        Int8Group64 = "int8-g64",
        /// Bytes, a half scale for 32 neighbours of a row, as GGUF's Q8_0.
        Int8Group32 = "int8-g32",
    }
}

choice! {
    /// Type of the KV cache.
    KvDtype {
        /// Follows the compute type: f32 under f32, bf16 otherwise.
        Auto = "auto",
        F32 = "f32",
        Bf16 = "bf16",
    }
}

choice! {
    /// Where tensors live and kernels run.
    Device { Cpu = "cpu", Cuda = "cuda" }
}

choice! {
    /// When a model is loaded.
    Load {
        /// With the server, and not unloaded.
        Start = "start",
        /// With the first request that names it.
        OnDemand = "on-demand",
    }
}

choice! {
    /// Where guesses at the next tokens come from.
    Speculation {
        /// From what followed the same tokens earlier in the prompt and the output.
        Ngram = "ngram",
        Off = "off",
    }
}

choice! {
    /// What is done with fields of a request that nobody knows.
    UnknownFields {
        /// The request is a 400 that names the field.
        Refuse = "refuse",
        /// The request is answered without them, and a header of the answer names them.
        Name = "name",
    }
}

choice! {
    /// How log lines look.
    LogFormat { Text = "text", Json = "json" }
}

/// A number of bytes, written `2GiB`, `512MiB`, `1.5GB` or `1048576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size such as 2GiB, 512MiB or 1048576");
        let lower = text.trim().to_ascii_lowercase();
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| lower.strip_suffix(name).map(|rest| (rest, *unit)))
            .unwrap_or((&lower, 1));
        let number = number.trim();
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(unit).map(Self).ok_or_else(wrong);
        }
        match number.parse::<f64>() {
            Ok(value) if value >= 0.0 && value * (unit as f64) < u64::MAX as f64 => {
                Ok(Self((value * unit as f64) as u64))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 1 << 10 => write!(f, "{bytes} B"),
            bytes if bytes < 1 << 20 => write!(f, "{:.1} KiB", bytes as f64 / 1024.0),
            bytes if bytes < 1 << 30 => write!(f, "{:.1} MiB", bytes as f64 / (1u64 << 20) as f64),
            bytes => write!(f, "{:.2} GiB", bytes as f64 / (1u64 << 30) as f64),
        }
    }
}

impl Text for ByteSize {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size such as \"2GiB\" or a number of bytes")]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(text.parse::<ByteSize>().ok().map(|size| size.0), expected, "{text}");
        };
        check("2GiB", Some(2 << 30));
        check("1.5 GB", Some(1_500_000_000));
        check("512mib", Some(512 << 20));
        check("1048576", Some(1 << 20));
        check("7B", Some(7));
        check("-1", None);
        check("many", None);
        check("", None);
        check("99999999999TiB", None);
        check("nan", None);
        check("inf", None);
    }

    #[test]
    fn sizes_are_written() {
        let check = |bytes, expected: &str| assert_eq!(ByteSize(bytes).to_string(), expected);
        check(0, "0 B");
        check(1536, "1.5 KiB");
        check(3 << 29, "1.50 GiB");
    }
}
