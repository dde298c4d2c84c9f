//! generation_config.json: the sampling parameters a model's authors recommend.
//!
//! As vLLM does: a value counts if it is there and not null, whatever `do_sample` says; a request's own value
//! comes first; `max_new_tokens` only limits answers that name no limit.

use std::path::Path;

use serde_json::Value;

use super::RegistryError;

/// `None` leaves the API's own default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GenerationDefaults {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<u32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub max_tokens: Option<usize>,
}

impl GenerationDefaults {
    /// `model` is the directory of the config.
    ///
    /// # Errors
    /// `GenerationConfig` names the file and the key whose value no sampler can work with.
    pub fn from_config(config: &Value, model: &Path) -> Result<Self, RegistryError> {
        let number = |key: &'static str, fits: fn(f64) -> bool| match &config[key] {
            Value::Null => Ok(None),
            value => match value.as_f64() {
                Some(number) if fits(number) => Ok(Some(number)),
                _ => {
                    let path = model.join("generation_config.json");
                    Err(RegistryError::GenerationConfig { path, key, value: value.to_string() })
                }
            },
        };
        let unit = |number: f64| number > 0.0 && number <= 1.0;
        Ok(Self {
            temperature: number("temperature", |number| (0.0..=100.0).contains(&number))?.map(|n| n as f32),
            top_p: number("top_p", unit)?.map(|n| n as f32),
            // 0 and -1 are off; the cast takes both to 0.
            top_k: number("top_k", |number| number == -1.0 || whole(number))?.map(|n| n as u32),
            min_p: number("min_p", |number| (0.0..=1.0).contains(&number))?.map(|n| n as f32),
            repetition_penalty: number("repetition_penalty", |number| number > 0.0 && number < 100.0)?
                .map(|n| n as f32),
            max_tokens: number("max_new_tokens", whole)?.map(|n| n as usize).filter(|tokens| *tokens > 0),
        })
    }
}

fn whole(number: f64) -> bool {
    number >= 0.0 && number.fract() == 0.0 && number < 4e9
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_taken_or_refused_by_name() {
        let config = json!({"temperature": 0.6, "top_k": 20, "top_p": null, "do_sample": false, "max_new_tokens": 2048});
        let read = |config: &Value| GenerationDefaults::from_config(config, Path::new("models/x"));
        assert_eq!(
            read(&config).unwrap(),
            GenerationDefaults {
                temperature: Some(0.6),
                top_k: Some(20),
                max_tokens: Some(2048),
                ..GenerationDefaults::default()
            }
        );
        assert_eq!(read(&Value::Null).unwrap(), GenerationDefaults::default());
        assert_eq!(read(&json!({"top_k": -1})).unwrap().top_k, Some(0), "off, as vLLM and requests say it");
        for (key, value) in [
            ("temperature", json!(-1)),
            ("top_p", json!(0)),
            ("top_k", json!(1.5)),
            ("top_k", json!(-2)),
            ("repetition_penalty", json!("high")),
            ("max_new_tokens", json!(-5)),
        ] {
            let error = read(&json!({key: value})).unwrap_err().to_string();
            for part in ["models/x/generation_config.json", key, "remove or correct the key"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
}
