//! Trainings of a policy on what it samples: GRPO from its description to an adapter or a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::{Finished, Job, full_decoder, lora_settings};
use crate::engine::{self, EngineConfig, EngineHandle, MemoryRequest, available_memory, memory_plan};
use crate::model::{Adapter, ComputeDtype, Decoder};
use crate::ops::KvDtype;
use crate::protocol::fine_tuning::Lora;
use crate::score::grader::{Grader, Sample as GradedSample};
use crate::train::completions::CompletionsFile;
use crate::train::data::ModelText;
use crate::train::grpo::{
    EngineSampler, GrpoTrainer, HeldOut, PromptLines, PromptOptions, Prompts, Reward, Rewarded, Sample,
};
use crate::train::hyperparameters::Resolved;
use crate::train::metrics::MetricsFile;
use crate::train::policy::{PolicyMethod, policy_method};
use crate::train::tensorboard::TensorBoard;
use crate::train::{Event, LoraDecoder, Objective, Observer, Passes, Policy, TrainError, result};
use crate::weights::WrittenDtype;

/// Choices computed in one step of the engine.
const SEQUENCES_MAX: usize = 256;

impl Job<'_> {
    pub(super) fn train_policy(
        &self,
        resolved: Resolved,
        observer: &mut dyn Observer,
    ) -> Result<Finished, TrainError> {
        let method = policy_method(self.request, resolved.dtype)?;
        let text = ModelText::of(&self.checkpoint)?;
        let files = self.files("training_file", self.request.training_file.names())?;
        let options = PromptOptions {
            length_max: method.prompt_max,
            together: method.grpo.together(),
            seed: resolved.trainer.seed,
        };
        let asked = Asked::read(&files, text.clone(), options, &method.grader)?;
        asked.tell("", method.prompt_max, observer)?;
        let held_out = match &self.request.validation_file {
            None => None,
            Some(names) => {
                let files = self.files("validation_file", names.names())?;
                let held_out = Asked::read(&files, text, options, &method.grader)?;
                held_out.tell(" of `validation_file`", method.prompt_max, observer)?;
                Some(held_out)
            }
        };
        let passes = Passes::new(resolved.recompute, &self.workers);
        let learning = Learning { resolved, method, asked, held_out, passes };
        match &learning.method.lora {
            Some(lora) => self.adapter_policy(&learning, lora, observer),
            None => self.full_policy(&learning, observer),
        }
    }

    fn adapter_policy(
        &self,
        learning: &Learning,
        lora: &Lora,
        observer: &mut dyn Observer,
    ) -> Result<Finished, TrainError> {
        let Learning { resolved, passes, .. } = learning;
        let settings = lora_settings(self.request, lora, &self.config)?;
        let adapter = Adapter::new(&self.config, &settings, resolved.trainer.seed, &self.workers)?;
        let decoder = Arc::new(self.decoder(resolved)?);
        let mut policy = LoraDecoder::new(Arc::clone(&decoder), adapter, passes.clone())?;
        let base = self.checkpoint.path.display().to_string();
        self.learn(&mut policy, decoder, learning, observer, |policy, out| {
            Ok(policy.adapter().save(out, &base, WrittenDtype::F32)?)
        })
    }

    fn full_policy(&self, learning: &Learning, observer: &mut dyn Observer) -> Result<Finished, TrainError> {
        let Learning { resolved, passes, method, .. } = learning;
        let mut policy = full_decoder(self.decoder(resolved)?, resolved, passes.clone())?;
        // What the policy is kept near is a copy that stays as it is.
        let reference = if method.grpo.policy.beta == 0.0 {
            policy.sampler().decoder
        } else {
            Arc::new(self.decoder(resolved)?)
        };
        let tied = self.config.tie_word_embeddings;
        self.learn(&mut policy, reference, learning, observer, |policy, out| {
            result::write(&self.checkpoint, &policy.parameters()?, tied, out)
        })
    }

    fn learn<P: Policy>(
        &self,
        policy: &mut P,
        reference: Arc<Decoder>,
        learning: &Learning,
        observer: &mut dyn Observer,
        write: impl FnOnce(&mut P, &Path) -> Result<(), TrainError>,
    ) -> Result<Finished, TrainError> {
        let Learning { resolved, method, asked, held_out, passes } = learning;
        let handle = self.engine(policy.sampler().decoder, learning)?;
        let mut sampler = EngineSampler::new(handle, method.sampling.clone(), policy)?;
        let mut metrics = MetricsFile::new(&self.folder);
        let mut board = TensorBoard::new(&self.folder);
        let mut completions = CompletionsFile::new(&self.folder);
        let mut all = |event: Event| {
            metrics.event(event.clone())?;
            board.event(event.clone())?;
            completions.event(event.clone())?;
            observer.event(event)
        };
        let mut identity = json!({
            "model": self.checkpoint.path,
            "data": asked.prompts.digest(),
            "hyperparameters": resolved.identity(),
            "grpo": method.grpo,
            "sampling": format!("{:?}", method.sampling),
            "grader": method.grader,
            "lora": method.lora,
        });
        // How far the sampler may be from the trainer decides nothing that is learned.
        if let Some(grpo) = identity["grpo"].as_object_mut() {
            grpo.remove("gap");
        }
        let mut trainer = GrpoTrainer {
            policy,
            prompts: &asked.prompts,
            reward: &asked.reward,
            held_out: held_out.as_ref().map(|Asked { prompts, reward }| HeldOut {
                prompts,
                reward,
                group: method.group_eval,
            }),
            reference: (method.grpo.policy.beta != 0.0).then_some(reference),
            passes: passes.clone(),
            grpo: Arc::new(method.grpo.clone()),
            settings: resolved.trainer.clone(),
            run: crate::train::RunSettings {
                folder: self.folder.join("checkpoints"),
                identity,
                ..resolved.run.clone()
            },
            workers: Arc::clone(&self.workers),
            stop: self.stop,
        };
        let outcome = trainer.train(&mut sampler, &mut all)?;
        if !outcome.finished {
            return Ok(Finished { outcome, model: None });
        }
        let out = self.folder.join(super::MODEL_FOLDER);
        if !out.exists() {
            write(policy, &out)?;
        }
        Ok(Finished { outcome, model: Some(out) })
    }

    /// An engine on a policy's decoder, with the memory that is left.
    fn engine(&self, decoder: Arc<Decoder>, learning: &Learning) -> Result<EngineHandle, TrainError> {
        let PolicyMethod { grpo, prompt_max, group_eval, .. } = &learning.method;
        let together = grpo.together();
        let group = grpo.group.max(if learning.held_out.is_some() { *group_eval } else { 0 });
        let mut config = EngineConfig {
            max_model_len: prompt_max + grpo.completion_max,
            max_num_seqs: (group * together).min(SEQUENCES_MAX),
            max_waiting: together,
            max_n: u32::try_from(group).unwrap_or(u32::MAX),
            kv_dtype: if learning.resolved.dtype == ComputeDtype::Bf16 {
                KvDtype::Bf16
            } else {
                KvDtype::F32
            },
            eos_token_ids: self.checkpoint.eos_token_ids.clone(),
            ..EngineConfig::default()
        };
        let failed = |message: String| TrainError::Sampling { message };
        let free = available_memory().unwrap_or(u64::MAX);
        let mut request = MemoryRequest::new(&self.config, 0, &config, free);
        // As many sequences at once as there will be, where the memory allows it.
        request.max_num_seqs = config.max_num_seqs;
        let plan = memory_plan(&request).map_err(|error| failed(error.to_string()))?;
        config.num_blocks = plan.num_blocks;
        engine::start(decoder, config, Arc::clone(&self.workers)).map_err(|error| failed(error.to_string()))
    }
}

