//! Checkpoints: all that the next step of a training depends on, in a folder that is whole or not there.
//!
//! `step-000120/` holds `weights.safetensors` (the tensors that learn, as f32, under their own names), `moments.safetensors`
//! (`NAME.exp_avg`, `NAME.exp_avg_sq`) and `state.json`. It is written as `step-000120.partial` and renamed.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data::DataPosition;
use super::disk;
use super::grpo::Drawn;
use super::optimizer::Moments;
use super::weights::{narrowed, widened};
use super::{AdamWSettings, Objective, Optimizer, Parameters, TrainError};
use crate::weights::{SafetensorsFile, SafetensorsWriter, TensorSource, WrittenDtype};

const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";
const STATE: &str = "state.json";
/// What the moments are called, behind a tensor's name.
const KINDS: [&str; 2] = ["exp_avg", "exp_avg_sq"];
const FORMAT: &str = "xenoglot-train-1";

/// Where a training is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Updates made.
    pub step: u64,
    /// Of the next update's first micro-batch.
    pub position: DataPosition,
    pub tokens: u64,
    /// A running mean over the last steps.
    pub mean_loss: f64,
    pub best: Option<Best>,
    /// The dev set is to be read before the next update.
    pub evaluation_due: bool,
    /// Updates in a row in which the sampler of a policy was too far from its trainer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gap_warnings: u32,
    /// Completions that the next update of a policy learns from, sampled while the last one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<Box<Drawn>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The step with the lowest loss on the dev set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    pub loss: f64,
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    format: String,
    /// Model, data and settings of the training.
    identity: Value,
    state: State,
}

/// The checkpoints of one training, in one folder.
pub(super) struct Checkpoints {
    folder: PathBuf,
    /// What of the training tells whether a checkpoint is of it.
    identity: Value,
}

impl Checkpoints {
    pub fn new(folder: PathBuf, identity: Value) -> Self {
        Self { folder, identity }
    }

    /// Puts the last checkpoint's weights into the model.
    ///
    /// # Errors
    /// `Checkpoint` where it is of another training, naming what differs, or damaged.
    pub fn resume(
        &self,
        objective: &mut dyn Objective,
        settings: AdamWSettings,
    ) -> Result<Option<(State, Optimizer)>, TrainError> {
        let Some(&step) = self.steps()?.last() else { return Ok(None) };
        let folder = self.path(step);
        let state = self.state(&folder)?;
        load_weights(&folder, objective)?;
        let (moments, moments_bf16) = load_moments(&folder, objective)?;
        let optimizer = Optimizer::resumed(settings, state.step, moments).with_bf16(moments_bf16);
        Ok(Some((state, optimizer)))
    }

    fn state(&self, folder: &Path) -> Result<State, TrainError> {
        let path = folder.join(STATE);
        let text = fs::read_to_string(&path).map_err(TrainError::io(&path, "read it"))?;
        let file: StateFile = serde_json::from_str(&text).map_err(|error| {
            TrainError::checkpoint(&path, format!("is damaged: {error}; remove its folder"))
        })?;
        if file.format != FORMAT {
            return Err(TrainError::checkpoint(
                &path,
                format!("has format {:?}, not {FORMAT:?}", file.format),
            ));
        }
        match difference(&file.identity, &self.identity, "") {
            None => Ok(file.state),
            Some((key, there, here)) => Err(TrainError::checkpoint(
                folder,
                format!(
                    "is of another training: its `{key}` is {there}, and is {here} now; go on with the first, or \
                     choose another output folder"
                ),
            )),
        }
    }

    /// Whether what is kept at once fits onto the disk: checkpoints of weights and moments, the best and the next one among
    /// them, and the result.
    ///
    /// # Errors
    /// `Disk`.
    pub fn check_room(&self, objective: &mut dyn Objective, keep: usize) -> Result<(), TrainError> {
        let elements = |shape: &[usize]| shape.iter().product::<usize>();
        let stored = objective.parameters()?;
        let weights: usize = stored.stored().into_iter().map(|(_, shape)| elements(shape) * 4).sum();
        let checkpoints = (keep.max(1) as u64).saturating_add(2);
        let needed = (weights as u64).saturating_mul(checkpoints.saturating_mul(3).saturating_add(1));
        disk::check_room(&self.folder, needed)
    }

