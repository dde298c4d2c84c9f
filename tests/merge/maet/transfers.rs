//! Selection and transfer: equations 2 to 5 in f64, the equivalent configuration, the ablations, threads, going on.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use xenoglot::merge::maet::{
    MaetJob, Recipe, Selection, Similarity, equivalent_config, report_text, select, transfer,
};
use xenoglot::merge::{
    ExecuteOptions, FileOptions, MergeError, MergeProgress, MergedAmount, PlanOptions, PlannedTensor, Silent,
};

use super::super::{fixtures, merge};
use super::models::{Noise, Tensors, locate, made_up, read, write};

fn options(stop: &AtomicBool, threads: usize, resume: bool) -> ExecuteOptions<'_> {
    ExecuteOptions { threads, resume, stop }
}

fn run(text: &str, out: &Path, threads: usize) -> Result<(Recipe, Selection), MergeError> {
    let recipe = Recipe::parse(text)?;
    let mut job = MaetJob::plan(recipe.clone(), &locate, &PlanOptions::default())?;
    let stop = AtomicBool::new(false);
    let selection = select(&job, options(&stop, threads, false), &Silent)?;
    transfer(&mut job, &selection, out, options(&stop, threads, false), FileOptions::default(), &Silent)?;
    Ok((recipe, selection))
}

/// R(A) and R_Lang of a tensor, in f64.
fn weights(recipe: &Recipe, at: usize) -> (Vec<f64>, Vec<f64>) {
    let tensors = |path: &str| -> Tensors { read(&locate(path, None).unwrap()) };
    let base = tensors(&recipe.base.path);
    let difference = |path: &str| -> Vec<f64> {
        let model = tensors(path);
        assert_eq!(model[at].0, base[at].0);
        model[at]
            .2
            .iter()
            .zip(&base[at].2)
            .map(|(model, base)| f64::from(*model) - f64::from(*base))
            .collect()
    };
    let sum = |factors: &[(f64, String)]| -> Vec<f64> {
        let mut sum = vec![0.0; base[at].2.len()];
        for (factor, path) in factors {
            sum.iter_mut().zip(difference(path)).for_each(|(sum, value)| *sum += factor * value);
        }
        sum
    };
    let reference = recipe.reference.as_ref().unwrap_or(&recipe.base).path.clone();
    let (alpha, beta) = if recipe.ablation.ability_weight { (recipe.alpha, recipe.beta) } else { (1.0, 0.0) };
    let ability = sum(&[(alpha, recipe.ability.path.clone()), (-beta, reference.clone())]);
    let mut languages = Vec::new();
    for language in &recipe.languages {
        languages.push((language.weight * language.alpha, language.model.path.clone()));
        languages.push((-language.weight * language.beta, reference.clone()));
    }
    (ability, sum(&languages))
}

/// Whether every tensor is what the equations say, and the least similar ones are those that were chosen.
fn check(text: &str) -> Selection {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (recipe, selection) = run(text, &out, 2).unwrap();
    let base = read(&locate(&recipe.base.path, None).unwrap());
    let (mut similarities, merged) = (Vec::new(), read(&out));
    assert_eq!(merged.len(), selection.tensors.len());
    for (at, tensor) in selection.tensors.iter().enumerate() {
        let (ability, languages) = weights(&recipe, at);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let norms = dot(&ability, &ability).sqrt() * dot(&languages, &languages).sqrt();
        let cosine = if norms == 0.0 { 0.0 } else { dot(&ability, &languages) / norms };
        let (expected, scale) = match recipe.similarity {
            Similarity::Cosine => (cosine, 1.0),
            Similarity::Dot => (dot(&ability, &languages), norms),
        };
        // Differences are taken in f32.
        assert!((tensor.similarity - expected).abs() <= 1e-6 * scale, "{}: {expected}", tensor.name);
        similarities.push(expected);
        let rms = (base[at].2.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>()
            / base[at].2.len() as f64)
            .sqrt();
        for element in 0..ability.len() {
            let moved = if tensor.chosen {
                recipe.gamma * ability[element] + recipe.eta * languages[element]
            } else {
                languages[element]
            };
            let expected = f64::from(base[at].2[element]) + moved;
            let off = (f64::from(merged[at].2[element]) - expected).abs();
            assert!(off <= 1e-6 * expected.abs().max(rms), "{} {element}: {expected}", tensor.name);
        }
    }
    let least = |chosen: bool, start: f64, of: fn(f64, f64) -> f64| {
        let tensors = selection.tensors.iter().zip(&similarities);
        let ranked = tensors.filter(|(tensor, _)| tensor.rank.is_some() && recipe.filter.takes(&tensor.name));
        ranked
            .filter(|(tensor, _)| tensor.chosen == chosen)
            .map(|(_, similarity)| *similarity)
            .fold(start, of)
    };
    assert!(least(true, f64::MIN, f64::max) <= least(false, f64::MAX, f64::min) + 1e-6);
    check_equivalent(&recipe, &selection, &out, folder.path());
    selection
}

