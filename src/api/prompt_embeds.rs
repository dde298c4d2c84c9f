//! `prompt_embeds`: prompts that a client sends as vectors, each a safetensors file in base64. CPU-bound, as `prompt_text`.
//!
//! Never what `torch.save` writes: reading a pickle runs its author's code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::error::ApiError;
use super::generation::PromptIds;
use crate::engine::{GivenVectors, SoftPrefix};
use crate::registry::ServedModel;

const FIELD: &str = "prompt_embeds";
const HOW: &str = "send `base64(safetensors.torch.save({\"prompt_embeds\": tensor}))`";

/// `field` is the element's own name.
///
/// # Errors
/// What is no safetensors file with one tensor `[tokens, hidden]` of finite floats; a MindMerger model, whose prompts are text.
pub fn read(model: &ServedModel, field: &str, sent: &str) -> Result<PromptIds, ApiError> {
    if model.augmented.is_some() {
        let name = &model.name;
        return Err(invalid(field, &format!("`{name}` is a MindMerger model: send the prompt as text")));
    }
    let bytes = STANDARD
        .decode(sent)
        .map_err(|error| invalid(field, &format!("this is no base64 ({error}): {HOW}")))?;
    let hidden = model.handle.info().hidden_size;
    let given = vectors(&bytes).and_then(|(values, positions)| GivenVectors::new(values, positions, hidden));
    let given = given.map_err(|problem| invalid(field, &problem))?;
    Ok(PromptIds { ids: Vec::new(), soft_prefix: Some(SoftPrefix::Given(given)) })
}

fn invalid(field: &str, problem: &str) -> ApiError {
    ApiError::invalid(FIELD, format!("`{field}`: {problem}"))
}

/// The numbers of the one tensor, and its rows.
fn vectors(bytes: &[u8]) -> Result<(Vec<f32>, usize), String> {
    // A zip archive and a pickle of protocol 2 and up.
    if bytes.starts_with(b"PK") || bytes.first() == Some(&0x80) {
        return Err(format!("this is what torch.save or pickle writes, which is not read: {HOW}"));
    }
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| format!("this is no safetensors file ({error}): {HOW}"))?;
    let tensors = file.tensors();
    let [(name, tensor)] = tensors.as_slice() else {
        return Err(format!("it must hold one tensor, and has {}", tensors.len()));
    };
    let positions = match tensor.shape() {
        &[positions, hidden] if positions > 0 && hidden > 0 => positions,
        shape => return Err(format!("`{name}` must be [tokens, hidden], and is {shape:?}")),
    };
    let data = tensor.data();
    let values = match tensor.dtype() {
        Dtype::F32 => numbers(data, f32::from_le_bytes),
        Dtype::F16 => numbers(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => numbers(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        other => return Err(format!("`{name}` must be F32, F16 or BF16, and is {other:?}")),
    };
    Ok((values, positions))
}

fn numbers<const WIDTH: usize>(data: &[u8], read: impl Fn([u8; WIDTH]) -> f32) -> Vec<f32> {
    data.as_chunks().0.iter().map(|bytes| read(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::tensor::TensorView;

    use super::*;

    fn file(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
        let views: HashMap<_, _> = tensors
            .iter()
            .map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.to_vec(), data).unwrap()))
            .collect();
        safetensors::serialize(&views, None).unwrap()
    }

    #[test]
    fn one_tensor_of_floats() {
        let f32s: Vec<u8> = [0.5_f32, -1.0, 2.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let bf16s: Vec<u8> =
            [0.5_f32, -1.0, 2.0, 4.0].iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
        let f16s: Vec<u8> =
            [0.5_f32, -1.0, 2.0, 4.0].iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        for (dtype, data) in [(Dtype::F32, &f32s), (Dtype::BF16, &bf16s), (Dtype::F16, &f16s)] {
            let read = vectors(&file(&[("a", dtype, &[2, 2], data)]));
            assert_eq!(read, Ok((vec![0.5, -1.0, 2.0, 4.0], 2)), "{dtype:?}");
        }
        let check = |bytes: &[u8], part: &str| {
            let problem = vectors(bytes).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        };
        check(&file(&[]), "one tensor, and has 0");
        check(&file(&[("a", Dtype::F32, &[4], &f32s)]), "[tokens, hidden], and is [4]");
        check(&file(&[("a", Dtype::F32, &[0, 4], &[])]), "is [0, 4]");
        check(&file(&[("a", Dtype::F32, &[usize::MAX, 0], &[])]), "0]");
        check(&file(&[("a", Dtype::I32, &[2, 2], &f32s)]), "is I32");
        check(b"PK\x03\x04", "torch.save");
        check(b"\x80\x04", "torch.save");
        check(b"", "no safetensors file");
        check(&[0xff; 64], "no safetensors file");
    }
}
