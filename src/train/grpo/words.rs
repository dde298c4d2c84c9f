//! Long lists of numbers as one string each, bit for bit: `"12 7 40"`.

/// Of whole numbers.
pub(super) mod ids {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(ids: &[u32], to: S) -> Result<S::Ok, S::Error> {
        let words: Vec<String> = ids.iter().map(u32::to_string).collect();
        to.serialize_str(&words.join(" "))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
        let text = String::deserialize(from)?;
        text.split_ascii_whitespace().map(|word| word.parse().map_err(D::Error::custom)).collect()
    }
}

/// Of floats, as the numbers that their bits are.
pub(super) mod bits {
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &[f32], to: S) -> Result<S::Ok, S::Error> {
        super::ids::serialize(&values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
        Ok(super::ids::deserialize(from)?.into_iter().map(f32::from_bits).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rollout;

    #[test]
    fn numbers_come_back_bit_for_bit() {
        let logprobs = vec![-0.1, f32::MIN_POSITIVE / 3.0, -0.0, f32::NEG_INFINITY];
        let rollout = Rollout { tokens: vec![0, u32::MAX], logprobs, kept: vec![], is_truncated: true };
        let text = serde_json::to_string(&rollout).unwrap();
        let back: Rollout = serde_json::from_str(&text).unwrap();
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!((&back.tokens, bits(&back.logprobs)), (&rollout.tokens, bits(&rollout.logprobs)));
        assert!(back.kept.is_empty() && back.is_truncated);
        assert!(serde_json::from_str::<Rollout>(&text.replace("4294967295", "4294967296")).is_err());
    }
}
