//! What a suite asks for, and the names of what judges it.

/// How answers are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Numbers and expressions, by value.
    Math,
    /// Words, by normalised text.
    Text,
    /// The letter of a choice, generated.
    Choice,
    /// The choice that the model gives the highest probability; nothing is generated.
    Loglikelihood,
    /// Instructions whose following a program decides.
    Instructions,
    /// Programs, run against tests.
    Code,
    /// Open answers, judged by a model.
    Judge,
    /// Only the language of the answer counts.
    Language,
}

pub(super) const TASKS: [Task; 8] = [
    Task::Math,
    Task::Text,
    Task::Choice,
    Task::Loglikelihood,
    Task::Instructions,
    Task::Code,
    Task::Judge,
    Task::Language,
];

/// What a manifest may name under `scorers`.
pub(super) const SCORERS: [&str; 10] = [
    "math",
    "text",
    "choice",
    "loglikelihood",
    "instructions",
    "code",
    "judge",
    "language",
    "language_accuracy",
    "think_accuracy",
];

impl Task {
    pub fn name(self) -> &'static str {
        match self {
            Self::Math => "math",
            Self::Text => "text",
            Self::Choice => "choice",
            Self::Loglikelihood => "loglikelihood",
            Self::Instructions => "instructions",
            Self::Code => "code",
            Self::Judge => "judge",
            Self::Language => "language",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        TASKS.into_iter().find(|task| task.name() == name)
    }

    /// Whether a problem has a gold answer.
    pub fn has_gold(self) -> bool {
        matches!(self, Self::Math | Self::Text | Self::Choice | Self::Loglikelihood)
    }

    pub fn has_choices(self) -> bool {
        matches!(self, Self::Choice | Self::Loglikelihood)
    }

    /// The section of a shared set of prompts that is for it.
    pub(super) fn prompt_section(self) -> &'static str {
        match self {
            Self::Math | Self::Text => "math",
            Self::Choice => "choice",
            Self::Loglikelihood => "loglikelihood",
            Self::Code => "code",
            Self::Instructions | Self::Judge | Self::Language => "plain",
        }
    }
}
