//! Protocols of papers by name, and what a protocol may say of a run. A flag wins over the preset, the preset over the
//! suite, the suite over the program.

use toml::Table;

use crate::eval::generator::Sampling;

use super::error::{SuiteError, hint};
use super::manifest::defaults;
use super::manifest::keys::Keys;
use super::task::Task;

/// How a run is made, as far as it is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Protocol {
    /// Samples a problem.
    pub n: Option<u32>,
    /// The k of pass@k that are reported; n must reach the largest.
    pub k: Vec<u32>,
    pub shots: Option<u32>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<u32>,
    pub min_p: Option<f32>,
    pub max_tokens: Option<u32>,
    /// Whether traces begin with the prompt's thinking prefix.
    pub thinking_prefix: Option<bool>,
}

/// A protocol with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub n: u32,
    pub shots: usize,
    pub sampling: Sampling,
    pub thinking_prefix: bool,
}

impl Protocol {
    /// This one where it says something, else the other.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        Self {
            n: self.n.or(other.n),
            k: if self.k.is_empty() { other.k.clone() } else { self.k.clone() },
            shots: self.shots.or(other.shots),
            temperature: self.temperature.or(other.temperature),
            top_p: self.top_p.or(other.top_p),
            top_k: self.top_k.or(other.top_k),
            min_p: self.min_p.or(other.min_p),
            max_tokens: self.max_tokens.or(other.max_tokens),
            thinking_prefix: self.thinking_prefix.or(other.thinking_prefix),
        }
    }

    /// With what the task leaves no choice in, where it is not said: likelihoods are the same however often they are asked.
    #[must_use]
    pub fn of_task(self, task: Task) -> Self {
        if task == Task::Loglikelihood { Self { n: self.n.or(Some(1)), k: vec![1], ..self } } else { self }
    }

    /// With the program's own choice for what is not said; `n` is that choice of samples.
    ///
    /// # Errors
    /// `TooFewSamples` if n cannot give every pass@k that the protocol reports.
    pub fn settled(&self, n: u32) -> Result<Settled, SuiteError> {
        let (n, usual) = (self.n.unwrap_or(n), Sampling::default());
        self.check_samples(n)?;
        Ok(Settled {
            n,
            shots: self.shots.unwrap_or_default() as usize,
            sampling: Sampling {
                temperature: self.temperature.unwrap_or(usual.temperature),
                top_p: self.top_p.unwrap_or(usual.top_p),
                top_k: self.top_k.unwrap_or(usual.top_k),
                min_p: self.min_p.unwrap_or(usual.min_p),
                max_tokens: self.max_tokens.map_or(usual.max_tokens, |tokens| tokens as usize),
            },
            thinking_prefix: self.thinking_prefix.unwrap_or_default(),
        })
    }

    /// Whether n samples can give every pass@k that the protocol reports.
    ///
    /// # Errors
    /// `TooFewSamples` with both numbers.
    pub fn check_samples(&self, n: u32) -> Result<(), SuiteError> {
        match self.k.iter().max() {
            Some(k) if n < *k => Err(SuiteError::TooFewSamples { n, k: *k }),
            _ => Ok(()),
        }
    }
}

/// A protocol with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    pub name: String,
    pub description: String,
    /// The shared set of prompts that it uses, where the suite's are replaced.
    pub prompts: Option<String>,
    pub protocol: Protocol,
}

const FILE: &str = "presets.toml";
const TEXT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/eval-suites/presets.toml"));

impl Preset {
    /// # Errors
    /// `UnknownPreset` with the names there are.
    pub fn named(name: &str) -> Result<Self, SuiteError> {
        let table = table()?;
        let keys = Keys::root(&table, FILE);
        let Some(own) = keys.table(name)? else {
            let known: Vec<&str> = table.keys().map(String::as_str).collect();
            return Err(SuiteError::UnknownPreset { name: name.to_owned(), hint: hint(name, &known) });
        };
        own.only(&["description", "prompts", "protocol"])?;
        Ok(Self {
            name: name.to_owned(),
            description: own.text("description")?,
            prompts: own.optional_text("prompts")?,
            protocol: defaults::protocol(&own.needed_table("protocol")?)?,
        })
    }

    /// Its prompts, unless they have no meaning for the task: the papers' ask for an answer, and where choices are scored none is
    /// generated.
    pub fn prompts_of(&self, task: Task) -> Option<&str> {
        self.prompts.as_deref().filter(|_| task != Task::Loglikelihood)
    }

    pub fn names() -> Vec<String> {
        table().map(|table| table.keys().cloned().collect()).unwrap_or_default()
    }
}

fn table() -> Result<Table, SuiteError> {
    TEXT.parse().map_err(|error: toml::de::Error| SuiteError::Toml {
        file: FILE.to_owned(),
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_the_papers_protocols() {
        let check = |name: &str, n: u32, temperature: f32, top_p: Option<f32>, max_tokens: Option<u32>| {
            let protocol = Preset::named(name).unwrap().protocol;
            assert_eq!(
                (protocol.n, protocol.temperature, protocol.top_p, protocol.max_tokens),
                (Some(n), Some(temperature), top_p, max_tokens)
            );
        };
        check("budget-alignment", 32, 0.6, Some(0.95), None);
        check("mindmerger", 1, 0.0, None, Some(512));
        check("maet", 1, 0.0, None, None);
        assert_eq!(Preset::names(), ["budget-alignment", "maet", "mindmerger"]);
        let error = Preset::named("mindmergr").unwrap_err().to_string();
        assert!(error.contains("did you mean \"mindmerger\"?"), "{error}");
    }

    #[test]
    fn likelihoods_are_asked_once() {
        let preset = Preset::named("budget-alignment").unwrap();
        let settled = |said: Protocol, task| said.of_task(task).over(&preset.protocol).settled(32).unwrap().n;
        let nothing = Protocol::default;
        assert_eq!((settled(nothing(), Task::Loglikelihood), settled(nothing(), Task::Choice)), (1, 32));
        // What is asked for in so many words is not changed; the run refuses it.
        assert_eq!(settled(Protocol { n: Some(4), ..nothing() }, Task::Loglikelihood), 4);
        assert_eq!(preset.prompts_of(Task::Choice), Some("budget-alignment"));
        assert_eq!(preset.prompts_of(Task::Loglikelihood), None);
    }

    #[test]
    fn what_is_said_wins_and_n_reaches_k() {
        let preset = Preset::named("budget-alignment").unwrap().protocol;
        let suite = Protocol { n: Some(8), max_tokens: Some(4096), ..Protocol::default() };
        let both = preset.over(&suite);
        assert_eq!((both.n, both.max_tokens, both.temperature), (Some(32), Some(4096), Some(0.6)));
        assert!(both.check_samples(10).is_ok());
        let error = both.check_samples(9).unwrap_err().to_string();
        assert!(error.contains("n is 9") && error.contains("pass@10"), "{error}");
    }
}
