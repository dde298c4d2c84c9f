//! What the steps of `xenoglot maet` take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::recipe::RecipeArguments;
use crate::merge::maet::{MaskOptions, Neurons};
use crate::settings::ByteSize;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Step {
    /// Find the weights that a short training changed most, and write them as a mask for a longer one.
    Mask(MaskArguments),
    /// Compare the ability and the languages tensor by tensor; print which tensors are chosen.
    Select(SelectArguments),
    /// Merge the ability into the chosen tensors, and the languages into all.
    Transfer(TransferArguments),
    /// Carry a whole recipe out: trainings and masks that are not there yet, selection, transfer.
    Run(RunArguments),
    /// Print an example of a recipe, with every key and its default.
    Example,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WorkArguments {
    /// Threads [default: one a core]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Merge what does not go together
    #[arg(long)]
    pub allow_crimes: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct MaskArguments {
    /// The base, and the models that were trained from it for a short while (none with --recipe)
    #[arg(value_names = ["BASE", "TUNED"], required_unless_present = "recipe", num_args = 2..)]
    pub models: Vec<String>,
    /// The file to make
    #[arg(long, short, value_name = "FILE", required_unless_present = "recipe")]
    pub out: Option<PathBuf>,
    /// Write all masks of a recipe
    #[arg(long, value_name = "FILE", conflicts_with_all = ["models", "out", "neurons", "density", "cap"])]
    pub recipe: Option<PathBuf>,
    /// What a neuron is: element, row, column
    #[arg(long, default_value = "element", value_parser = neurons)]
    pub neurons: Neurons,
    /// k1: the share of all neurons that are kept
    #[arg(long, default_value_t = MaskOptions::default().density)]
    pub density: f64,
    /// No tensor keeps a larger share of its own than this times the density; 0 is no limit
    #[arg(long, default_value_t = MaskOptions::default().cap)]
    pub cap: f64,
    #[command(flatten)]
    pub work: WorkArguments,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SelectArguments {
    /// Write the selection, for `maet transfer`
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as a page, with a heat map of layers and modules
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the transfer as a configuration for `xenoglot merge` or mergekit
    #[arg(long, value_name = "FILE")]
    pub merge_config: Option<PathBuf>,
    #[command(flatten)]
    pub work: WorkArguments,
    // Last, because its heading holds for what follows it.
    #[command(flatten)]
    pub recipe: RecipeArguments,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OutputArguments {
    /// The folder to make
    pub out: PathBuf,
    /// Tensors in one output file, in bytes
    #[arg(long, value_name = "SIZE", default_value = "5GB")]
    pub out_shard_size: ByteSize,
    /// Go on with what an earlier call of the same transfer left
    #[arg(long)]
    pub resume: bool,
    /// Put digests of the inputs' whole contents into the model card, which reads them once more
    #[arg(long)]
    pub hash_inputs: bool,
    /// Leave the model card out
    #[arg(long)]
    pub no_model_card: bool,
    #[command(flatten)]
    pub work: WorkArguments,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct TransferArguments {
    #[command(flatten)]
    pub output: OutputArguments,
    /// What `maet select --json` wrote; selects anew without
    #[arg(long, value_name = "FILE")]
    pub selection: Option<PathBuf>,
    #[command(flatten)]
    pub recipe: RecipeArguments,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RunArguments {
    /// The recipe; `maet example` prints one
    #[arg(value_name = "RECIPE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub output: OutputArguments,
}

fn neurons(name: &str) -> Result<Neurons, String> {
    Neurons::named(name).ok_or_else(|| format!("known are {}", Neurons::NAMES.join(", ")))
}
