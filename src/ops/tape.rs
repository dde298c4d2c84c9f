//! Reverse mode, as training runs it: what a pass does to watched tensors is recorded, and gone through backwards once.
//!
//! candle's own backward pass keeps every operand to its end and adds each gradient to zeros that it makes first, on one
//! thread. Here an operation keeps what its gradient reads, which for a frozen linear is nothing, and lets go of it when the
//! gradient is known; a gradient that is the only one of its tensor is taken as it is, and others are added on all threads.
//!
//! Recorded are the operations of a decoder, and [`add`], [`narrow`], [`reshape`], [`scale`] and [`shift`] in place of candle's.
//! Outside of a recording
//! they are candle's, with its graph where operands are tracked. Not recorded are candle's own operations and those of encoders
//! alone (GELU, layer norm): what came of a watched tensor by them has no gradient.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use candle_core::{CustomOp1, CustomOp2, CustomOp3, DType, Device, Result, Shape, Tensor, TensorId};

use super::parallel::{SharedMut, output, share};
use super::rows::elements;
use super::{Workers, shape_error};

const OP: &str = "tape";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 14;

/// What happens to an operation's operands on this thread.
enum Mode {
    /// candle's graph, where it tracks them.
    Candle,
    /// Nothing: no gradient will be asked for.
    Untracked,
    Recording(Recording),
}

struct Recording {
    watched: HashSet<TensorId>,
    nodes: Vec<Node>,
}

thread_local! {
    static MODE: RefCell<Mode> = const { RefCell::new(Mode::Candle) };
}

/// What a gradient reads beside the gradient of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keeps {
    pub operands: bool,
    pub result: bool,
}

impl Keeps {
    pub const NOTHING: Self = Self { operands: false, result: false };
    pub const OPERANDS: Self = Self { operands: true, result: false };
    pub const ALL: Self = Self { operands: true, result: true };
}

struct Node {
    operation: Operation,
    operands: Vec<Operand>,
    result: Operand,
}

/// A tensor, or its shape alone.
struct Operand {
    id: TensorId,
    is_watched: bool,
    tensor: Tensor,
}

enum Operation {
    One(Box<dyn CustomOp1 + Send>),
    Two(Box<dyn CustomOp2 + Send>),
    Three(Box<dyn CustomOp3 + Send>),
    Reshape,
    Copy,
    Narrow { dim: usize, start: usize },
    Scale(f64),
    Add,
}

/// What was recorded.
pub struct Tape {
    nodes: Vec<Node>,
    workers: Arc<Workers>,
}

/// Gradients by tensor.
pub struct Gradients {
    whole: HashMap<TensorId, Tensor>,
    /// Sums of gradients of parts, as large as their tensor.
    of_parts: HashMap<TensorId, (Vec<f32>, Shape)>,
    workers: Arc<Workers>,
}

/// Runs `run` on this thread and records what it does to `watched`, to candle's variables and to what comes of them.
///
/// # Errors
/// Those of `run`.
pub fn record<T>(
    watched: &[&Tensor],
    workers: &Arc<Workers>,
    run: impl FnOnce() -> Result<T>,
) -> Result<(T, Tape)> {
    let watched = watched.iter().map(|tensor| tensor.id()).collect();
    let (found, mode) = within(Mode::Recording(Recording { watched, nodes: Vec::new() }), run);
    let nodes = match mode {
        Mode::Recording(Recording { nodes, .. }) => nodes,
        Mode::Candle | Mode::Untracked => Vec::new(),
    };
    Ok((found?, Tape { nodes, workers: Arc::clone(workers) }))
}

/// Runs `run` on this thread without candle's graph, though variables take part.
pub fn untracked<T>(run: impl FnOnce() -> T) -> T {
    within(Mode::Untracked, run).0
}

