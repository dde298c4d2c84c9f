//! The tensors of a checkpoint as long as they are wanted: loading a model that takes minutes ends with the next tensor.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::weights::{TensorSource, TensorType, TensorView, WeightsError};

pub(super) struct Interruptible<'a> {
    pub tensors: &'a dyn TensorSource,
    pub stop: &'a AtomicBool,
}

impl Interruptible<'_> {
    /// # Errors
    /// `Io`, once it was stopped.
    fn check(&self, name: &str) -> Result<(), WeightsError> {
        if !self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let source = std::io::ErrorKind::Interrupted.into();
        Err(WeightsError::Io { path: PathBuf::from(name), action: "read it", source })
    }
}

impl TensorSource for Interruptible<'_> {
    fn names(&self) -> Vec<String> {
        self.tensors.names()
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        self.check(name)?;
        self.tensors.tensor(name)
    }

    fn unaligned(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        self.check(name)?;
        self.tensors.unaligned(name)
    }

    fn contains(&self, name: &str) -> bool {
        self.tensors.contains(name)
    }

    fn stored_name(&self, name: &str) -> String {
        self.tensors.stored_name(name)
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        self.tensors.shape(name)
    }

    fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
        self.tensors.dtype(name)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::model::{ComputeDtype, Decoder, LoadOptions, families};
    use crate::ops::Workers;
    use crate::weights::open_weights;

    /// Is no longer wanted when the third tensor is read.
    struct Third<'a> {
        tensors: &'a dyn TensorSource,
        stop: &'a AtomicBool,
        reads: AtomicUsize,
    }

    impl TensorSource for Third<'_> {
        fn names(&self) -> Vec<String> {
            self.tensors.names()
        }

        fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
            if self.reads.fetch_add(1, Ordering::Relaxed) == 2 {
                self.stop.store(true, Ordering::Relaxed);
            }
            self.tensors.tensor(name)
        }

        fn contains(&self, name: &str) -> bool {
            self.tensors.contains(name)
        }

        fn stored_name(&self, name: &str) -> String {
            self.tensors.stored_name(name)
        }

        fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
            self.tensors.shape(name)
        }

        fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
            self.tensors.dtype(name)
        }
    }

    #[test]
    fn a_model_is_read_as_long_as_it_is_wanted() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/qwen3");
        let (config, tensors) = open_weights(&path).unwrap();
        let config = families::translate(&config).unwrap();
        let options = LoadOptions::new(ComputeDtype::F32, &Workers::new(1));
        let stop = AtomicBool::new(false);
        let counted = Third { tensors: &*tensors, stop: &stop, reads: AtomicUsize::new(0) };
        let source = Interruptible { tensors: &counted, stop: &stop };
        assert!(Decoder::load(config.clone(), &source, &options).is_err());
        assert_eq!(counted.reads.load(Ordering::Relaxed), 3);
        stop.store(false, Ordering::Relaxed);
        assert!(Decoder::load(config, &source, &options).is_ok());
    }
}
