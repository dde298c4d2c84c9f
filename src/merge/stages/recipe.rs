//! A method with its numbers filled in, as data over the stages.

use super::super::method::Method;
use super::chance::{is_long_row, long_row_bytes};

/// What to do with one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub vectors: Vectors,
    /// For each vector: which of its elements are kept.
    pub keep: Vec<Keep>,
    pub rescale: Rescale,
    pub combine: Combine,
}

/// What is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// The models' own weights.
    Weights,
    /// Their differences from the base, which the result is added to.
    Differences,
}

/// Which elements of a vector are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keep {
    All,
    /// No element.
    None,
    /// Those of the largest magnitude: a share of them, but one at least (ties).
    Largest {
        density: f64,
    },
    /// A share in the middle of the magnitudes: the largest `gamma` dropped, then the smallest (breadcrumbs).
    Middle {
        density: f64,
        gamma: f64,
    },
    /// Each with this chance (dare); `key` names the draws.
    Random {
        density: f64,
        key: u64,
    },
    /// Each with a chance that grows with its rank in its row, from density - epsilon to density + epsilon (della).
    Ranked {
        density: f64,
        epsilon: f64,
        key: u64,
    },
}

/// What makes up for dropped elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescale {
    No,
    /// The sum of absolute values stays.
    L1,
    /// Divided by the density, as in the papers.
    InverseDensity,
}

/// How vectors become one.
#[derive(Debug, Clone, PartialEq)]
pub enum Combine {
    /// sum w v, over sum w where `normalize`, times lambda. `guard`: a sum of weights near zero counts as one.
    Weighted {
        weights: Vec<f64>,
        normalize: bool,
        guard: bool,
        lambda: f64,
    },
    /// As `Weighted`, of those elements whose sign is that of the weighted sum (ties).
    Consensus {
        weights: Vec<f64>,
        normalize: bool,
        lambda: f64,
    },
    /// From the first vector to the second along the great circle.
    Slerp {
        t: f64,
    },
    /// As `Slerp`, with t from weights, for each vector of an axis.
    Nuslerp {
        weights: [f64; 2],
        along: Along,
    },
    Multislerp {
        weights: Vec<f64>,
        normalize: bool,
        epsilon: f64,
    },
    Karcher {
        iterations: usize,
        tolerance: f64,
    },
    ModelStock {
        along: Along,
    },
    /// Differences that vary most between the models, weighted by their mean squares, minority signs erased.
    Sce {
        select: f64,
    },
    /// Towards the one difference by min(1, t / |difference|).
    Nearswap {
        t: f64,
    },
    /// The one difference where its size times the divergence of its row is an outlier.
    Fusion,
    /// A part that one model alone changed, and the mean of what several did; `growth` is (r, alpha) of ramplus.
    Overlap {
        epsilon: f64,
        growth: Option<(f64, f64)>,
    },
    /// The one tensor, times a factor if there is one.
    Copy {
        scale: Option<f64>,
    },
}

/// What one vector of a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// The whole tensor.
    Tensor,
    /// A row: the last axis.
    LastAxis,
    /// The first axis: a column of a matrix.
    FirstAxis,
}

impl Recipe {
    /// Whether order statistics are needed, which take counters.
    pub fn counts(&self) -> bool {
        let windows = |keep: &Keep| matches!(keep, Keep::Largest { .. } | Keep::Middle { .. });
        matches!(self.combine, Combine::Sce { .. } | Combine::Fusion) || self.keep.iter().any(windows)
    }

    /// Whether vectors are columns.
    pub(super) fn is_by_columns(&self) -> bool {
        matches!(
            self.combine,
            Combine::Nuslerp { along: Along::FirstAxis, .. }
                | Combine::ModelStock { along: Along::FirstAxis }
        )
    }

    /// Whether rows of a tensor of this shape are needed whole.
    pub fn needs_rows(&self, shape: &[usize]) -> bool {
        let along_rows = |along: Along| along == Along::LastAxis;
        let by_row = match &self.combine {
            Combine::Nuslerp { along, .. } | Combine::ModelStock { along } => along_rows(*along),
            Combine::Fusion => true,
            _ => false,
        };
        by_row || (self.ranks_rows() && !is_long_row(shape))
    }

    /// Bytes that a tensor of this shape takes beside its pieces, whatever the number of threads.
    pub fn bytes_beside(&self, shape: &[usize]) -> u64 {
        let is_long = self.ranks_rows() && is_long_row(shape);
        if is_long { long_row_bytes(shape.iter().product(), self.keep.len()) } else { 0 }
    }

    fn ranks_rows(&self) -> bool {
        self.keep.iter().any(|keep| matches!(keep, Keep::Ranked { .. }))
    }
}

impl Method {
    /// Whether the method merges differences from the base rather than weights.
    pub(in super::super) fn vectors(self, has_base: bool) -> Vectors {
        match self {
            Self::Linear | Self::Slerp | Self::Karcher | Self::Passthrough => Vectors::Weights,
            Self::Nuslerp | Self::Multislerp if !has_base => Vectors::Weights,
            _ => Vectors::Differences,
        }
    }
}