/// The mode of before comes back, whatever happens.
fn within<T>(mode: Mode, run: impl FnOnce() -> T) -> (T, Mode) {
    struct Restore(Option<Mode>);
    impl Drop for Restore {
        fn drop(&mut self) {
            if let Some(before) = self.0.take() {
                MODE.replace(before);
            }
        }
    }
    let mut before = Restore(Some(MODE.replace(mode)));
    let found = run();
    let before = before.0.take().unwrap_or(Mode::Candle);
    (found, MODE.replace(before))
}

/// Whether a gradient of this tensor will be asked for.
pub(super) fn is_tracked(x: &Tensor) -> bool {
    MODE.with_borrow(|mode| match mode {
        Mode::Candle => x.track_op(),
        Mode::Untracked => false,
        Mode::Recording(recording) => recording.watches(x),
    })
}

impl Recording {
    fn watches(&self, x: &Tensor) -> bool {
        self.watched.contains(&x.id()) || x.is_variable()
    }

    fn operand(&self, x: &Tensor, keep: bool) -> Operand {
        // A shape alone is a number that is repeated.
        let tensor = if keep { Ok(x.clone()) } else { Tensor::zeros((), x.dtype(), &Device::Cpu) };
        let tensor = tensor.and_then(|tensor| if keep { Ok(tensor) } else { tensor.broadcast_as(x.shape()) });
        Operand { id: x.id(), is_watched: self.watches(x), tensor: tensor.unwrap_or_else(|_| x.clone()) }
    }
}

/// Notes what was done, if one of the operands is watched.
fn note(operands: &[&Tensor], result: &Tensor, keeps: Keeps, operation: impl FnOnce() -> Operation) {
    MODE.with_borrow_mut(|mode| {
        let Mode::Recording(recording) = mode else { return };
        if !operands.iter().any(|operand| recording.watches(operand)) {
            return;
        }
        let node = Node {
            operation: operation(),
            operands: operands.iter().map(|operand| recording.operand(operand, keeps.operands)).collect(),
            result: recording.operand(result, keeps.result),
        };
        recording.watched.insert(result.id());
        recording.nodes.push(node);
    });
}

fn is_candles() -> bool {
    MODE.with_borrow(|mode| matches!(mode, Mode::Candle))
}

pub(super) fn apply1<C: CustomOp1 + Send + Sync + 'static>(
    x: &Tensor,
    op: C,
    keeps: Keeps,
) -> Result<Tensor> {
    if is_candles() {
        return x.apply_op1(op);
    }
    let result = x.apply_op1_no_bwd(&op)?;
    note(&[x], &result, keeps, || Operation::One(Box::new(op)));
    Ok(result)
}

pub(super) fn apply2<C: CustomOp2 + Send + Sync + 'static>(
    x: &Tensor,
    y: &Tensor,
    op: C,
    keeps: Keeps,
) -> Result<Tensor> {
    if is_candles() {
        return x.apply_op2(y, op);
    }
    let result = x.apply_op2_no_bwd(y, &op)?;
    note(&[x, y], &result, keeps, || Operation::Two(Box::new(op)));
    Ok(result)
}

pub(super) fn apply3<C: CustomOp3 + Send + Sync + 'static>(
    [x, y, z]: [&Tensor; 3],
    op: C,
    keeps: Keeps,
) -> Result<Tensor> {
    if is_candles() {
        return x.apply_op3(y, z, op);
    }
    let result = x.apply_op3_no_bwd(y, z, &op)?;
    note(&[x, y, z], &result, keeps, || Operation::Three(Box::new(op)));
    Ok(result)
}

/// The tensor itself where it is contiguous.
pub(super) fn contiguous(x: &Tensor) -> Result<Tensor> {
    let copy = x.contiguous()?;
    if copy.id() != x.id() {
        note(&[x], &copy, Keeps::NOTHING, || Operation::Copy);
    }
    Ok(copy)
}

