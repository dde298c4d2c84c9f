//! What host and kernels write to each other: the same fields in the same order as in kernels/*.cu, whole words without padding.

/// Lanes of a KV head that attend over positions of one block table (`Item` in paged_attention.cu).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionItem {
    pub first_lane: i32,
    /// Up to 16 a warp of the block.
    pub lanes: i32,
    pub sequence: i32,
    pub first_position: i32,
    pub end_position: i32,
    /// 1 if this is one split, whose results are merged later.
    pub partial: i32,
}

/// Up to 16 neighbouring rows that go through one adapter (`Group` in lora_rows.cu).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowGroup {
    pub first_row: i32,
    pub rows: i32,
    pub adapter: i32,
}

/// One linear of an adapter; `a` and `b` are addresses on the device of bf16 `[rank, in_features]` and `[out_features, rank]`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LowRank {
    pub a: u64,
    pub b: u64,
    pub rank: i32,
    pub scale: f32,
}

/// What happens to one id's logit; one an id and row (`Edit` in edit_logits.cu).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edit {
    pub id: u32,
    /// Of the constants here.
    pub flags: u32,
    /// How often it stands in the output.
    pub output_count: u32,
    pub bias: f32,
}

impl Edit {
    pub const SUPPRESSED: u32 = 1;
    pub const BIASED: u32 = 2;
    /// It stands in prompt or output.
    pub const SEEN: u32 = 4;
}

/// A row's penalties (`Penalties` in edit_logits.cu).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalties {
    pub repetition: f32,
    pub frequency: f32,
    pub presence: f32,
    /// The row of the masks that says what is allowed; -1 for everything.
    pub mask: i32,
}

/// How a row is sampled (`Request` in sample.cu).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRequest {
    /// Low word first.
    pub seed: [u32; 2],
    /// In the output, low word first.
    pub position: [u32; 2],
    pub choice: u32,
    pub temperature: f32,
    /// 0 is off.
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    /// -1: no logprobs are wanted.
    pub logprobs: i32,
    /// 0 raw, 1 processed, 2 scaled.
    pub mode: i32,
}

/// What was drawn (`Sampled` in sample.cu).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sampled {
    /// 0, or why there is no token: 1 no numbers, 2 nothing left, 3 overflow by parameters.
    pub status: i32,
    pub token: u32,
    pub logprob: f32,
    pub rank: u32,
    /// Below 0: truncation was off, or is not told.
    pub kept_mass: f32,
    pub top_count: i32,
}

#[cfg(feature = "cuda")]
mod device {
    use super::{AttentionItem, Edit, LowRank, Penalties, RowGroup, SampleRequest, Sampled};
    use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, ValidAsZeroBits};

    macro_rules! on_device {
        ($($name:ident),*) => {$(
            // SAFETY: repr(C), of four- and eight-byte numbers without padding; a kernel reads them as such.
            unsafe impl DeviceRepr for $name {}
            // SAFETY: numbers, of which zero is one.
            unsafe impl ValidAsZeroBits for $name {}
        )*};
    }
    on_device!(AttentionItem, RowGroup, LowRank, Edit, Penalties, SampleRequest, Sampled);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_kernels() {
        let sizes = [
            size_of::<AttentionItem>(),
            size_of::<RowGroup>(),
            size_of::<LowRank>(),
            size_of::<Edit>(),
            size_of::<Penalties>(),
            size_of::<SampleRequest>(),
            size_of::<Sampled>(),
        ];
        assert_eq!(sizes, [24, 12, 24, 16, 16, 44, 24]);
    }
}
