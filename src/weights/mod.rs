//! Checkpoints: the tensors, configuration and tokenizer of a model on disk.
//!
//! [`Checkpoint::open`] takes a Hugging Face directory (safetensors or PyTorch files) or a GGUF file and shows all in
//! one shape: Hugging Face tensor names and layout, a Hugging Face `config.json` as a JSON value, and one [`Tokenizer`].
//! Nothing here knows what a model computes: a configuration that contradicts its tensors is found by `model`.
//!
//! Every file is untrusted. Sizes are checked before anything is allocated or read, and every defect is one
//! [`WeightsError`] that names the file, the tensor or key, and the way out.

mod adapter;
mod blocks;
mod checkpoint;
mod convert;
mod cursor;
mod directory;
mod e5s1;
mod end_of_generation;
mod error;
mod gguf;
mod incremental;
mod mapped_file;
mod merges;
mod model_copy;
mod neuron_mask;
mod pickle;
mod printable;
mod safetensors;
mod safetensors_writer;
mod sharded;
mod source;
mod staged;
mod tokenizer;

pub use adapter::{ALL_LINEAR, Adapter, AdapterBias, AdapterConfig, AdapterWriter, Change, ModuleNames};
pub use checkpoint::{Checkpoint, CheckpointDtype, SpecialTokens, dominant_dtype, open_weights};
pub use convert::{ConversionProgress, convert_gguf, convert_gguf_in_shards};
pub use directory::{open_safetensors, open_tensors_file};
pub use e5s1::{convert_e5s1, is_e5s1};
pub use error::WeightsError;
pub use incremental::IncrementalDecoder;
pub use model_copy::write_model;
pub use neuron_mask::{MaskBits, NEURON_MASK_FORMAT, NeuronMask, Neurons};
pub use pickle::PickleFile;
pub(crate) use printable::printable;
pub use safetensors::SafetensorsFile;
pub use safetensors_writer::{SafetensorsWriter, WrittenDtype};
pub use source::{TensorSource, TensorType, TensorView};
pub use staged::StagedTensors;
pub use tokenizer::Tokenizer;