/// As candle's.
///
/// # Errors
/// As candle's.
pub fn reshape(x: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
    let result = x.reshape(shape.into())?;
    if result.id() != x.id() {
        note(&[x], &result, Keeps::NOTHING, || Operation::Reshape);
    }
    Ok(result)
}

/// As candle's.
///
/// # Errors
/// As candle's.
pub fn narrow(x: &Tensor, dim: usize, start: usize, len: usize) -> Result<Tensor> {
    let result = x.narrow(dim, start, len)?;
    if result.id() != x.id() {
        note(&[x], &result, Keeps::NOTHING, || Operation::Narrow { dim, start });
    }
    Ok(result)
}

/// `factor x`.
///
/// # Errors
/// As candle's.
pub fn scale(x: &Tensor, factor: f64) -> Result<Tensor> {
    let result = x.affine(factor, 0.0)?;
    note(&[x], &result, Keeps::NOTHING, || Operation::Scale(factor));
    Ok(result)
}

/// `x + by`.
///
/// # Errors
/// As candle's.
pub fn shift(x: &Tensor, by: f64) -> Result<Tensor> {
    let result = x.affine(1.0, by)?;
    note(&[x], &result, Keeps::NOTHING, || Operation::Copy);
    Ok(result)
}

/// `x + y`, of one shape.
///
/// # Errors
/// As candle's.
pub fn add(x: &Tensor, y: &Tensor, workers: &Workers) -> Result<Tensor> {
    if is_candles() && (x.track_op() || y.track_op()) {
        return x + y;
    }
    let result = sum(x, y, workers)?;
    note(&[x, y], &result, Keeps::NOTHING, || Operation::Add);
    Ok(result)
}

impl Tape {
    /// The gradients of the watched tensors and variables, from that of `result`. Those of packed weights that learn are added
    /// to theirs.
    ///
    /// # Errors
    /// What an operation reports.
    pub fn backward(self, result: &Tensor, gradient: Tensor) -> Result<Gradients> {
        if result.shape() != gradient.shape() {
            let detail = format!("a gradient of shape {:?} for {:?}", gradient.shape(), result.shape());
            return Err(shape_error(OP, detail));
        }
        let Self { mut nodes, workers } = self;
        let whole = HashMap::from([(result.id(), gradient)]);
        let mut gradients = Gradients { whole, of_parts: HashMap::new(), workers };
        while let Some(Node { operation, operands, result }) = nodes.pop() {
            let Some(gradient) = gradients.take(result.id)? else { continue };
            let found = operation.backward(&operands, &result.tensor, gradient, &mut gradients)?;
            // What it kept goes before the next one's gradients are made.
            let wanted: Vec<_> =
                operands.into_iter().map(|operand| (operand.id, operand.is_watched)).collect();
            for ((id, is_watched), gradient) in wanted.into_iter().zip(found) {
                if let Some(gradient) = gradient.filter(|_| is_watched) {
                    gradients.add(id, gradient)?;
                }
            }
        }
        Ok(gradients)
    }
}

impl Operation {
    fn backward(
        &self,
        operands: &[Operand],
        result: &Tensor,
        gradient: Tensor,
        gradients: &mut Gradients,
    ) -> Result<Vec<Option<Tensor>>> {
        let shape = || operands[0].tensor.shape();
        Ok(match self {
            Self::One(op) => vec![op.bwd(&operands[0].tensor, result, &gradient)?],
            Self::Two(op) => {
                let (x, y) = op.bwd(&operands[0].tensor, &operands[1].tensor, result, &gradient)?;
                vec![x, y]
            }
            Self::Three(op) => {
                let [x, y, z] = [0, 1, 2].map(|index| &operands[index].tensor);
                let (x, y, z) = op.bwd(x, y, z, result, &gradient)?;
                vec![x, y, z]
            }
            Self::Reshape => vec![Some(gradient.reshape(shape())?)],
            Self::Copy => vec![Some(gradient)],
            Self::Add => vec![Some(gradient.clone()), Some(gradient)],
            Self::Scale(factor) => vec![Some(gradient.affine(*factor, 0.0)?)],
            Self::Narrow { dim, start } => {
                gradients.add_part(operands[0].id, shape(), &gradient, *dim, *start)?;
                vec![None]
            }
        })
    }
}