/// Merging the equivalent configuration gives the same.
fn check_equivalent(recipe: &Recipe, selection: &Selection, out: &Path, folder: &Path) {
    let config = equivalent_config(recipe, selection);
    assert_eq!(std::fs::read_to_string(out.join("mergekit_config.yml")).unwrap(), config);
    let equivalent = folder.join("equivalent");
    let absolute = config.replace("\"models/", &format!("\"{}/models/", fixtures().display()));
    merge(&absolute, &equivalent, 2).unwrap();
    std::fs::write(equivalent.join("config.json"), "{}").unwrap();
    for (ours, theirs) in read(out).iter().zip(&read(&equivalent)) {
        assert_eq!((&ours.0, &ours.1), (&theirs.0, &theirs.1));
        for (ours, theirs) in ours.2.iter().zip(&theirs.2) {
            assert!((ours - theirs).abs() <= 1e-6 * theirs.abs(), "{ours} {theirs}");
        }
    }
}

const MODELS: &str = "base = 'models/base'\nability = 'models/a'\nreference = 'models/b'\n";

fn recipe(keys: &str) -> String {
    format!("{MODELS}languages = [{{model = 'models/c'}}, {{model = 'models/tok_a', weight = 0.1}}]\n{keys}")
}

fn names(selection: &Selection) -> Vec<&str> {
    selection.tensors.iter().filter(|tensor| tensor.chosen).map(|tensor| tensor.name.as_str()).collect()
}

#[test]
fn tensors_are_those_of_the_equations() {
    let chosen = |keys: &str| check(&recipe(keys)).chosen();
    assert_eq!(chosen(""), 24);
    assert_eq!(chosen("k2 = 0.6\nsimilarity = 'dot'"), 18);
    assert_eq!(chosen("alpha = 1.5\nbeta = -0.5\ngamma = 2\neta = 0.25\nk2 = 0.1"), 3);
    assert_eq!(chosen("k2 = 0"), 0);
    assert_eq!(chosen("k2 = 1"), 30);
    let own = "languages = [{model = 'models/c', alpha = 2, beta = 0.3}, {model = 'models/a'}]\n";
    assert_eq!(check(&format!("{MODELS}{own}")).chosen(), 24);
    let without = "base = 'models/base'\nability = 'models/a'\nbeta = 0\nlanguages = [{model = 'models/c'}]";
    assert_eq!(check(without).chosen(), 24);
    let example = std::fs::read_to_string(fixtures().join("maet.toml")).unwrap();
    assert_eq!(check(&example).chosen(), 24);
}

#[test]
fn names_of_which_one_is_in_another_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(3);
    let mut model = |name: &str| write(&folder.path().join(name), &made_up(&mut |_, _| noise.next()));
    let (base, ability, language) = (model("base"), model("ability"), model("language"));
    for k2 in ["0.15", "0.3", "0.45", "0.6", "0.75", "0.9"] {
        let text = format!(
            "base = '{base}'\nability = '{ability}'\nbeta = 0\nk2 = {k2}\nlanguages = [{{model = '{language}'}}]\n"
        );
        check(&text);
    }
}

#[test]
fn switches_change_what_they_should() {
    let all = check(&recipe("[ablation]\ntensor_selection = false"));
    assert_eq!(all.chosen(), 30);
    let none = check(&recipe("[ablation]\ntransfer = false"));
    assert_eq!(none.chosen(), 0);
    let plain = check(&recipe("[ablation]\nability_weight = false"));
    let models = |selection: &Selection| selection.models.iter().map(|model| model.1).collect::<Vec<_>>();
    assert_eq!(models(&plain), [1.0, 0.0, 0.0]);
    assert_eq!(models(&all), [0.8, -0.2, 0.0, 0.0]);
    for (filter, parts, ranked) in [
        ("'attention'", &["q_proj", "k_proj", "v_proj", "o_proj"][..], 12),
        ("'mlp'", &["up_proj", "gate_proj", "down_proj"][..], 9),
        ("['q_proj']", &["q_proj"][..], 3),
    ] {
        let fits = |name: &&str| parts.iter().any(|part| name.contains(part));
        let after = check(&recipe(&format!("k2 = 0.5\nfilter = {filter}")));
        assert!(!names(&after).is_empty() && names(&after).iter().all(fits), "{filter}");
        let first = check(&recipe(&format!("k2 = 0.5\nrank_among = 'filtered'\nfilter = {filter}")));
        assert!(names(&first).iter().all(fits), "{filter}");
        assert_eq!(first.chosen(), (f64::from(ranked) * 0.5).round() as usize);
        assert_eq!(first.tensors.iter().filter(|tensor| tensor.rank.is_some()).count(), ranked as usize);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(5);
    let mut model = |name: &str| write(&folder.path().join(name), &made_up(&mut |_, _| noise.next()));
    let text = format!(
        "base = '{}'\nability = '{}'\nreference = '{}'\nlanguages = [{{model = '{}'}}]\n",
        model("base"),
        model("ability"),
        model("reference"),
        model("language")
    );
    let of = |threads: usize| {
        let out = folder.path().join(format!("out-{threads}"));
        let (_, selection) = run(&text, &out, threads).unwrap();
        let files = ["model.safetensors", "maet.html", "README.md", "maet.toml", "config.json"];
        (selection, files.map(|file| std::fs::read(out.join(file)).unwrap()))
    };
    assert!(of(1) == of(3));
}

/// Stops after some tensors.
struct StopAfter<'a> {
    left: AtomicUsize,
    stop: &'a AtomicBool,
    done: Mutex<MergedAmount>,
}

