//! What can be wrong with the instructions of a problem.

use super::kind::NAMES;

/// `at` counts instructions from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstructionError {
    #[error("{field} must be a list")]
    NotAList { field: &'static str },
    #[error("instruction_id_list holds {count} names; it must hold 1 to {most}")]
    Count { count: usize, most: usize },
    #[error("instruction_id_list holds {ids} names but kwargs {kwargs} objects; each name needs its own")]
    Lengths { ids: usize, kwargs: usize },
    #[error("instruction_id_list[{at}] must be a string")]
    NotAName { at: usize },
    #[error("instruction_id_list[{at}]: {id:?} is no kind of instruction; known: {}", NAMES.join(", "))]
    Unknown { at: usize, id: String },
    #[error("kwargs[{at}] must be an object")]
    NotAnObject { at: usize },
    #[error("kwargs[{at}].{key} of {id}: {message}")]
    Argument { at: usize, id: String, key: String, message: String },
}
