//! The rewards of papers, as descriptions: what a request could have said.

use std::collections::BTreeMap;

use crate::protocol::graders::{
    CompletionPart, Grader, LanguageConsistencyGrader, LanguageMode, MathAnswerGrader, MultiGrader,
    ThinkFormatGrader,
};

/// Budget Alignment's (Chen, Qi et al. 2025): accuracy, 0.2 times the probability of the target language over the completion, and 0.2 for
/// a closed trace and a box.
///
/// `reference` and `target` are templates: of the right answer, and of the language to reason and answer in.
pub fn budget_alignment(reference: &str, target: &str) -> Grader {
    let acc = MathAnswerGrader {
        name: "accuracy".to_owned(),
        reference: reference.to_owned(),
        language: Some(target.to_owned()),
        ..MathAnswerGrader::default()
    };
    let lang = LanguageConsistencyGrader {
        name: "language".to_owned(),
        target: target.to_owned(),
        mode: LanguageMode::Probability,
        part: CompletionPart::Both,
    };
    let fmt = ThinkFormatGrader { name: "format".to_owned(), require: None };
    Grader::Multi(MultiGrader {
        name: "budget-alignment".to_owned(),
        graders: BTreeMap::from([
            ("acc".to_owned(), Grader::MathAnswer(acc)),
            ("lang".to_owned(), Grader::LanguageConsistency(lang)),
            ("fmt".to_owned(), Grader::ThinkFormat(fmt)),
        ]),
        calculate_output: "1.0*acc + 0.2*lang + 0.2*fmt".to_owned(),
    })
}