impl MergeProgress for StopAfter<'_> {
    fn planned(&self, _total: MergedAmount, done: MergedAmount) {
        *self.done.lock().unwrap() = done;
    }

    fn tensor(&self, _tensor: &PlannedTensor) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_transfer_that_was_stopped_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
    run(&recipe(""), &whole, 2).unwrap();
    let start = |text: &str, resume: bool, left: usize| {
        let mut job = MaetJob::plan(Recipe::parse(text).unwrap(), &locate, &PlanOptions::default()).unwrap();
        let stop = AtomicBool::new(false);
        let selection = select(&job, options(&stop, 2, false), &Silent).unwrap();
        let progress = StopAfter { left: AtomicUsize::new(left), stop: &stop, done: Mutex::default() };
        let files = FileOptions::default();
        let outcome = transfer(&mut job, &selection, &out, options(&stop, 2, resume), files, &progress);
        (outcome, progress.done.into_inner().unwrap().tensors)
    };
    assert!(matches!(start(&recipe(""), false, 11), (Err(MergeError::Interrupted), 0)));
    assert!(!out.exists());
    let (other, _) = start(&recipe("gamma = 0.3"), true, 99);
    assert!(other.unwrap_err().to_string().contains("was left by another merge"));
    let (outcome, done) = start(&recipe(""), true, 99);
    outcome.unwrap();
    assert_eq!(done, 11);
    for file in
        ["model.safetensors", "maet.html", "README.md", "maet.toml", "config.json", "mergekit_config.yml"]
    {
        assert!(std::fs::read(out.join(file)).unwrap() == std::fs::read(whole.join(file)).unwrap(), "{file}");
    }
    assert!(!folder.path().join("out.partial").exists());
}

#[test]
fn the_card_tells_the_recipe_and_the_chosen_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (_, selection) = run(&recipe("filter = ['q_proj']"), &out, 2).unwrap();
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    for line in ["filter = ['q_proj']", "| `models/a` | 0.8 | 0 |", "| `models/base` | base | base |"] {
        assert!(card.contains(line), "{line}: {card}");
    }
    assert_eq!(card.matches("\n- `").count(), selection.chosen());
    let text = report_text(&selection);
    assert_eq!(text.lines().count(), 1 + 30 + 1);
}

#[test]
fn a_selection_is_kept_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (_, selection) = run(&recipe(""), &folder.path().join("out"), 1).unwrap();
    let text = serde_json::to_string(&selection).unwrap();
    assert_eq!(serde_json::from_str::<Selection>(&text).unwrap(), selection);
    let other = recipe("alpha = 0.7");
    let mut job = MaetJob::plan(Recipe::parse(&other).unwrap(), &locate, &PlanOptions::default()).unwrap();
    let stop = AtomicBool::new(false);
    let out = folder.path().join("other");
    let outcome =
        transfer(&mut job, &selection, &out, options(&stop, 1, false), FileOptions::default(), &Silent);
    assert!(outcome.unwrap_err().to_string().contains("select again"));
}

#[test]
fn what_cannot_be_transferred() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let check = |text: &str, expected: &str| {
        let error = run(text, &out, 1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&recipe("filter = ['nothing']"), "no tensor that the recipe's filter takes");
    check(&recipe("").replace("models/c", "models/none"), "model models/none: ");
    let changed = |name: &str, change: &dyn Fn(&mut Tensors)| {
        let mut tensors = read(&fixtures().join("models/c"));
        change(&mut tensors);
        let model = write(&folder.path().join(name), &tensors);
        std::fs::copy(fixtures().join("models/c/config.json"), folder.path().join(name).join("config.json"))
            .unwrap();
        recipe("").replace("models/c", &model)
    };
    check(&changed("nan", &|tensors| tensors[3].2[5] = f32::NAN), "numbers that are not finite");
    check(&changed("less", &|tensors| drop(tensors.remove(3))), "lacks model.layers.0.mlp.down_proj.weight");
    check(
        &changed("turned", &|tensors| tensors[3].1.reverse()),
        "are of different sizes and cannot be merged",
    );
}
