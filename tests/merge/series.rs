//! Several merges in one file: in order, through results that are removed or kept, gone on with, and as mergekit-multi does.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::fixtures;

/// What `xenoglot merge` says, and whether it succeeds. Paths of the file are relative to the fixtures.
fn merge(config: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
    command.current_dir(fixtures()).arg("merge").arg(config).args(arguments);
    let output = command.output().unwrap();
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.success(), told)
}

fn tensors(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

/// A folder, a file in it with these merges, and OUT beside it.
fn written(text: &str) -> (TempDir, PathBuf, PathBuf) {
    let folder = TempDir::new().unwrap();
    let [config, out] = ["merges.yaml", "out"].map(|name| folder.path().join(name));
    std::fs::write(&config, text).unwrap();
    (folder, config, out)
}

fn three() -> String {
    std::fs::read_to_string(fixtures().join("series/three.yaml")).unwrap()
}

/// The same as its merges one by one, and the results in between are gone.
#[test]
fn merges_of_a_file_are_made_in_order() {
    let (folder, config, out) = written(&three());
    let (done, told) = merge(&config, &[out.to_str().unwrap()]);
    assert!(done, "{told}");
    assert!(!folder.path().join("out.merges").exists());
    let documents: Vec<String> = three().split("---\n").map(str::to_owned).collect();
    let [first, second, last] = ["first", "second", "last"].map(|name| folder.path().join(name));
    for (text, made) in [(&documents[1], &first), (&documents[2], &second), (&documents[0], &last)] {
        let text = text.replace("nested/second", second.to_str().unwrap());
        let text = text.replace("model: first", &format!("model: {}", first.display()));
        std::fs::write(&config, text).unwrap();
        let (done, told) = merge(&config, &[made.to_str().unwrap()]);
        assert!(done, "{told}");
    }
    assert_eq!(tensors(&out), tensors(&last));
}

/// What mergekit-multi 0.1.5 makes of it, to 1e-5 of the larger of an element and the tensor's root mean square.
#[test]
fn as_mergekit_makes_them() {
    let (_folder, config, out) = written(&three());
    let (done, told) = merge(&config, &[out.to_str().unwrap()]);
    assert!(done, "{told}");
    let golden = std::fs::read(fixtures().join("series/three.safetensors")).unwrap();
    let golden = safetensors::SafeTensors::deserialize(&golden).unwrap();
    let ours = tensors(&out);
    let ours = safetensors::SafeTensors::deserialize(&ours).unwrap();
    assert_eq!(ours.names().len(), golden.names().len());
    let numbers = |file: &safetensors::SafeTensors, name: &str| -> Vec<f64> {
        let bytes = file.tensor(name).unwrap();
        bytes.data().as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
    };
    for name in golden.names() {
        let (ours, golden) = (numbers(&ours, name), numbers(&golden, name));
        let rms = (golden.iter().map(|value| value * value).sum::<f64>() / golden.len() as f64).sqrt();
        for (ours, golden) in ours.iter().zip(&golden) {
            assert!((ours - golden).abs() <= 1e-5 * golden.abs().max(rms), "{name}: {ours} {golden}");
        }
    }
}

#[test]
fn results_are_kept_and_used_again() {
    let (folder, config, out) = written(&three());
    let kept = folder.path().join("kept");
    let arguments = |out: &Path| ["-I", kept.to_str().unwrap(), out.to_str().unwrap()].map(str::to_owned);
    let run = |out: &Path| {
        let arguments = arguments(out);
        merge(&config, &arguments.each_ref().map(String::as_str))
    };
    let (done, told) = run(&out);
    assert!(done && !told.contains("from before"), "{told}");
    let again = folder.path().join("again");
    let (done, told) = run(&again);
    assert!(done && told.contains("first, by linear is there from before"), "{told}");
    assert!(told.contains("nested/second, by ties is there from before"), "{told}");
    assert_eq!(tensors(&out), tensors(&again));
    // Of another configuration they are not taken for results.
    std::fs::write(&config, three().replace("weight: 0.5}}\n---", "weight: 0.25}}\n---")).unwrap();
    let (done, told) = run(&folder.path().join("other"));
    assert!(!done && told.contains("kept/first: was not made by this merge"), "{told}");
}

#[test]
fn faults_are_told_before_anything_is_written() {
    let check = |text: &str, expected: &str| {
        let (folder, config, out) = written(text);
        let (done, told) = merge(&config, &[out.to_str().unwrap()]);
        assert!(!done && told.contains(expected), "{told}");
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "{told}");
    };
    check(
        &three().replace("{model: first,", "{model: frist,"),
        "the merges of this file are first, nested/second",
    );
    check(&three().replace("model: first\n", "model: first@v1\n"), "which has no revisions; leave");
    check(&three().replace("models/b,", "nested/second,"), "takes its own result");
    check(&three().replace("name: first\n", ""), "has no `name`");
    check(
        &three().replace("density: 0.7", "density: 7"),
        "line 18: models.0.parameters.density: 7 is not from 0 to 1",
    );
    check(&three().replace("models/a,", "models/nowhere,"), "line 11: models.0.model: models/nowhere: ");
}

