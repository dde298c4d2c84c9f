//! One model's embeddings in the vocabulary of the output, as a tensor that is read in pieces like any other.
//!
//! What it holds is a view of each model that rows come from, and one row.

use super::super::elements::Elements;
use super::super::error::MergeError;
use super::super::inputs::InputModel;
use super::plan::VocabularyPlan;
use super::rows::{RowSource, Rows};
use crate::weights::{TensorView, WeightsError};

/// A matrix of a model, `[size, columns]`.
pub struct Gathered<'a> {
    rows: &'a Rows,
    size: usize,
    model: usize,
    /// By model; only of those that rows come from.
    views: Vec<Option<TensorView<'a>>>,
    columns: usize,
    /// The row of padding; empty where there is none.
    padding: Vec<f32>,
}

impl<'a> Gathered<'a> {
    /// The matrix `name` of a model, to be merged with those of `group`, which it is one of. Reads it once where there is
    /// padding, for its mean.
    ///
    /// # Errors
    /// `Tensor` where a model lacks the matrix, or has one of another width or with too few rows, or where no rows are planned
    /// for the group; `Weights`.
    pub fn open(
        name: &str,
        model: usize,
        group: &[usize],
        plan: &'a VocabularyPlan,
        models: &'a [InputModel],
    ) -> Result<Self, MergeError> {
        let rows = plan.rows(group).ok_or_else(|| MergeError::Tensor {
            tensor: name.to_owned(),
            problem: "its models were not planned to be merged together".to_owned(),
        })?;
        let mut gathered = Self {
            rows,
            size: plan.size,
            model,
            views: models.iter().map(|_| None).collect(),
            columns: 0,
            padding: Vec::new(),
        };
        let mut needed = vec![0; models.len()];
        let mut has_padding = false;
        let mut need = |model: usize, row: u32| needed[model] = needed[model].max(row as usize + 1);
        for row in 0..plan.size {
            match rows.source(model, row) {
                RowSource::Row { model, row } => need(model, row),
                RowSource::Mean(rows) => rows.iter().for_each(|(model, row)| need(*model, *row)),
                RowSource::Zero => {}
                RowSource::Padding => has_padding = true,
            }
        }
        // The model itself has the say on the width.
        let others = (0..models.len()).filter(|other| *other != model);
        for other in std::iter::once(model).chain(others) {
            if other == model || needed[other] > 0 {
                gathered.view(name, other, needed[other], models)?;
            }
        }
        if has_padding {
            gathered.padding = gathered.mean()?;
        }
        Ok(gathered)
    }

    /// `[size, columns]`, or `[size]`.
    pub fn shape(&self) -> Vec<usize> {
        let own = self.views[self.model].as_ref().map(|view| view.shape.as_slice()).unwrap_or_default();
        std::iter::once(self.size).chain(own.iter().skip(1).copied()).collect()
    }

    fn view(
        &mut self,
        name: &str,
        model: usize,
        rows: usize,
        models: &'a [InputModel],
    ) -> Result<(), MergeError> {
        let reference = &models[model].reference;
        let wrong = |problem: String| MergeError::Tensor { tensor: name.to_owned(), problem };
        let Some(found) = models[model].resolve(name) else {
            return Err(wrong(format!("{reference} lacks it, and rows of tokens come from there")));
        };
        let view = models[model].tensors.unaligned(found)?;
        let (Some(has), columns) = (view.shape.first(), view.shape.iter().skip(1).product::<usize>()) else {
            return Err(wrong(format!(
                "it is a single number in {reference}, not a matrix with a row for each token"
            )));
        };
        if *has < rows {
            return Err(wrong(format!("{reference} has {has} rows and its tokens ask for {rows}")));
        }
        if model == self.model {
            self.columns = columns;
        } else if columns != self.columns {
            let own = self.columns;
            let own_reference = &models[self.model].reference;
            return Err(wrong(format!(
                "its rows have {columns} numbers in {reference} and {own} in {own_reference}: the models are of \
                 different sizes and cannot be merged"
            )));
        }
        self.views[model] = Some(view);
        Ok(())
    }

    /// The mean of all rows but padding.
    fn mean(&self) -> Result<Vec<f32>, WeightsError> {
        let mut sum = vec![0.0_f64; self.columns];
        let mut row_values = vec![0.0_f32; self.columns];
        let mut rows = 0_usize;
        for row in 0..self.size {
            let source = self.rows.source(self.model, row);
            if source != RowSource::Padding {
                self.read_row(&source, 0, &mut row_values)?;
                add(&mut sum, &row_values);
                rows += 1;
            }
        }
        Ok(sum.into_iter().map(|sum| (sum / rows.max(1) as f64) as f32).collect())
    }

    /// The numbers of a row from a column on.
    fn read_row(&self, source: &RowSource, column: usize, out: &mut [f32]) -> Result<(), WeightsError> {
        match source {
            RowSource::Row { model, row } => self.read_stored(*model, *row, column, out)?,
            RowSource::Zero => out.fill(0.0),
            RowSource::Padding => out.copy_from_slice(&self.padding[column..column + out.len()]),
            RowSource::Mean(rows) => {
                let mut sum = vec![0.0_f64; out.len()];
                for (model, row) in rows {
                    self.read_stored(*model, *row, column, out)?;
                    add(&mut sum, out);
                }
                for (value, sum) in out.iter_mut().zip(sum) {
                    *value = (sum / rows.len() as f64) as f32;
                }
            }
        }
        Ok(())
    }

    fn read_stored(
        &self,
        model: usize,
        row: u32,
        column: usize,
        out: &mut [f32],
    ) -> Result<(), WeightsError> {
        let view = self.views[model].as_ref().expect("`open` has a view of every model that rows come from");
        view.read_f32(row as usize * self.columns + column, out)
    }
}

impl Elements for Gathered<'_> {
    fn read(&self, from: usize, out: &mut [f32]) -> Result<(), WeightsError> {
        let mut at = from;
        let mut rest = out;
        while !rest.is_empty() {
            let (row, column) = (at / self.columns, at % self.columns);
            let (part, behind) = rest.split_at_mut((self.columns - column).min(rest.len()));
            self.read_row(&self.rows.source(self.model, row), column, part)?;
            at += part.len();
            rest = behind;
        }
        Ok(())
    }
}

fn add(sum: &mut [f64], values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += f64::from(*value);
    }
}