impl Gradients {
    /// Of a watched tensor or a variable; `None` where nothing depends on it.
    pub fn get(&self, tensor: &Tensor) -> Option<&Tensor> {
        self.whole.get(&tensor.id())
    }

    /// As `get`, and it is no longer here.
    ///
    /// # Errors
    /// Memory.
    pub fn remove(&mut self, tensor: &Tensor) -> Result<Option<Tensor>> {
        self.take(tensor.id())
    }

    fn take(&mut self, id: TensorId) -> Result<Option<Tensor>> {
        if let Some((sums, shape)) = self.of_parts.remove(&id) {
            self.add(id, Tensor::from_vec(sums, shape, &Device::Cpu)?)?;
        }
        Ok(self.whole.remove(&id))
    }

    fn add(&mut self, id: TensorId, gradient: Tensor) -> Result<()> {
        let sum = match self.whole.remove(&id) {
            None => gradient,
            Some(before) => sum(&before, &gradient, &self.workers)?,
        };
        self.whole.insert(id, sum);
        Ok(())
    }

    /// The gradient of `x.narrow(dim, start, ..)`.
    fn add_part(
        &mut self,
        id: TensorId,
        shape: &Shape,
        part: &Tensor,
        dim: usize,
        start: usize,
    ) -> Result<()> {
        let dims = shape.dims();
        if part.dtype() != DType::F32 {
            let rest = dims[dim] - start - part.dims()[dim];
            return self.add(id, part.pad_with_zeros(dim, start, rest)?);
        }
        let (sums, _) =
            self.of_parts.entry(id).or_insert_with(|| (vec![0.0; shape.elem_count()], shape.clone()));
        let inner: usize = dims[dim + 1..].iter().product();
        let (width, stride) = (part.dims()[dim] * inner, dims[dim] * inner);
        let part = elements(part)?;
        let rows = part.len() / width.max(1);
        let parts = (part.len() / PART_ELEMENTS).clamp(1, self.workers.threads());
        let shared = SharedMut::new(sums);
        self.workers.run(parts, &|index| {
            for row in share(rows, parts, index) {
                // SAFETY: each part takes its own rows.
                let to = unsafe { shared.slice(row * stride + start * inner, width) };
                to.iter_mut().zip(&part[row * width..]).for_each(|(sum, x)| *sum += x);
            }
        });
        Ok(())
    }
}

