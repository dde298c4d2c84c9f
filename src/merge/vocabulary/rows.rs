//! Where each row of each model's new embeddings comes from. No element is read.

use std::collections::HashMap;

use super::super::config::{ConfigError, TokenName, TokenRule, TokenSource, TokenizerConfig};
use super::super::inputs::InputModel;
use super::tokens::Vocabulary;

const NONE: u32 = u32::MAX;

/// Where a row comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowSource {
    /// A row of a model's own matrix.
    Row {
        model: usize,
        row: u32,
    },
    /// The mean of rows, each a model and its row.
    Mean(Box<[(usize, u32)]>),
    Zero,
    /// The mean of all rows that are not padding themselves.
    Padding,
}

/// The rows of models that are merged together: their own by table, all others by the token, alike in all of them.
#[derive(Debug, Clone)]
pub struct Rows {
    own: Vec<Vec<u32>>,
    others: Vec<RowSource>,
}

/// What rows follow from.
pub(super) struct Lookup<'a> {
    pub config: &'a TokenizerConfig,
    pub models: &'a [InputModel],
    pub base: Option<usize>,
    /// Tokens and ids of each model.
    pub ids: Vec<HashMap<&'a str, u32>>,
    /// The rows of each model's matrices.
    pub rows: Vec<usize>,
    /// How many of them are tokens: what its configuration says, at most its rows.
    pub limits: Vec<usize>,
    /// The model whose tokenizer the output's is made from.
    pub donor: Option<usize>,
}

impl Rows {
    /// Where a row of a model's new matrix comes from. `row` is below the vocabulary's size.
    pub fn source(&self, model: usize, row: usize) -> RowSource {
        match self.own[model].get(row) {
            None | Some(&NONE) => self.others[row].clone(),
            Some(own) => RowSource::Row { model, row: *own },
        }
    }
}

impl Lookup<'_> {
    /// The rows of a vocabulary in matrices of a group of models, filled up to `size`; and the tokens that none of these has.
    ///
    /// # Errors
    /// A rule that names what is not there.
    pub(super) fn rows(
        &self,
        vocabulary: &Vocabulary,
        size: usize,
        group: &[usize],
    ) -> Result<(Rows, Vec<String>), ConfigError> {
        let rules: HashMap<&str, &TokenRule> =
            self.config.tokens.iter().map(|(token, rule)| (token.as_str(), rule)).collect();
        let of = |model: usize| if group.contains(&model) { vec![NONE; size] } else { Vec::new() };
        let own = (0..self.models.len()).map(of).collect();
        let mut rows = Rows { own, others: vec![RowSource::Padding; size] };
        let mut unknown = Vec::new();
        if let Some(donor) = self.donor.filter(|donor| group.contains(donor)) {
            self.keep_gaps(&mut rows, donor, vocabulary.size());
        }
        for token in &vocabulary.tokens {
            let rule = rules.get(token.text.as_str()).copied();
            let is_forced = rule.is_some_and(|rule| rule.force);
            let row = token.id as usize;
            let found: Vec<(usize, Option<u32>)> =
                group.iter().map(|model| (*model, self.own(*model, &token.text))).collect();
            for (model, found) in &found {
                rows.own[*model][row] = found.filter(|_| !is_forced).unwrap_or(NONE);
            }
            let source = rule.and_then(|rule| rule.source.as_ref());
            rows.others[row] = match source {
                Some(source) => self.ruled(&token.text, source)?,
                None => self.usual(&found),
            };
            if source.is_none() && found.iter().all(|(_, found)| found.is_none()) {
                unknown.push(token.text.clone());
            }
        }
        Ok((rows, unknown))
    }

    /// Ids without a token keep the row that they have where the tokenizer is from.
    fn keep_gaps(&self, rows: &mut Rows, donor: usize, tokens: usize) {
        for row in 0..tokens.min(self.rows[donor]) {
            rows.own[donor][row] = row as u32;
            rows.others[row] = RowSource::Row { model: donor, row: row as u32 };
        }
    }

    fn own(&self, model: usize, token: &str) -> Option<u32> {
        self.ids[model].get(token).copied().filter(|id| (*id as usize) < self.limits[model])
    }

    /// Without a rule: of the only model that has it, of the base, or the mean of those that have it.
    fn usual(&self, found: &[(usize, Option<u32>)]) -> RowSource {
        let present: Vec<(usize, u32)> =
            found.iter().filter_map(|(model, row)| Some((*model, (*row)?))).collect();
        let of_base = present.iter().copied().find(|(model, _)| Some(*model) == self.base);
        match (of_base, present.as_slice()) {
            (Some((model, row)), _) | (None, &[(model, row)]) => RowSource::Row { model, row },
            (None, []) => RowSource::Zero,
            (None, several) => RowSource::Mean(several.into()),
        }
    }

    fn ruled(&self, token: &str, source: &TokenSource) -> Result<RowSource, ConfigError> {
        let Some(reference) = source.model() else { return Ok(RowSource::Zero) };
        let wrong = |what: String, way_out: &str| ConfigError::Value {
            place: self.config.place.under("tokens").under(token).under("source"),
            what,
            way_out: way_out.to_owned(),
        };
        let Some(model) = self.models.iter().position(|model| model.reference == *reference) else {
            let what = format!("{reference} is not among the models that are merged");
            return Err(wrong(what, "name one that is, or write `{kind: zero}`"));
        };
        let lacks = |text: &str| {
            let what = format!("{reference} has no row for the token {text:?}");
            wrong(what, "name a token of its vocabulary, or write `{kind: zero}`")
        };
        let row = match source {
            TokenSource::ModelToken { token: TokenName::Id(id), .. } => {
                let rows = self.rows[model];
                if *id as usize >= rows {
                    let what = format!("{reference} has {rows} rows and none for the id {id}");
                    return Err(wrong(what, "write an id below that"));
                }
                *id
            }
            TokenSource::ModelToken { token: TokenName::Text(text), .. } => {
                self.own(model, text).ok_or_else(|| lacks(text))?
            }
            TokenSource::Model(_) | TokenSource::Zero => {
                self.own(model, token).ok_or_else(|| lacks(token))?
            }
        };
        Ok(RowSource::Row { model, row })
    }
}