#[test]
fn what_stands_in_the_way_is_left_alone() {
    let (folder, config, out) = written(&three());
    let stray = folder.path().join("out.merges");
    std::fs::create_dir(&stray).unwrap();
    std::fs::write(stray.join("mine"), "").unwrap();
    let (done, told) = merge(&config, &[out.to_str().unwrap()]);
    assert!(!done && told.contains("out.merges: is there and was not left by a merge"), "{told}");
    std::fs::remove_dir_all(&stray).unwrap();
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("mine"), "").unwrap();
    let (done, told) = merge(&config, &[out.to_str().unwrap()]);
    assert!(!done && told.contains("exists and is not an empty directory") && !stray.exists(), "{told}");
}

#[test]
fn plans_that_need_a_result_say_so() {
    let (folder, config, out) = written(&three());
    let (done, told) = merge(&config, &["--dry-run", out.to_str().unwrap()]);
    assert!(done, "{told}");
    assert!(told.contains("# first, by linear\nmodel.safetensors ("), "{told}");
    assert!(told.contains("# nested/second, by ties\nplanned when it is there: first\n"), "{told}");
    assert!(
        told.contains("# the output, by slerp\nplanned when it is there: first, nested/second\n"),
        "{told}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// What is made before a merge that fails is there for `--resume`, and made anew without.
#[test]
fn a_merge_that_fails_keeps_the_results_before_it() {
    let bad = three().replace("model: nested/second", "model: models/nowhere");
    assert_ne!(bad, three());
    for (resumes, expected) in [(true, true), (false, false)] {
        let (folder, config, out) = written(&bad);
        let (done, told) = merge(&config, &[out.to_str().unwrap()]);
        assert!(!done && told.contains("models/nowhere"), "{told}");
        assert!(told.contains("out.merges keeps the results that are made"), "{told}");
        assert!(!out.exists());
        std::fs::write(&config, three()).unwrap();
        let mut arguments = vec![out.to_str().unwrap()];
        arguments.extend(resumes.then_some("--resume"));
        let (done, told) = merge(&config, &arguments);
        assert!(done, "{told}");
        assert_eq!(told.contains("first, by linear is there from before"), expected, "{told}");
        assert!(!folder.path().join("out.merges").exists());
    }
}

#[test]
fn two_at_once_do_not_take_each_others_results() {
    let (folder, config, out) = written(&three());
    let path = folder.path().join("out.merges.lock");
    let lock = std::fs::File::create(&path).unwrap();
    lock.lock().unwrap();
    let (done, told) = merge(&config, &[out.to_str().unwrap()]);
    assert!(!done && told.contains("out.merges: is being written by another process"), "{told}");
    assert!(!out.exists() && !folder.path().join("out.merges").exists());
    drop(lock);
    let (done, told) = merge(&config, &[out.to_str().unwrap()]);
    assert!(done && !path.exists(), "{told}");
}
