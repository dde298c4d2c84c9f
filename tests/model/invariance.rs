//! One prefill, chunks, single tokens, company in the batch: the same bits. The engine's batch invariance
//! stands on this.

use xenoglot::model::{ComputeDtype, Decoder};
use xenoglot::ops::Int8Scales;

use super::attention::PagedSequences;
use super::logits::{FAMILIES, TOLERANCE, expected, fixture, largest_difference, load};

/// The logits of a sequence that is fed in chunks of the given sizes, the last size repeated.
fn in_chunks(decoder: &Decoder, ids: &[u32], sizes: &[usize]) -> Vec<Vec<f32>> {
    let mut sequences = PagedSequences::new(decoder, 1, ids.len());
    let (mut rest, mut logits, mut sizes) = (ids, Vec::new(), sizes.iter().copied().peekable());
    while !rest.is_empty() {
        let size = sizes.next_if(|_| true).unwrap_or(1);
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        logits.extend(sequences.step(&[(0, chunk)]));
        rest = after;
    }
    logits
}

fn every_family(check: impl Fn(&str, &Decoder, &[u32], &[Vec<f32>])) {
    for name in FAMILIES {
        for dtype in [ComputeDtype::F32, ComputeDtype::Bf16, ComputeDtype::Int8(Int8Scales::PerChannel)] {
            let (decoder, expected) = (load(&fixture(name), dtype), expected(name));
            let whole = in_chunks(&decoder, &expected.ids, &[expected.ids.len()]);
            check(name, &decoder, &expected.ids, &whole);
        }
    }
}

#[test]
fn a_paged_prefill_agrees_with_transformers() {
    for name in FAMILIES {
        let (decoder, expected) = (load(&fixture(name), ComputeDtype::F32), expected(name));
        let logits = in_chunks(&decoder, &expected.ids, &[expected.ids.len()]).concat();
        let difference = largest_difference(&logits, &expected.logits);
        println!("{name}: {difference:e}");
        assert!(difference <= TOLERANCE, "{name}: logits differ by {difference}");
    }
}

#[test]
fn chunks_equal_one_prefill() {
    every_family(|name, decoder, ids, whole| {
        assert!(in_chunks(decoder, ids, &[7, 32, 1, 32]) == whole, "{name}: chunks of 7, 32, 1, 32");
        assert!(in_chunks(decoder, ids, &[64, 8]) == whole, "{name}: chunks of 64, 8");
    });
}

#[test]
fn single_tokens_equal_one_prefill() {
    every_family(|name, decoder, ids, whole| {
        assert!(in_chunks(decoder, ids, &[1]) == whole, "{name}: token by token");
        assert!(in_chunks(decoder, ids, &[33]) == whole, "{name}: prefill 33, then decode");
    });
}

#[test]
fn company_changes_no_bit() {
    every_family(|name, decoder, ids, whole| {
        let other: Vec<u32> = ids.iter().rev().copied().collect();
        let mut sequences = PagedSequences::new(decoder, 3, ids.len());
        let first = sequences.step(&[(1, &other[..5]), (0, &ids[..40]), (2, &ids[..1])]);
        assert!(first[5..45] == whole[..40], "{name}: prefill among others");
        assert!(first[45] == whole[0], "{name}: one row at the end of the batch");
        let second = sequences.step(&[(2, &ids[1..2]), (0, &ids[40..]), (1, &other[5..6])]);
        assert!(second[0] == whole[1], "{name}: decode among others");
        assert!(second[1..=ids.len() - 40] == whole[40..], "{name}: the rest among others");
    });
}

#[test]
fn asked_rows_are_the_only_logits() {
    every_family(|name, decoder, ids, whole| {
        let mut sequences = PagedSequences::new(decoder, 1, ids.len());
        assert!(sequences.step_with_logits(&[(0, &ids[..10])], vec![]).is_empty(), "{name}");
        let rows = sequences.step_with_logits(&[(0, &ids[10..])], vec![0, 4, 61]);
        assert!(rows == [whole[10].clone(), whole[14].clone(), whole[71].clone()], "{name}: chosen rows");
    });
}
