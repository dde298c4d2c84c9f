//! The mapping's weights under the original's names: fresh, from a checkpoint, to a file.
//!
//! Checkpoints are the original's (`torch.save` in its old format, the weights under `model_state_dict`), newer PyTorch
//! files and safetensors; written is safetensors.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::initial::uniform;
use crate::model::ModelError;
use crate::weights::{SafetensorsWriter, TensorSource, WeightsError, WrittenDtype, open_tensors_file};

/// The original's names, in the order of the fields.
const NAMES: [&str; 5] =
    ["mlp.linear1.weight", "mlp.linear1.bias", "mlp.linear2.weight", "mlp.linear2.bias", "end_boundary"];

/// f32 on the CPU.
#[derive(Debug, Clone)]
pub struct MappingWeights {
    /// `[2 * d_encoder, d_encoder]`
    pub linear1_weight: Tensor,
    /// `[2 * d_encoder]`
    pub linear1_bias: Tensor,
    /// `[d_llm, 2 * d_encoder]`
    pub linear2_weight: Tensor,
    /// `[d_llm]`
    pub linear2_bias: Tensor,
    /// `[1, 1, d_llm]`
    pub end_boundary: Tensor,
}

/// What a non-strict load left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Weights that the checkpoint does not have; they keep their values.
    pub missing: Vec<String>,
    /// Tensors of the checkpoint that the mapping does not have.
    pub unexpected: Vec<String>,
}

impl MappingWeights {
    /// Weights to train from, as `torch.nn.Linear` begins: uniform within one over the root of a linear's inputs, its
    /// bias too; the end boundary 0. The numbers follow from the seed and an element's place alone.
    pub fn fresh(d_encoder: usize, d_llm: usize, seed: u64) -> Result<Self, ModelError> {
        let inner = 2 * d_encoder;
        let draw = |stream, fan_in: usize, shape: &[usize]| {
            let bound = (fan_in as f64).sqrt().recip();
            let count = shape.iter().product::<usize>();
            let values = (0..count as u64).map(|at| (uniform(seed, stream, at) * 2.0 - 1.0) * bound);
            Tensor::from_vec(values.map(|x| x as f32).collect(), shape, &Device::Cpu)
        };
        Ok(Self {
            linear1_weight: draw(0, d_encoder, &[inner, d_encoder])?,
            linear1_bias: draw(1, d_encoder, &[inner])?,
            linear2_weight: draw(2, inner, &[d_llm, inner])?,
            linear2_bias: draw(3, inner, &[d_llm])?,
            end_boundary: Tensor::zeros((1, 1, d_llm), DType::F32, &Device::Cpu)?,
        })
    }

