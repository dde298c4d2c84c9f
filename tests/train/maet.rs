//! `xenoglot maet run` from texts to a merged model: probes, masks, masked trainings, transfer; killed in between.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xenoglot::weights::open_weights;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/llama2");

fn prepare(folder: &Path) {
    let texts = [("math", "one and one are two "), ("web", "a sea of words "), ("sw", "bahari ya maneno ")];
    for (name, text) in texts {
        let lines: String = (1..40).map(|times| text.repeat(1 + times % 4) + "\n").collect();
        std::fs::write(folder.join(name).with_extension("txt"), lines).unwrap();
    }
    let recipe = format!(
        "base = '{MODEL}'\n\
         [[languages]]\nname = 'sw'\ntexts = 'sw.txt'\n\
         [training]\nfolder = 'maet'\nability_texts = ['math.txt']\ngeneral_texts = 'web.txt'\n\
         probe_tokens = 600\ntokens = 2000\ndensity = 0.1\n\
         hyperparameters = {{ learning_rate = 1e-3, batch_size = 2, max_length = 64, save_steps = 2 }}\n"
    );
    std::fs::write(folder.join("recipe.toml"), recipe).unwrap();
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("XENOGLOT_") {
            command.env_remove(name);
        }
    }
    command
        .args(["maet", "run", "recipe.toml", "out", "--jobs", "1"])
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn succeeds(folder: &Path) {
    let output = command(folder).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// How many elements of two models differ, and how many there are.
fn changed(a: &Path, b: &Path) -> (usize, usize) {
    let (_, a) = open_weights(a).unwrap();
    let (_, b) = open_weights(b).unwrap();
    let mut counts = (0, 0);
    for name in a.names() {
        let (a, b) = (a.tensor(&name).unwrap().to_f32().unwrap(), b.tensor(&name).unwrap().to_f32().unwrap());
        counts.0 += a.iter().zip(&*b).filter(|(a, b)| a != b).count();
        counts.1 += a.len();
    }
    counts
}

#[test]
fn texts_become_a_merged_model() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    prepare(whole.path());
    succeeds(whole.path());
    let made = |name: &str| whole.path().join("maet").join(name);
    // A probe changes nearly all weights, a masked training those of one mask, the ability's those of two.
    let share = |name: &str| {
        let (changed, all) = changed(Path::new(MODEL), &made(name).join("model"));
        changed as f64 / all as f64
    };
    assert!(share("probes/ability") > 0.5);
    for name in ["models/general", "models/sw"] {
        let share = share(name);
        assert!(share > 0.02 && share <= 0.1, "{name}: {share}");
    }
    let ability = share("models/ability");
    assert!(ability > share("models/general") && ability <= 0.2, "{ability}");
    assert!(whole.path().join("out/maet.html").is_file());

    prepare(killed.path());
    for stage in ["probes/ability/model", "models/ability/checkpoints"] {
        let mut child = command(killed.path()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while !killed.path().join("maet").join(stage).exists() {
            assert!(Instant::now() < deadline, "{stage} does not come");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    succeeds(killed.path());
    let model = |folder: &Path| std::fs::read(folder.join("out/model.safetensors")).unwrap();
    assert!(model(whole.path()) == model(killed.path()), "a killed call ends with another model");
}

/// What is missing is said before anything is trained.
#[test]
fn what_is_missing_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let says = |words: &str| {
        let output = command(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(words), "{said}");
        assert!(!folder.path().join("maet").exists(), "{said}");
    };
    std::fs::create_dir(folder.path().join("out")).unwrap();
    says("out exists");
    std::fs::remove_dir(folder.path().join("out")).unwrap();
    std::fs::remove_file(folder.path().join("sw.txt")).unwrap();
    says("sw.txt");
}

#[test]
fn what_changed_in_between_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    succeeds(folder.path());
    std::fs::remove_dir_all(folder.path().join("out")).unwrap();
    let path = folder.path().join("recipe.toml");
    let recipe = std::fs::read_to_string(&path).unwrap().replace("probe_tokens = 600", "probe_tokens = 900");
    std::fs::write(&path, recipe).unwrap();
    let output = command(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is of another training"), "{said}");
    assert!(!folder.path().join("out").exists());

    // Nor is a mask taken that was made otherwise.
    let text = std::fs::read_to_string(&path).unwrap().replace("probe_tokens = 900", "probe_tokens = 600");
    let other = text.replace("density = 0.1", "density = 0.2");
    std::fs::write(&path, &other).unwrap();
    let output = command(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("density 0.1") && said.contains("made anew"), "{said}");
    std::fs::remove_dir_all(folder.path().join("maet/masks")).unwrap();
    let output = command(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("`mask_file`"), "{said}");
    // As it was, all is there.
    std::fs::remove_dir_all(folder.path().join("maet/masks")).unwrap();
    std::fs::write(&path, &text).unwrap();
    succeeds(folder.path());
}
