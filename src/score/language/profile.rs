//! The ways a text is judged, by name, so that figures of other work can be compared with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LanguageProfile {
    /// The target's share of the weight, from trace and from answer.
    #[default]
    Default,
    /// The likeliest language of the whole trace, mathematics and code included; all or nothing, and the answer is not
    /// looked at. The published code asks langdetect; this asks lingua.
    LegacyPassk,
    /// All or nothing: exactly one language is left after stripping, and it is the target.
    Polymath,
}

/// The name is no profile's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown language profile {name:?}; known: {}", LanguageProfile::NAMES.join(", "))]
pub struct UnknownProfile {
    pub name: String,
}

impl LanguageProfile {
    pub const NAMES: [&'static str; 3] = ["default", "legacy-passk", "polymath"];

    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::LegacyPassk => "legacy-passk",
            Self::Polymath => "polymath",
        }
    }
}

impl fmt::Display for LanguageProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LanguageProfile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        match name {
            "default" => Ok(Self::Default),
            "legacy-passk" => Ok(Self::LegacyPassk),
            "polymath" => Ok(Self::Polymath),
            _ => Err(UnknownProfile { name: name.to_owned() }),
        }
    }
}

impl Serialize for LanguageProfile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for LanguageProfile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for name in LanguageProfile::NAMES {
            assert_eq!(name.parse::<LanguageProfile>().unwrap().name(), name);
        }
        let message = "langdetect".parse::<LanguageProfile>().unwrap_err().to_string();
        assert!(message.contains("\"langdetect\"") && message.contains("legacy-passk"), "{message}");
    }
}
