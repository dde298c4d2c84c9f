//! The fixed workloads: how many requests, how long, and which tokens' rate is the figure. Pure; `engine` runs them,
//! and `bench/lib/workloads.py` makes the same ones for the comparison over HTTP.

use super::super::failure::Failure;

/// Tokens of workload A's prompt, unless the context is given.
const A_PROMPT: usize = 200;
/// Clients of the mixed workload, and the shortest and longest of their prompts.
const CLIENTS: usize = 32;
const SHORTEST: usize = 50;
const LONGEST: usize = 800;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Sent at once.
    pub prompts: Vec<usize>,
    /// Choices of each request.
    pub samples: u32,
    /// Tokens of each choice.
    pub tokens: usize,
    pub rate: Rate,
}

/// Whose rate is the figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// The generated tokens, over the whole time: the prefill counts, as it does for a client.
    Generation,
    /// The generated tokens after the first.
    Decode,
    /// The prompt's tokens until the first generated one.
    Prefill,
}

/// What `--samples` and `--context` change, for the curves of growth.
#[derive(Debug, Clone, Copy, Default)]
pub struct Growth {
    pub samples: Option<u32>,
    /// Prompt and answer of a choice together.
    pub context: Option<usize>,
}

impl Workload {
    pub const NAMES: [&str; 4] = ["a", "b", "c", "mixed"];

    pub fn new(name: &str, growth: Growth) -> Result<Self, Failure> {
        let usual = match name {
            "a" => Self { prompts: vec![A_PROMPT], samples: 32, tokens: 128, rate: Rate::Generation },
            "b" => Self { prompts: vec![16], samples: 1, tokens: 256, rate: Rate::Decode },
            "c" => Self { prompts: vec![2048], samples: 1, tokens: 1, rate: Rate::Prefill },
            _ => Self { prompts: mixed_prompts(), samples: 1, tokens: 128, rate: Rate::Generation },
        };
        usual.grown(name, growth)
    }

    fn grown(mut self, name: &str, growth: Growth) -> Result<Self, Failure> {
        let grows = growth.samples.is_some() || growth.context.is_some();
        if grows && self.prompts.len() > 1 {
            return Err(Failure::usage(format!("workload {name} has fixed requests"))
                .hint("--samples and --context go with workload a, b or c"));
        }
        self.samples = growth.samples.unwrap_or(self.samples);
        if let Some(context) = growth.context {
            let prompt = context.checked_sub(self.tokens).filter(|prompt| *prompt > 0).ok_or_else(|| {
                Failure::usage(format!("--context: {context} tokens leave no room for a prompt"))
                    .hint(format!("workload {name} generates {} tokens", self.tokens))
            })?;
            self.prompts = vec![prompt];
        }
        Ok(self)
    }

    pub fn prompt_tokens(&self) -> usize {
        self.prompts.iter().sum()
    }

    /// Tokens that are generated in all.
    pub fn generated(&self) -> usize {
        self.prompts.len() * self.samples as usize * self.tokens
    }

    /// Tokens a second of one run.
    pub fn speed(&self, run: &Run) -> f64 {
        match self.rate {
            Rate::Generation => self.generated() as f64 / run.total,
            Rate::Decode => (self.generated() - self.samples as usize) as f64 / (run.total - run.first_token),
            Rate::Prefill => self.prompt_tokens() as f64 / run.first_token,
        }
    }
}

/// One run, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The median of the requests'.
    pub first_token: f64,
    pub total: f64,
}

/// Evenly spread lengths, out of order: 13 has no factor in common with 32, so each length comes once.
fn mixed_prompts() -> Vec<usize> {
    (0..CLIENTS)
        .map(|client| SHORTEST + (client * 13 % CLIENTS) * (LONGEST - SHORTEST) / (CLIENTS - 1))
        .collect()
}

/// Token ids spread over the vocabulary, other ones for each `run` and `client`, so that no prefix is cached. What
/// they mean does not change the work.
pub fn prompt(tokens: usize, run: u32, client: usize, vocabulary: u32) -> Vec<u32> {
    let start =
        run.wrapping_mul(104_729).wrapping_add((client as u32).wrapping_mul(15_485_863)).wrapping_add(17);
    (0..tokens as u32).map(|at| at.wrapping_mul(7919).wrapping_add(start) % vocabulary).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workloads_are_those_of_the_documentation() {
        let check = |name, requests, prompt_tokens, generated| {
            let workload = Workload::new(name, Growth::default()).unwrap();
            assert_eq!(
                (workload.prompts.len(), workload.prompt_tokens(), workload.generated()),
                (requests, prompt_tokens, generated),
                "{name}"
            );
        };
        check("a", 1, 200, 32 * 128);
        check("b", 1, 16, 256);
        check("c", 1, 2048, 1);
        check("mixed", 32, 13_585, 32 * 128);
    }

    #[test]
    fn mixed_prompts_are_all_different() {
        let mut prompts = mixed_prompts();
        prompts.sort_unstable();
        prompts.dedup();
        assert_eq!((prompts.len(), prompts[0], prompts[CLIENTS - 1]), (CLIENTS, SHORTEST, LONGEST));
    }

    #[test]
    fn growth_changes_samples_and_prompt() {
        let check = |name, samples, context, expected: Option<(u32, usize)>| {
            let grown = Workload::new(name, Growth { samples, context });
            assert_eq!(grown.ok().map(|workload| (workload.samples, workload.prompts[0])), expected);
        };
        check("a", Some(8), None, Some((8, 200)));
        check("a", None, Some(256), Some((32, 128)));
        check("b", None, Some(8192), Some((1, 8192 - 256)));
        check("c", None, Some(4096), Some((1, 4095)));
        check("a", None, Some(128), None);
        check("mixed", Some(2), None, None);
        check("mixed", None, Some(512), None);
    }

    #[test]
    fn speeds_count_the_tokens_of_the_rate() {
        let check = |name, expected| {
            let workload = Workload::new(name, Growth::default()).unwrap();
            assert_eq!(workload.speed(&Run { first_token: 2.0, total: 4.0 }), expected, "{name}");
        };
        check("a", 1024.0);
        check("b", 127.5);
        check("c", 1024.0);
        check("mixed", 1024.0);
    }

    #[test]
    fn prompts_differ_from_their_start() {
        let mut firsts: Vec<u32> =
            (0..8).flat_map(|run| (0..32).map(move |client| prompt(50, run, client, 49_152)[0])).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 8 * 32);
        assert_eq!(prompt(3, 0, 0, 49_152), [17, 7936, 15_855]);
    }
}
