//! Trainings of a decoder on tokens: supervised, and continued pre-training.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::{Finished, Job, Learning, full_decoder};
use crate::model::{Adapter, DecoderConfig, LoraSettings, Target};
use crate::protocol::fine_tuning::{CorpusFiles, CreateFineTuningJob, Lora, MethodKind};
use crate::train::data::{
    BatchOptions, BatchPlan, Corpus, Documents, Loss, ModelText, Packing, PrepareOptions, Source, TokenStore,
    prepare, stem,
};
use crate::train::hyperparameters::Resolved;
use crate::train::{
    Event, Examples, FullDecoder, LoraDecoder, Masks, Objective, Observer, Passes, TokenExamples, TrainError,
    result,
};
use crate::weights::{NeuronMask, WrittenDtype};

impl Job<'_> {
    pub(super) fn train_on_tokens(
        &self,
        resolved: Resolved,
        observer: &mut dyn Observer,
    ) -> Result<Finished, TrainError> {
        let text = ModelText::of(&self.checkpoint)?;
        let store = self.prepare("training", &self.source(&resolved)?, &text, &resolved, observer)?;
        let dev = match self.dev_source()? {
            Some(source) => Some(self.prepare("validation", &source, &text, &resolved, observer)?),
            None => None,
        };
        let identity = json!({
            "model": self.checkpoint.path,
            "data": store.header().digest,
            "validation": dev.as_ref().map(|dev| &dev.header().digest),
            "hyperparameters": resolved.identity(),
            "mask_file": self.mask_file().map(|mask| self.content("mask_file", mask)).transpose()?,
            "lora": self.request.lora(),
        });
        let examples = examples(store, resolved.batches())?;
        // What is measured does not depend on how it is put together.
        let packing = Packing::BestFit { tokens_max: resolved.max_length as u32 };
        let dev = dev
            .map(|dev| self::examples(dev, BatchOptions { packing, micro_batch: 1, seed: 0 }))
            .transpose()?;
        let passes = Passes::new(resolved.recompute, &self.workers);
        let dev = dev.as_ref().map(|dev| dev as &dyn Examples);
        if let Some(lora) = self.request.lora() {
            let learning = Learning { examples: &examples, dev, masks: None, identity };
            let mut objective = self.adapted(&resolved, lora, passes)?;
            let base = self.checkpoint.path.display().to_string();
            return self.drive(&mut objective, &learning, resolved, observer, |objective, out| {
                Ok(objective.adapter().save(out, &base, WrittenDtype::F32)?)
            });
        }
        let (mut objective, masks) = self.full(&resolved, passes)?;
        let learning = Learning { examples: &examples, dev, masks: masks.as_ref(), identity };
        let tied = self.config.tie_word_embeddings;
        self.drive(&mut objective, &learning, resolved, observer, |objective, out| {
            result::write(&self.checkpoint, &objective.parameters()?, tied, out)
        })
    }

    /// A new adapter on a decoder that stays as it is.
    fn adapted(&self, resolved: &Resolved, lora: &Lora, passes: Passes) -> Result<LoraDecoder, TrainError> {
        let settings = lora_settings(self.request, lora, &self.config)?;
        let adapter = Adapter::new(&self.config, &settings, resolved.trainer.seed, &self.workers)?;
        LoraDecoder::new(Arc::new(self.decoder(resolved)?), adapter, passes)
    }

    /// A decoder whose own weights learn, those of the mask if there is one.
    fn full(&self, resolved: &Resolved, passes: Passes) -> Result<(FullDecoder, Option<Masks>), TrainError> {
        let decoder = self.decoder(resolved)?;
        let Some(mask) = self.mask_file() else {
            return Ok((full_decoder(decoder, resolved, passes)?, None));
        };
        let path = self.locate("mask_file", mask)?;
        let wanted: BTreeSet<String> = NeuronMask::open(&path)?.names().into_iter().collect();
        let mut objective = FullDecoder::new(decoder, Some(wanted), passes)?;
        let masks = Masks::open(&path, &objective.trained()?)?;
        Ok((objective, Some(masks)))
    }

    fn mask_file(&self) -> Option<&str> {
        mask_file(self.request)
    }

    fn source(&self, resolved: &Resolved) -> Result<Source, TrainError> {
        let files = self.request.training_file.names();
        if self.request.kind() == MethodKind::Supervised {
            let files = self.files("training_file", files)?;
            return Ok(Source::Supervised { files, loss: self.loss(), tagged: false });
        }
        let cpt = self.request.method.as_ref().and_then(|method| method.cpt.as_ref());
        let given = cpt.map(|cpt| cpt.corpora.as_slice()).unwrap_or_default();
        let mut corpora: Vec<Corpus> =
            given.iter().map(|corpus| self.corpus(corpus)).collect::<Result<_, _>>()?;
        if corpora.is_empty() {
            corpora.push(plain(self.files("training_file", files)?, None, ""));
        }
        Ok(Source::Corpora { corpora, tokens_max: resolved.max_tokens })
    }

    fn corpus(&self, corpus: &CorpusFiles) -> Result<Corpus, TrainError> {
        let files = self.files("corpora", corpus.files.names())?;
        Ok(plain(files, corpus.proportion, corpus.language.as_deref().unwrap_or_default()))
    }

    fn dev_source(&self) -> Result<Option<Source>, TrainError> {
        let Some(files) = &self.request.validation_file else { return Ok(None) };
        let files = self.files("validation_file", files.names())?;
        if self.request.kind() == MethodKind::Supervised {
            let tagged = files.len() > 1;
            return Ok(Some(Source::Supervised { files, loss: self.loss(), tagged }));
        }
        // A file is a corpus of its own, so that each has a loss of its own.
        let corpora = files.into_iter().map(|file| plain(vec![file.clone()], None, &stem(&file))).collect();
        Ok(Some(Source::Corpora { corpora, tokens_max: None }))
    }

    fn loss(&self) -> Loss {
        let supervised = self.request.method.as_ref().and_then(|method| method.supervised.as_ref());
        Loss {
            completion_only: supervised.and_then(|method| method.completion_only_loss).unwrap_or(true),
            assistant_only: supervised.and_then(|method| method.assistant_only_loss).unwrap_or(true),
        }
    }

    fn prepare(
        &self,
        name: &str,
        source: &Source,
        text: &ModelText,
        resolved: &Resolved,
        observer: &mut dyn Observer,
    ) -> Result<TokenStore, TrainError> {
        let options = PrepareOptions {
            length_max: resolved.max_length,
            too_long: resolved.too_long,
            effort: self.effort(),
            progress: &|_| {},
        };
        let store = prepare(&self.data_folder(name)?, source, text, options)?;
        observer.event(Event::Prepared { name: name.to_owned(), counts: store.header().counts })?;
        Ok(store)
    }
}

