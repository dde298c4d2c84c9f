//! Twenty steps of continued pre-training under neuron masks.

use std::collections::BTreeSet;

use xenoglot::model::ComputeDtype;
use xenoglot::ops::Workers;
use xenoglot::train::{FullDecoder, Masks, Objective, Passes, Recompute};
use xenoglot::weights::NeuronMask;

use super::recorded::{check_final, decoder, fixtures, read, train};

#[test]
fn twenty_masked_steps_are_pytorchs() {
    let run = read("cpt/cpt.json");
    for name in ["all", "matrices", "rows"] {
        let (workers, record) = (Workers::new(2), &run[name]);
        let path = fixtures().join(record["masks"].as_str().unwrap());
        let wanted: BTreeSet<String> = NeuronMask::open(&path).unwrap().names().into_iter().collect();
        let passes = Passes::new(Recompute::Off, &workers);
        let decoder = decoder(run["model"].as_str().unwrap(), ComputeDtype::F32, &workers);
        let mut model = FullDecoder::new(decoder, Some(wanted), passes).unwrap();
        let masks = Masks::open(&path, &model.trained().unwrap()).unwrap();
        let clip = record["max_grad_norm"].as_f64().unwrap();
        let steps = train(&run, clip, &mut model, Some(&masks), &workers);
        steps.check(name, &record["f64"]["loss"], &record["f64"]["grad_norm_of_masked"]);
        check_final(name, &mut model, &record["f64"]["final"]);
    }
}

#[test]
fn a_mask_of_another_model_is_refused() {
    let workers = Workers::new(1);
    let passes = Passes::new(Recompute::Off, &workers);
    let decoder = decoder("models/qwen3", ComputeDtype::F32, &workers);
    let mut model = FullDecoder::new(decoder, None, passes).unwrap();
    let error =
        Masks::open(&fixtures().join("cpt/all.safetensors"), &model.trained().unwrap()).err().unwrap();
    assert!(error.to_string().contains("another model"), "{error}");
}