    /// # Errors
    /// `Io`, such as a full disk: the folder then is not there.
    pub fn save(
        &self,
        objective: &mut dyn Objective,
        state: &State,
        optimizer: &Optimizer,
    ) -> Result<PathBuf, TrainError> {
        let target = self.path(state.step);
        if target.exists() {
            // Of the same step, so that weights and moments are the same; an evaluation may have come since.
            self.write_state(&target, state)?;
            return Ok(target);
        }
        let partial = target.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(TrainError::io(&partial, "remove it"))?;
        }
        fs::create_dir_all(&partial).map_err(TrainError::io(&partial, "create it"))?;
        let written = self.write(&partial, objective, state, optimizer);
        if let Err(error) = written {
            // The error at hand says more than one of tidying up.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        fs::rename(&partial, &target).map_err(TrainError::io(&target, "give it its name"))?;
        sync(&self.folder)?;
        Ok(target)
    }

    fn write(
        &self,
        folder: &Path,
        objective: &mut dyn Objective,
        state: &State,
        optimizer: &Optimizer,
    ) -> Result<(), TrainError> {
        let parameters = objective.parameters()?;
        let Parameters { single, bf16 } = &parameters;
        let stored = parameters.stored().into_iter();
        let shapes: Vec<_> = stored.map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
        let mut writer = SafetensorsWriter::create(&folder.join(WEIGHTS), WrittenDtype::F32, &shapes)?;
        for tensor in single {
            writer.write(&tensor.order.to_rows(tensor.values))?;
        }
        for tensor in bf16 {
            writer.write(&widened(tensor.order, tensor.values))?;
        }
        writer.finish()?;
        let shapes: Vec<_> = shapes
            .into_iter()
            .flat_map(|(name, shape)| KINDS.map(|kind| (format!("{name}.{kind}"), shape.clone())))
            .collect();
        let mut writer = SafetensorsWriter::create(&folder.join(MOMENTS), WrittenDtype::F32, &shapes)?;
        for (tensor, moments) in single.iter().zip(optimizer.moments()) {
            writer.write(&tensor.order.to_rows(&moments.first))?;
            writer.write(&tensor.order.to_rows(&moments.second))?;
        }
        for (tensor, moments) in bf16.iter().zip(optimizer.moments_bf16()) {
            writer.write(&widened(tensor.order, &moments.first))?;
            writer.write(&widened(tensor.order, &moments.second))?;
        }
        writer.finish()?;
        self.write_state(folder, state)?;
        sync(folder)
    }

    /// Whole or not at all.
    fn write_state(&self, folder: &Path, state: &State) -> Result<(), TrainError> {
        let file =
            StateFile { format: FORMAT.to_owned(), identity: self.identity.clone(), state: state.clone() };
        let path = folder.join(STATE);
        let text = serde_json::to_string_pretty(&file)
            .map_err(|error| TrainError::checkpoint(&path, format!("cannot be written: {error}")))?;
        let partial = path.with_extension("partial");
        fs::write(&partial, text).map_err(TrainError::io(&partial, "write it"))?;
        sync(&partial)?;
        fs::rename(&partial, &path).map_err(TrainError::io(&path, "give it its name"))
    }

    /// Removes all but the last `keep` checkpoints and the best one.
    ///
    /// # Errors
    /// `Io`.
    pub fn forget(&self, keep: usize, best: Option<Best>) -> Result<(), TrainError> {
        let steps = self.steps()?;
        for &step in steps.iter().rev().skip(keep.max(1)) {
            if best.is_none_or(|best| best.step != step) {
                let path = self.path(step);
                fs::remove_dir_all(&path).map_err(TrainError::io(&path, "remove it"))?;
            }
        }
        Ok(())
    }

