//! Training against PyTorch: the recorded runs of `fixtures` (README there).

mod command;
mod continued_pretraining;
mod doubles;
mod export;
mod grpo;
mod learns;
mod lora;
mod maet;
mod memory;
mod mindmerger;
mod recorded;
mod resume;
mod supervised;
