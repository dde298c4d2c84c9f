//! The tensors that a training changes, each with its gradient: what the optimizer and checkpoints see of a model.

mod vectors;

use std::borrow::Cow;
use std::sync::Arc;

pub use vectors::Vectors;

use half::bf16;

use super::TrainError;
use crate::ops::{Learned, PackedLinear, PanelOrder, Workers, clear};

/// One trained tensor.
pub struct Trained<'a, T = f32> {
    /// As a checkpoint has it.
    pub name: String,
    pub shape: Vec<usize>,
    /// Of `values` and `gradient`.
    pub order: ElementOrder,
    pub values: &'a mut [T],
    /// The sum since the last update.
    pub gradient: &'a mut [T],
}

/// All that a training changes of a model.
#[derive(Default)]
pub struct Parameters<'a> {
    pub single: Vec<Trained<'a>>,
    /// Bits of bf16 that learn without f32 masters.
    pub bf16: Vec<Trained<'a, u16>>,
}

impl Parameters<'_> {
    /// Forgets the gradients.
    pub fn clear(&mut self, workers: &Workers) {
        self.single.iter_mut().for_each(|tensor| clear(tensor.gradient, workers));
        self.bf16.iter_mut().for_each(|tensor| clear(tensor.gradient, workers));
    }

    /// As a checkpoint has them, which stores f32.
    pub(super) fn stored(&self) -> Vec<(&str, &[usize])> {
        let single = self.single.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()));
        single.chain(self.bf16.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))).collect()
    }
}

/// Row-major f32 of bits of bf16.
pub(super) fn widened(order: ElementOrder, bits: &[u16]) -> Vec<f32> {
    order.to_rows(bits).iter().map(|&bits| bf16::from_bits(bits).to_f32()).collect()
}

/// The places of row-major numbers that bf16 holds exactly.
pub(super) fn narrowed(order: ElementOrder, rows: &[f32], bits: &mut [u16]) {
    let rows: Vec<u16> = rows.iter().map(|&x| bf16::from_f32(x).to_bits()).collect();
    order.from_rows(&rows, bits);
}

/// How the elements of a tensor lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementOrder {
    RowMajor,
    /// As a packed weight has them; places without an element are 0.
    Panels(PanelOrder),
    /// As a weight in bf16 has them, likewise.
    PairPanels(PanelOrder),
}

impl ElementOrder {
    pub fn to_rows<T: Copy>(self, values: &[T]) -> Cow<'_, [T]> {
        match self {
            Self::RowMajor => Cow::Borrowed(values),
            Self::Panels(order) => Cow::Owned(order.to_rows(values)),
            Self::PairPanels(order) => Cow::Owned(order.pairs_to_rows(values)),
        }
    }

    /// `rows` has as many elements as the tensor.
    pub fn from_rows<T: Copy>(self, rows: &[T], values: &mut [T]) {
        match self {
            Self::RowMajor => values.copy_from_slice(rows),
            Self::Panels(order) => order.from_rows(rows, values),
            Self::PairPanels(order) => order.pairs_from_rows(rows, values),
        }
    }
}

impl<T> Trained<'_, T> {
    /// A matrix, an embedding table or a factor of LoRA: what decays.
    pub fn is_matrix(&self) -> bool {
        self.shape.len() > 1
    }

    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The weight and the bias of a linear that learns, as `NAME.weight` and `NAME.bias`; those that `wanted` names.
///
/// # Errors
/// `Shared`.
pub(super) fn of_linear<'a>(
    name: &str,
    linear: &'a mut Arc<PackedLinear>,
    wanted: &dyn Fn(&str) -> bool,
    to: &mut Vec<Trained<'a>>,
) -> Result<(), TrainError> {
    let order = linear.order();
    let linear = owned(name, linear)?;
    push(name, order, linear.learned(), wanted, to);
    Ok(())
}

/// As [`of_linear`], of a weight that may learn in bf16.
///
/// # Errors
/// `Shared`.
pub(super) fn of_linear_bf16<'a>(
    name: &str,
    linear: &'a mut Arc<PackedLinear>,
    wanted: &dyn Fn(&str) -> bool,
    to: &mut Parameters<'a>,
) -> Result<(), TrainError> {
    let order = linear.order();
    let linear = owned(name, linear)?;
    if !linear.learns_in_bf16() {
        push(name, order, linear.learned(), wanted, &mut to.single);
        return Ok(());
    }
    let Some((weight, bias)) = linear.learned_bf16() else { return Ok(()) };
    let (weight_name, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
    if wanted(&weight_name) {
        let (Learned { values, gradient }, shape) = (weight, vec![order.out_features, order.in_features]);
        let order = ElementOrder::PairPanels(order);
        to.bf16.push(Trained { name: weight_name, shape, order, values, gradient });
    }
    if let Some(Learned { values, gradient }) = bias.filter(|_| wanted(&bias_name)) {
        let (shape, order) = (vec![order.out_features], ElementOrder::RowMajor);
        to.single.push(Trained { name: bias_name, shape, order, values, gradient });
    }
    Ok(())
}

/// As [`of_linear`], of a weight in f64.
///
/// # Errors
/// `Shared`.
pub(super) fn of_linear_f64<'a>(
    name: &str,
    linear: &'a mut Arc<PackedLinear>,
    wanted: &dyn Fn(&str) -> bool,
    to: &mut Vec<Trained<'a, f64>>,
) -> Result<(), TrainError> {
    let order = linear.order();
    let linear = owned(name, linear)?;
    push(name, order, linear.learned_f64(), wanted, to);
    Ok(())
}

fn owned<'a>(name: &str, linear: &'a mut Arc<PackedLinear>) -> Result<&'a mut PackedLinear, TrainError> {
    Arc::get_mut(linear).ok_or_else(|| TrainError::Shared { tensor: format!("{name}.weight") })
}

fn push<'a, T>(
    name: &str,
    order: PanelOrder,
    learned: Option<(Learned<'a, T>, Option<Learned<'a, T>>)>,
    wanted: &dyn Fn(&str) -> bool,
    to: &mut Vec<Trained<'a, T>>,
) {
    let Some((weight, bias)) = learned else { return };
    let (weight_name, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
    let mut push = |name: String, shape, order, learned: Learned<'a, T>| {
        if wanted(&name) {
            let Learned { values, gradient } = learned;
            to.push(Trained { name, shape, order, values, gradient });
        }
    };
    push(weight_name, vec![order.out_features, order.in_features], ElementOrder::Panels(order), weight);
    if let Some(bias) = bias {
        push(bias_name, vec![order.out_features], ElementOrder::RowMajor, bias);
    }
}