    /// Reads a checkpoint that holds a mapping and nothing else; its shapes give the widths.
    ///
    /// # Errors
    /// `Tensors` with every tensor that is missing, not a mapping's, or of a shape that does not fit the others.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let place = |problem| at(path, problem);
        let source = open_tensors_file(path)?;
        let report = LoadReport::of(&*source);
        if report != LoadReport::default() {
            return Err(place(ModelError::Tensors { problems: report.problems() }));
        }
        let of = |name: &str| tensor(&*source, name).map_err(place);
        let [w1, b1, w2, b2, end] = NAMES;
        let loaded = Self {
            linear1_weight: of(w1)?,
            linear1_bias: of(b1)?,
            linear2_weight: of(w2)?,
            linear2_bias: of(b2)?,
            end_boundary: of(end)?,
        };
        loaded.check().map_err(place)?;
        Ok(loaded)
    }

    /// Takes over what a checkpoint has of these weights, as PyTorch's non-strict loading does.
    ///
    /// # Errors
    /// `Tensors` where one has another shape; nothing is taken over then.
    pub fn update_from(&mut self, path: &Path) -> Result<LoadReport, ModelError> {
        let source = open_tensors_file(path)?;
        let mut updated = self.clone();
        for (name, weight) in NAMES.into_iter().zip(updated.fields_mut()) {
            if source.contains(name) {
                *weight = tensor(&*source, name).map_err(|problem| at(path, problem))?;
            }
        }
        let shapes = |weights: &Self| weights.named().map(|(_, tensor)| tensor.dims().to_vec());
        let problems: Vec<String> = (NAMES.iter().zip(shapes(self)).zip(shapes(&updated)))
            .filter(|((_, own), found)| own != found)
            .map(|((name, own), found)| format!("  `{name}` is {found:?}, the mapping asks for {own:?}"))
            .collect();
        if !problems.is_empty() {
            return Err(at(path, ModelError::Tensors { problems }));
        }
        *self = updated;
        Ok(LoadReport::of(&*source))
    }

    /// Writes safetensors; the file appears whole, in place of one that was there.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let partial = path.with_extension(format!("partial-{}", std::process::id()));
        let io = |action| move |source| WeightsError::Io { path: path.to_owned(), action, source };
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("replace it")(error).into());
            }
            _ => (),
        }
        let shapes = self.named().map(|(name, tensor)| (name.to_owned(), tensor.dims().to_vec()));
        let mut writer = SafetensorsWriter::create(&partial, WrittenDtype::F32, &shapes)?;
        for (_, tensor) in self.named() {
            writer.write(&tensor.flatten_all()?.to_vec1::<f32>()?)?;
        }
        writer.finish()?;
        std::fs::rename(&partial, path).map_err(io("give it its name"))?;
        Ok(())
    }

    /// The weights with the original's names.
    pub fn named(&self) -> [(&'static str, &Tensor); 5] {
        let Self { linear1_weight, linear1_bias, linear2_weight, linear2_bias, end_boundary } = self;
        let [w1, b1, w2, b2, end] = NAMES;
        [
            (w1, linear1_weight),
            (b1, linear1_bias),
            (w2, linear2_weight),
            (b2, linear2_bias),
            (end, end_boundary),
        ]
    }

    fn fields_mut(&mut self) -> [&mut Tensor; 5] {
        let Self { linear1_weight, linear1_bias, linear2_weight, linear2_bias, end_boundary } = self;
        [linear1_weight, linear1_bias, linear2_weight, linear2_bias, end_boundary]
    }

    /// The widths are those of the two matrices; everything else must follow them.
    fn check(&self) -> Result<(), ModelError> {
        let d_encoder = self.linear1_weight.dims().last().copied().unwrap_or(0);
        let d_llm = self.linear2_weight.dims().first().copied().unwrap_or(0);
        let inner = 2 * d_encoder;
        let expected =
            [vec![inner, d_encoder], vec![inner], vec![d_llm, inner], vec![d_llm], vec![1, 1, d_llm]];
        let problems: Vec<String> = (self.named().iter().zip(&expected))
            .filter(|((_, tensor), expected)| {
                tensor.dims() != expected.as_slice() || tensor.elem_count() == 0
            })
            .map(|((name, tensor), expected)| {
                format!(
                    "  `{name}` is {:?}, a mapping from {d_encoder} to {d_llm} has {expected:?}",
                    tensor.dims()
                )
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(ModelError::Tensors { problems }) }
    }
}

impl LoadReport {
    fn of(source: &dyn TensorSource) -> Self {
        let found = source.names();
        let owned = |name: &&str| (*name).to_owned();
        Self {
            missing: NAMES.iter().filter(|name| !source.contains(name)).map(owned).collect(),
            unexpected: found.into_iter().filter(|name| !NAMES.contains(&name.as_str())).collect(),
        }
    }

    fn problems(&self) -> Vec<String> {
        const PROBLEMS_MAX: usize = 8;
        let missing = self.missing.iter().map(|name| format!("  `{name}` is missing"));
        let unexpected = self.unexpected.iter().map(|name| format!("  `{name}` is not a mapping's"));
        missing.chain(unexpected).take(PROBLEMS_MAX).collect()
    }
}

fn tensor(source: &dyn TensorSource, name: &str) -> Result<Tensor, ModelError> {
    let view = source.tensor(name)?;
    Ok(Tensor::from_vec(view.to_f32()?, view.shape, &Device::Cpu)?)
}

fn at(path: &Path, problem: ModelError) -> ModelError {
    ModelError::At { place: path.display().to_string(), problem: Box::new(problem) }
}