/// What a policy learns from.
struct Learning {
    resolved: Resolved,
    method: PolicyMethod,
    asked: Asked,
    held_out: Option<Asked>,
    passes: Passes,
}

/// Prompts, and what answers to them are worth.
struct Asked {
    prompts: PromptLines,
    reward: GraderReward,
}

impl Asked {
    fn read(
        files: &[PathBuf],
        text: ModelText,
        options: PromptOptions,
        grader: &crate::protocol::graders::Grader,
    ) -> Result<Self, TrainError> {
        let prompts = PromptLines::read(files, text, options)?;
        Ok(Self { reward: GraderReward::new(grader, &prompts)?, prompts })
    }

    /// How many there are, and how many are not.
    fn tell(&self, of: &str, longest: usize, observer: &mut dyn Observer) -> Result<(), TrainError> {
        observer.event(Event::Note(counted(self.prompts.len(), of, "read")))?;
        match self.prompts.too_long() {
            0 => Ok(()),
            left_out => {
                let longer = format!("{of} of more than {longest} tokens");
                observer.event(Event::Note(counted(left_out, &longer, "left out")))
            }
        }
    }
}

/// "1 prompt is read", "2 prompts are read".
fn counted(prompts: usize, of: &str, done: &str) -> String {
    let (noun, are) = if prompts == 1 { ("prompt", "is") } else { ("prompts", "are") };
    format!("{prompts} {noun}{of} {are} {done}")
}

/// Graders over the lines of the prompts.
pub(super) struct GraderReward {
    grader: Grader,
    names: Vec<String>,
    items: Vec<serde_json::Value>,
    /// Whether a prompt ends in a trace that it opened.
    opened: Vec<bool>,
}

impl GraderReward {
    /// # Errors
    /// A grader that is wrong, by its path; a line that lacks what it reads.
    pub(super) fn new(
        grader: &crate::protocol::graders::Grader,
        prompts: &PromptLines,
    ) -> Result<Self, TrainError> {
        let compiled =
            Grader::compile(grader).map_err(|error| TrainError::option("grader", error.to_string()))?;
        let items: Vec<_> = (0..prompts.len()).map(|example| prompts.item(example).clone()).collect();
        for (example, item) in items.iter().enumerate() {
            compiled.check_item(item).map_err(|error| prompts.wrong(example, &error.to_string()))?;
        }
        let opens = |example| prompts.shown(example).trim_end().ends_with("<think>");
        Ok(Self {
            names: compiled.names().map(str::to_owned).collect(),
            grader: compiled,
            opened: (0..prompts.len()).map(opens).collect(),
            items,
        })
    }
}

impl Reward for GraderReward {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn reward(&self, sample: &Sample<'_>) -> Rewarded {
        let graded = self.grader.grade(
            &self.items[sample.example],
            &GradedSample {
                output_text: sample.text,
                completion_tokens: sample.tokens,
                truncated: sample.is_truncated,
                trace_opened: self.opened[sample.example],
            },
        );
        Rewarded { total: graded.reward, parts: graded.parts.iter().map(|part| part.score).collect() }
    }
}
