//! An adapter into a folder, as PEFT reads it.

use std::path::Path;

use candle_core::Tensor;

use crate::model::ModelError;
use crate::ops::{self, PackedLinear};
use crate::weights::{AdapterConfig, AdapterWriter, WrittenDtype};

use super::Adapter;

impl Adapter {
    /// Writes `adapter_config.json` and `adapter_model.safetensors` into a folder that appears when both are whole.
    /// `base_model` is what PEFT is to load the adapter onto: a name on a hub or a path.
    ///
    /// # Errors
    /// `Weights`: the folder is there and not empty, or cannot be written.
    pub fn save(&self, folder: &Path, base_model: &str, dtype: WrittenDtype) -> Result<(), ModelError> {
        let mut writer = AdapterWriter::create(folder, dtype)?;
        for (module, pair) in self.pairs() {
            for (factor, weight) in [("lora_A", &pair.a), ("lora_B", &pair.b)] {
                let shape = [weight.out_features(), weight.in_features()];
                writer.tensor(&format!("{module}.{factor}.weight"), &shape, &elements(weight)?)?;
            }
        }
        let config = AdapterConfig { base_model: Some(base_model.to_owned()), ..self.config.clone() };
        Ok(writer.finish(&config)?)
    }
}

/// Row-major `[out, in]`, bit for bit as it was packed.
fn elements(weight: &std::sync::Arc<PackedLinear>) -> Result<Vec<f32>, ModelError> {
    let rows: Vec<u32> = (0..weight.out_features() as u32).collect();
    let table: Tensor = ops::embedding(&rows, weight)?;
    Ok(table.flatten_all()?.to_vec1()?)
}
