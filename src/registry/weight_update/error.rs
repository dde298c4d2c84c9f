//! Why weights from outside did not take the place of a model's, which then stay as they are.

use super::Trainer;
use crate::engine::EngineError;
use crate::model::ModelError;
use crate::weights::{WeightsError, printable};

#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    #[error(
        "the trainer's address `{}` is neither this machine nor on the list `weight_transfer_hosts` of the server's settings",
        printable(host)
    )]
    AddressNotAllowed { host: String },
    #[error(
        "no trainer could be reached at {}:{} within 5 s ({source}): it has to listen there when this is called",
        printable(&trainer.host),
        trainer.port
    )]
    Unreachable { trainer: Trainer, source: std::io::Error },
    #[error("no trainer is connected: call /init_weight_transfer_engine first")]
    NotConnected,
    #[error("no weight update was started: call /start_weight_update first")]
    NotStarted,
    #[error(
        "this weight update failed before and changes nothing ({reason}): begin again with /start_weight_update"
    )]
    Failed { reason: String },
    #[error(
        "`names` has {names} entries, `dtype_names` {dtypes} and `shapes` {shapes}: give one each a tensor, 100000 at most"
    )]
    Lists { names: usize, dtypes: usize, shapes: usize },
    #[error(
        "`{}` has the type `{}`; float32, bfloat16 and float16 are read",
        printable(name),
        printable(dtype)
    )]
    Dtype { name: String, dtype: String },
    #[error(
        "the trainer closed the connection after {received} of the {expected} bytes of {}",
        printable(what)
    )]
    Disconnected { what: String, received: usize, expected: usize },
    #[error(
        "nothing came from the trainer for {seconds} s (`weight_transfer_idle_seconds`), {} was awaited",
        printable(what)
    )]
    Silent { what: String, seconds: u64 },
    #[error("reading {} from the trainer: {source}", printable(what))]
    Read { what: String, source: std::io::Error },
    #[error(
        "the checksum of the tensors is not the one that the trainer sent: the bytes were damaged, or came in another order"
    )]
    Checksum,
    #[error("the model's weights are lent to a training of this process: wait for it to give them back")]
    Lent,
    #[error("packing the new weights failed: {problem}")]
    Panicked { problem: String },
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}