fn mask_file(request: &CreateFineTuningJob) -> Option<&str> {
    let method = request.method.as_ref().filter(|method| method.kind == MethodKind::Cpt)?;
    method.cpt.as_ref()?.mask_file.as_deref()
}

/// # Errors
/// A module that is none, or a mask beside the adapter.
pub(super) fn lora_settings(
    request: &CreateFineTuningJob,
    lora: &Lora,
    config: &DecoderConfig,
) -> Result<LoraSettings, TrainError> {
    if mask_file(request).is_some() {
        let problem = "is for a model's own weights: leave `lora` out, or the mask";
        return Err(TrainError::option("mask_file", problem));
    }
    let rank = lora.r.unwrap_or(16);
    let targets = match &lora.target_modules {
        None => Target::of(config).to_vec(),
        Some(names) => names.iter().map(|name| target(name)).collect::<Result<_, _>>()?,
    };
    Ok(LoraSettings {
        rank,
        alpha: lora.alpha.unwrap_or(2.0 * rank as f64),
        dropout: lora.dropout.unwrap_or(0.0),
        targets,
        rslora: lora.use_rslora.unwrap_or(false),
    })
}

fn target(name: &str) -> Result<Target, TrainError> {
    Target::from_name(name).ok_or_else(|| {
        let known = Target::ALL.map(Target::name).join(", ");
        TrainError::option("target_modules", format!("names {name:?}, which is none of {known}"))
    })
}

fn plain(files: Vec<PathBuf>, proportion: Option<f64>, tag: &str) -> Corpus {
    Corpus { files, documents: Documents::Line, proportion, tag: tag.to_owned() }
}

fn examples(store: TokenStore, options: BatchOptions) -> Result<TokenExamples, TrainError> {
    let plan = BatchPlan::new(store.lengths(), options)?;
    Ok(TokenExamples::new(store, plan))
}
