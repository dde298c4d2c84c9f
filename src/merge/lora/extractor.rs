//! The work of an extraction: weight by weight into the adapter, then its configuration.

use std::path::Path;

use super::difference::{decompose, difference, is_same, pieces};
use super::extract::{ExtractError, ExtractOptions, ExtractedModule, Extraction};
use super::selection::{Fate, Selection, last_part, short_names};
use super::svd::Svd;
use super::transpose;
use crate::weights::{
    AdapterBias, AdapterConfig, AdapterWriter, ModuleNames, TensorSource, TensorType, TensorView,
    WrittenDtype,
};

pub struct Extractor<'a> {
    base: &'a dyn TensorSource,
    tuned: &'a dyn TensorSource,
    options: &'a ExtractOptions,
    selection: Selection<'a>,
    writer: AdapterWriter,
    done: Extraction,
    has_biases: bool,
}

impl<'a> Extractor<'a> {
    /// # Errors
    /// `Pattern`, or an output that cannot be written.
    pub fn new(
        base: &'a dyn TensorSource,
        tuned: &'a dyn TensorSource,
        out: &Path,
        options: &'a ExtractOptions,
    ) -> Result<Self, ExtractError> {
        let selection = Selection::new(options)?;
        let writer = AdapterWriter::create(out, options.dtype.unwrap_or_else(|| written_type(tuned)))?;
        let done = Extraction::default();
        Ok(Self { base, tuned, options, selection, writer, done, has_biases: false })
    }

    /// A module's weight and its bias, or what belongs to no module.
    ///
    /// # Errors
    /// `Tensor`: what cannot be in an adapter.
    pub fn weight(&mut self, name: &str) -> Result<(), ExtractError> {
        let Some(module) = name.strip_suffix(".weight") else {
            let module = name.strip_suffix(".bias");
            let is_done = module.is_some_and(|module| self.tuned.contains(&format!("{module}.weight")));
            return if is_done { Ok(()) } else { self.parameter(name) };
        };
        let (base, tuned) = self.both(name)?;
        let fate = self.selection.fate(module, &tuned.shape, base.shape == tuned.shape)?;
        same_shape(name, &base, &tuned, fate)?;
        let mut is_decomposed = false;
        if is_same(&base, &tuned)? {
            self.done.unchanged += 1;
        } else {
            match fate {
                Fate::Decomposed { is_embedding } => {
                    is_decomposed = self.decompose(module, &base, &tuned, is_embedding)?;
                }
                Fate::Whole => {
                    self.keep(name, &tuned)?;
                    self.done.whole.push(module.to_owned());
                }
                Fate::LeftOut => self.done.left_out.push(name.to_owned()),
            }
        }
        let bias = format!("{module}.bias");
        if self.tuned.contains(&bias) {
            self.bias(module, &bias, fate, is_decomposed)?;
        }
        Ok(())
    }

    /// The configuration, and the adapter under its name.
    ///
    /// # Errors
    /// `Nothing`, or what cannot be written.
    pub fn finish(self, names: &[String]) -> Result<Extraction, ExtractError> {
        let done = self.done;
        if done.modules.is_empty() && done.whole.is_empty() && !self.has_biases {
            return Err(ExtractError::Nothing);
        }
        let all: Vec<String> =
            names.iter().filter_map(|name| name.strip_suffix(".weight")).map(str::to_owned).collect();
        let decomposed: Vec<String> = done.modules.iter().map(|module| module.name.clone()).collect();
        let rank = done.modules.iter().map(|module| module.rank).max().unwrap_or(1);
        let others = || done.modules.iter().filter(|module| module.rank != rank);
        let config = AdapterConfig {
            base_model: Some(self.options.base_model.clone()),
            rank,
            alpha: rank as f64,
            rank_pattern: others().map(|module| (module.name.clone(), module.rank)).collect(),
            alpha_pattern: others().map(|module| (module.name.clone(), module.rank as f64)).collect(),
            bias: if self.has_biases { AdapterBias::All } else { AdapterBias::None },
            target_modules: ModuleNames::Names(short_names(&decomposed, &all, |module, name| {
                last_part(module) == name
            })),
            // PEFT takes every module whose name ends so, be it within a word.
            modules_to_save: short_names(&done.whole, &all, |module, name| module.ends_with(name)),
            ..AdapterConfig::default()
        };
        self.writer.finish(&config)?;
        Ok(done)
    }

    fn both(&self, name: &str) -> Result<(TensorView<'a>, TensorView<'a>), ExtractError> {
        if !self.base.contains(name) {
            return Err(wrong(name, "is in the tuned model and not in the base"));
        }
        Ok((self.base.tensor(name)?, self.tuned.tensor(name)?))
    }