fn sum(a: &Tensor, b: &Tensor, workers: &Workers) -> Result<Tensor> {
    if a.dtype() != DType::F32 {
        return a + b;
    }
    let (x, y) = (elements(a)?, elements(b)?);
    if a.shape() != b.shape() {
        return Err(shape_error(OP, format!("a sum of shapes {:?} and {:?}", a.shape(), b.shape())));
    }
    let parts = (x.len() / PART_ELEMENTS).clamp(1, workers.threads());
    // SAFETY: the parts cover all, and each writes its own.
    let out = unsafe {
        output(x.len(), |out| {
            workers.run(parts, &|part| {
                let range = share(x.len(), parts, part);
                let to = out.start().add(range.start);
                for (at, (x, y)) in x[range.clone()].iter().zip(&y[range]).enumerate() {
                    to.add(at).write(x + y);
                }
            });
        })
    };
    Tensor::from_vec(out, a.shape(), a.device())
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::super::testing::{bits, numbers};
    use super::super::{Activation, PackedLinear, Storage, WeightData, glu, linear, linear_add, rms_norm};
    use super::*;

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// A piece of a layer: a norm whose weight is a variable, views, a tensor with two users.
    fn piece(
        x: &Tensor,
        norm: &Tensor,
        weights: &[Arc<PackedLinear>],
        workers: &Arc<Workers>,
    ) -> Result<Tensor> {
        let normed = rms_norm(x, norm, 1e-5, workers)?;
        let both = reshape(&linear(&normed, &weights[0])?, (6, 2, 12))?;
        let gate = contiguous(&narrow(&both, 1, 0, 1)?)?;
        let up = scale(&contiguous(&narrow(&both, 1, 1, 1)?)?, 0.5)?;
        let gated = reshape(&glu(&gate, &up, Activation::Silu, workers)?, (6, 12))?;
        let sum = linear_add(&gated, &weights[1], x)?;
        add(&sum, &rms_norm(&sum, &shift(norm, 1.0)?, 1e-5, workers)?, workers)
    }

    #[test]
    fn gradients_are_candles() {
        let workers = Workers::new(2);
        let weight = |seed, n: usize, k: usize| {
            let values = numbers(seed, n * k);
            PackedLinear::pack(WeightData::F32(&values), n, k, None, Storage::F32, &workers).unwrap()
        };
        let weights = [weight(1, 24, 20), weight(2, 20, 12)];
        let tensor = |seed, shape: &[usize]| {
            Tensor::from_vec(numbers(seed, shape.iter().product()), shape, &Device::Cpu).unwrap()
        };
        let norm = Var::from_tensor(&tensor(3, &[20])).unwrap();
        let (x, upstream) = (tensor(4, &[6, 20]), tensor(5, &[6, 20]));

        let var = Var::from_tensor(&x).unwrap();
        let out = piece(var.as_tensor(), norm.as_tensor(), &weights, &workers).unwrap();
        let expected = (&out * &upstream).unwrap().sum_all().unwrap().backward().unwrap();

        let run = || piece(&x, norm.as_tensor(), &weights, &workers);
        let (recorded, tape) = record(&[&x], &workers, run).unwrap();
        assert_eq!(bits(&values(&recorded)), bits(&values(&out)));
        assert_eq!(tape.nodes.len(), 14);
        let mut found = tape.backward(&recorded, upstream).unwrap();
        let of_norm = found.get(norm.as_tensor()).unwrap();
        assert_eq!(bits(&values(of_norm)), bits(&values(expected.get(norm.as_tensor()).unwrap())));
        let of_x = found.remove(&x).unwrap().unwrap();
        for (found, expected) in values(&of_x).iter().zip(values(expected.get(var.as_tensor()).unwrap())) {
            assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{found} {expected}");
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_recorded() {
        let workers = Workers::new(1);
        let x = Tensor::from_vec(numbers(1, 40), (2, 20), &Device::Cpu).unwrap();
        let norm = Tensor::from_vec(numbers(2, 20), 20, &Device::Cpu).unwrap();
        let (_, tape) = record(&[], &workers, || rms_norm(&x, &norm, 1e-5, &workers)).unwrap();
        assert!(tape.nodes.is_empty());
        let var = Var::from_tensor(&norm).unwrap();
        let out = untracked(|| rms_norm(&x, var.as_tensor(), 1e-5, &workers)).unwrap();
        assert!(!out.track_op());
        // A failure gives candle its turn back.
        let failed = record(&[&x], &workers, || x.reshape(7));
        assert!(failed.is_err() && is_candles());
    }

    #[test]
    fn frozen_linears_keep_no_operand() {
        let workers = Workers::new(1);
        let values = numbers(1, 400);
        let weight =
            PackedLinear::pack(WeightData::F32(&values), 20, 20, None, Storage::F32, &workers).unwrap();
        let x = Tensor::from_vec(numbers(2, 60), (3, 20), &Device::Cpu).unwrap();
        let (_, tape) = record(&[&x], &workers, || linear(&linear(&x, &weight)?, &weight)).unwrap();
        for node in &tape.nodes {
            assert_eq!(node.operands[0].tensor.stride(), [0, 0]);
        }
    }
}