    /// Puts the weights of a step's checkpoint into the model.
    ///
    /// # Errors
    /// As `resume`.
    pub fn load(&self, step: u64, objective: &mut dyn Objective) -> Result<(), TrainError> {
        let folder = self.path(step);
        self.state(&folder)?;
        load_weights(&folder, objective)
    }

    fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:06}"))
    }

    /// Of which there are checkpoints, ascending.
    fn steps(&self) -> Result<Vec<u64>, TrainError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(TrainError::io(&self.folder, "list it")(error)),
        };
        let step = |name: &str| name.strip_prefix("step-")?.parse::<u64>().ok();
        let mut steps = Vec::new();
        for entry in entries {
            let entry = entry.map_err(TrainError::io(&self.folder, "list it"))?;
            steps.extend(entry.file_name().to_str().and_then(step));
        }
        steps.sort_unstable();
        Ok(steps)
    }
}

fn load_weights(folder: &Path, objective: &mut dyn Objective) -> Result<(), TrainError> {
    let path = folder.join(WEIGHTS);
    let file = SafetensorsFile::open(&path)?;
    let Parameters { single, bf16 } = objective.parameters()?;
    for tensor in single {
        let stored = read(&path, &file, &tensor.name, &tensor.shape)?;
        tensor.order.from_rows(&stored, tensor.values);
    }
    for tensor in bf16 {
        let stored = read(&path, &file, &tensor.name, &tensor.shape)?;
        narrowed(tensor.order, &stored, tensor.values);
    }
    objective.refresh()
}

type LoadedMoments = (Vec<Moments>, Vec<Moments<u16>>);

fn load_moments(folder: &Path, objective: &mut dyn Objective) -> Result<LoadedMoments, TrainError> {
    let path = folder.join(MOMENTS);
    let file = SafetensorsFile::open(&path)?;
    let rows = |name: &str, kind: &str, shape: &[usize]| read(&path, &file, &format!("{name}.{kind}"), shape);
    let Parameters { single, bf16 } = objective.parameters()?;
    let (mut all, mut all_bf16) = (Vec::new(), Vec::new());
    for tensor in single {
        let of = |kind: &str| {
            let mut placed = vec![0.0; tensor.values.len()];
            tensor.order.from_rows(&rows(&tensor.name, kind, &tensor.shape)?, &mut placed);
            Ok::<_, TrainError>(placed)
        };
        all.push(Moments { first: of(KINDS[0])?, second: of(KINDS[1])? });
    }
    for tensor in bf16 {
        let of = |kind: &str| {
            let mut placed = vec![0; tensor.values.len()];
            narrowed(tensor.order, &rows(&tensor.name, kind, &tensor.shape)?, &mut placed);
            Ok::<_, TrainError>(placed)
        };
        all_bf16.push(Moments { first: of(KINDS[0])?, second: of(KINDS[1])? });
    }
    Ok((all, all_bf16))
}

fn read(path: &Path, file: &SafetensorsFile, name: &str, shape: &[usize]) -> Result<Vec<f32>, TrainError> {
    let view = file.tensor(name)?;
    if view.shape != shape {
        let problem =
            format!("`{name}` is {:?} and the model's is {shape:?}: it is of another model", view.shape);
        return Err(TrainError::checkpoint(path, problem));
    }
    Ok(view.to_f32()?)
}

/// The first key in which two JSON values differ, and what they have there.
fn difference(there: &Value, here: &Value, key: &str) -> Option<(String, String, String)> {
    if let (Value::Object(a), Value::Object(b)) = (there, here) {
        let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
        return keys.into_iter().find_map(|name| {
            let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            difference(a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null), &path)
        });
    }
    (there != here).then(|| (key.to_owned(), there.to_string(), here.to_string()))
}

/// Hands a file or a folder to the disk.
fn sync(path: &Path) -> Result<(), TrainError> {
    fs::File::open(path).and_then(|file| file.sync_all()).map_err(TrainError::io(path, "hand it to the disk"))
}