    fn bias(
        &mut self,
        module: &str,
        bias: &str,
        fate: Fate,
        is_decomposed: bool,
    ) -> Result<(), ExtractError> {
        let (base, tuned) = self.both(bias)?;
        same_shape(bias, &base, &tuned, fate)?;
        if is_same(&base, &tuned)? {
            self.done.unchanged += 1;
        } else if fate == Fate::LeftOut {
            self.done.left_out.push(bias.to_owned());
        } else {
            // PEFT has the parameters of a module that it adapts one level down.
            let inner = if is_decomposed { format!("{module}.base_layer.bias") } else { bias.to_owned() };
            self.keep(&inner, &tuned)?;
            self.has_biases = true;
        }
        Ok(())
    }

    /// What an adapter has no place for may not differ.
    fn parameter(&mut self, name: &str) -> Result<(), ExtractError> {
        // Whole numbers and the like are no weights.
        if self.tuned.dtype(name).is_err() {
            return Ok(());
        }
        let (base, tuned) = self.both(name)?;
        if is_same(&base, &tuned)? {
            self.done.unchanged += 1;
        } else if self.options.skip_undecomposable {
            self.done.left_out.push(name.to_owned());
        } else {
            let problem = "differs, and no adapter can hold what is not a module's weight; \
                           --skip-undecomposable leaves it out";
            return Err(wrong(name, problem));
        }
        Ok(())
    }

    /// Whether anything of the difference is kept.
    fn decompose(
        &mut self,
        module: &str,
        base: &TensorView<'_>,
        tuned: &TensorView<'_>,
        is_embedding: bool,
    ) -> Result<bool, ExtractError> {
        let matrix = difference(base, tuned)?;
        let svd = decompose(&matrix, self.options)?;
        let (rank, total) = (svd.values.len(), matrix.energy());
        drop(matrix);
        if rank == 0 {
            self.done.left_out.push(tuned.name.clone());
            return Ok(false);
        }
        let energy: f64 = svd.values.iter().map(|value| value * value).sum();
        self.done.modules.push(ExtractedModule {
            name: module.to_owned(),
            rank,
            energy: (energy / total).min(1.0),
            error: (total - energy).max(0.0).sqrt(),
        });
        let (rows, columns) = (tuned.shape[0], tuned.shape[1]);
        let (kind, end) = if is_embedding { ("lora_embedding", "") } else { ("lora", ".weight") };
        let Svd { values, mut left, mut right } = svd;
        if is_embedding {
            std::mem::swap(&mut left, &mut right);
        }
        let (inputs, outputs) = if is_embedding { (rows, columns) } else { (columns, rows) };
        let power = if self.options.distribute_scale { 0.5 } else { 1.0 };
        scale(&mut right, &values, power);
        scale(&mut left, &values, 1.0 - power);
        self.writer.tensor(&format!("{module}.{kind}_A{end}"), &[rank, inputs], &right)?;
        self.writer.tensor(
            &format!("{module}.{kind}_B{end}"),
            &[outputs, rank],
            &transpose(&left, rank, outputs),
        )?;
        Ok(true)
    }

    fn keep(&mut self, name: &str, view: &TensorView<'_>) -> Result<(), ExtractError> {
        self.writer.begin(name, &view.shape);
        pieces(view, |_, values| Ok(self.writer.write(values)?))
    }
}

/// Multiplies each row with a power of its value.
/// An adapter cannot give a weight another shape, not even as a whole: PEFT and we refuse it.
fn same_shape(
    name: &str,
    base: &TensorView<'_>,
    tuned: &TensorView<'_>,
    fate: Fate,
) -> Result<(), ExtractError> {
    if base.shape == tuned.shape || fate == Fate::LeftOut {
        return Ok(());
    }
    Err(wrong(name, "has other shapes in the two models, which no adapter brings together; --exclude it"))
}

fn scale(rows: &mut [f32], values: &[f64], power: f64) {
    let length = rows.len() / values.len();
    for (row, value) in rows.chunks_exact_mut(length).zip(values) {
        let factor = value.powf(power) as f32;
        for element in row {
            *element *= factor;
        }
    }
}

/// bf16 for a model all in bf16; f32 holds all else.
fn written_type(tuned: &dyn TensorSource) -> WrittenDtype {
    let is_bf16 =
        tuned.names().iter().all(|name| !matches!(tuned.dtype(name), Ok(other) if other != TensorType::Bf16));
    if is_bf16 { WrittenDtype::Bf16 } else { WrittenDtype::F32 }
}

fn wrong(tensor: &str, problem: &'static str) -> ExtractError {
    ExtractError::Tensor { tensor: tensor.to_owned(), problem }
}
