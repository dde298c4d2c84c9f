//! Names, the choice of files, and a pull from a small hub on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;

#[test]
fn hub_names_are_told_from_paths() {
    let check = |text: &str, expected: Option<(&str, Option<&str>)>| {
        let parsed = HubName::parse(text);
        let parsed = parsed.as_ref().map(|name| (name.repository.as_str(), name.file.as_deref()));
        assert_eq!(parsed, expected, "{text}");
    };
    check("Qwen/Qwen3-0.6B", Some(("Qwen/Qwen3-0.6B", None)));
    check("org/name:x.Q4_0.gguf", Some(("org/name", Some("x.Q4_0.gguf"))));
    check("org/name:x.bin", None);
    check("name", None);
    check("./name", None);
    check("../name", None);
    check("a/b/c", None);
    check("org/", None);
    check("org/na me", None);
    check("org/name:../x.gguf", None);
    check("org/name@../x", None);
    check("org/name@", None);
    let revised = |text: &str| HubName::parse(text).map(|name| (name.revision.clone(), name.folder()));
    assert_eq!(revised("org/name@v1.0"), Some((Some("v1.0".to_owned()), "org/name@v1.0".to_owned())));
    assert_eq!(revised("org/name@v1:x.gguf"), Some((Some("v1".to_owned()), "org/name@v1".to_owned())));
}

#[test]
fn only_files_of_a_model_are_chosen() {
    let check = |name: &str, listed: &[&str], expected: Result<&[&str], &str>| {
        let listed: Vec<String> = listed.iter().map(|file| (*file).to_owned()).collect();
        match (choose(&HubName::parse(name).unwrap(), &listed), expected) {
            (Ok(files), Ok(expected)) => assert_eq!(files, expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    };
    check(
        "o/n",
        &[
            "README.md",
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "x.py",
            "onnx/model.onnx",
            "../config.json",
        ],
        Ok(&["config.json", "model.safetensors"]),
    );
    check(
        "o/n",
        &[
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "consolidated.safetensors",
        ],
        Ok(&[
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ]),
    );
    check("o/n", &["a.gguf"], Ok(&["a.gguf"]));
    check("o/n", &["a.gguf", "b.gguf"], Err("name one file, as in o/n:FILE.gguf"));
    check("o/n:b.gguf", &["a.gguf", "b.gguf"], Ok(&["b.gguf"]));
    check("o/n:c.gguf", &["a.gguf"], Err("has no c.gguf"));
    check(
        "o/n",
        &["config.json", "pytorch_model.bin", "training_args.bin", "tf_model.h5"],
        Ok(&["config.json", "pytorch_model.bin"]),
    );
    check(
        "o/n",
        &[
            "pytorch_model-00001-of-00002.bin",
            "pytorch_model-00002-of-00002.bin",
            "pytorch_model.bin.index.json",
        ],
        Ok(&[
            "pytorch_model.bin.index.json",
            "pytorch_model-00001-of-00002.bin",
            "pytorch_model-00002-of-00002.bin",
        ]),
    );
    check(
        "o/n",
        &["model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json"],
        Ok(&["model.safetensors"]),
    );
    check("o/n", &["training_args.bin"], Err("it holds training_args.bin"));
}

const CONTENT: &str = "0123456789";
const CONTENT_SHA256: &str = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";

/// What a hub does with a request for a file's content.
enum Conduct {
    Answers,
    /// Sends all of it, whatever part was asked for.
    IgnoresRanges,
    /// Hangs up after half of what it said it would send.
    HangsUp,
    Fails,
}

/// By file, and how many requests for content came before.
type Manners = fn(&str, usize) -> Conduct;

/// A small hub on loopback, with the same content for every file; ends with the test process.
struct Hub {
    endpoint: String,
    /// The requests for content: the file, and the byte to begin at. A range of one byte asks for a file's size.
    asked: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Hub {
    fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::default();
        let shared = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let asked = Arc::clone(&shared);
                std::thread::spawn(move || answer(&stream.unwrap(), &asked, manners));
            }
        });
        Self { endpoint, asked }
    }

    fn pull(&self, name: &str, models: &TempDir) -> Result<PathBuf, HubError> {
        pull_from(&self.endpoint, &HubName::parse(name).unwrap(), models.path(), &|_| ())
    }
}

fn polite(_: &str, _: usize) -> Conduct {
    Conduct::Answers
}

fn listing(repository: &str) -> Option<&'static str> {
    match repository {
        "org/name" | "org/twice" | "org/gated" => Some(
            r#"{"sha": "abc", "siblings": [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}, {"rfilename": "evil.py"}]}"#,
        ),
        "org/plain" | "org/hashed" | "org/wrong" => {
            Some(r#"{"sha": "abc", "siblings": [{"rfilename": "model.gguf"}]}"#)
        }
        _ => None,
    }
}

fn answer(mut stream: &TcpStream, asked: &Mutex<Vec<(String, usize)>>, manners: Manners) {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap().unwrap();
    let mut range = None;
    for line in lines.map(Result::unwrap).take_while(|line| !line.is_empty()) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = value.split_once('-').map(|(from, to)| (from.parse().unwrap(), to.parse().ok()));
        }
    }
    let mut send = |status: &str, headers: &str, body: &str| {
        let answer = format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\n\r\n{body}");
        let _ = stream.write_all(answer.as_bytes());
    };
    let refuse = "content-length: 0\r\n";
    let parts: Vec<&str> = request.split(' ').nth(1).unwrap().split('/').skip(1).collect();
    let (repository, file) = match *parts.as_slice() {
        ["api", "models", "org", "garbled", ..] => {
            return send("200 OK", "", &format!("{}not JSON", "\n".repeat(403)));
        }
        ["api", "models", organisation, name, ..] => match listing(&format!("{organisation}/{name}")) {
            Some(list) => return send("200 OK", &format!("content-length: {}\r\n", list.len()), list),
            None => return send("404 Not Found", refuse, ""),
        },
        ["org", "gated", ..] => return send("403 Forbidden", refuse, ""),
        [organisation, name, "resolve", "main", file] => (format!("{organisation}/{name}"), file),
        _ => return send("404 Not Found", refuse, ""),
    };
    let (mut from, to) = range.unwrap_or((0, None));
    let conduct = if to == Some(0) {
        Conduct::Answers
    } else {
        let mut asked = asked.lock().unwrap();
        asked.push((file.to_owned(), from));
        manners(file, asked.len() - 1)
    };
    match conduct {
        Conduct::Fails => return send("503 Service Unavailable", refuse, ""),
        _ if from >= CONTENT.len() => return send("416 Range Not Satisfiable", refuse, ""),
        Conduct::IgnoresRanges => from = 0,
        Conduct::Answers | Conduct::HangsUp => {}
    }
    let to = to.map_or(CONTENT.len(), |to: usize| (to + 1).min(CONTENT.len()));
    let tag = match repository.as_str() {
        "org/hashed" | "org/twice" => CONTENT_SHA256.to_owned(),
        "org/wrong" => "0".repeat(64),
        _ => format!("tag-of-{file}"),
    };
    let headers = format!(
        "content-length: {}\r\ncontent-range: bytes {from}-{}/{}\r\netag: \"{tag}\"\r\nx-repo-commit: abc\r\n",
        to - from,
        to - 1,
        CONTENT.len()
    );
    let sent = if matches!(conduct, Conduct::HangsUp) { from + (to - from) / 2 } else { to };
    send("206 Partial Content", &headers, &CONTENT[from..sent]);
}

fn pull_folder(models: &TempDir, name: &str) -> PathBuf {
    models.path().join(".hub").join(format!("models--org--{name}"))
}

#[test]
fn a_model_is_pulled_whole() {
    let check = |name: &str| {
        let models = tempfile::tempdir().unwrap();
        let path = Hub::start(polite).pull(name, &models).unwrap();
        assert_eq!(path, models.path().join(name));
        for file in ["config.json", "model.safetensors"] {
            assert_eq!(std::fs::read_to_string(path.join(file)).unwrap(), CONTENT);
        }
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
        assert!(!models.path().join(".hub").exists());
    };
    check("org/name");
    check("org/twice"); // files of the same content, which a hub keeps once
}

#[test]
fn progress_names_files_and_sizes() {
    let models = tempfile::tempdir().unwrap();
    let events = Mutex::new(Vec::new());
    let name = HubName::parse("org/name").unwrap();
    let hub = Hub::start(polite);
    pull_from(&hub.endpoint, &name, models.path(), &|event| events.lock().unwrap().push(event)).unwrap();
    let first = PullEvent::File { name: "config.json".to_owned(), bytes: 10 };
    assert_eq!(events.lock().unwrap()[0], first);
}

#[test]
fn what_is_installed_is_what_the_hub_has() {
    // A pull with these bytes there already asks for the content from these bytes on.
    let check = |name: &str, tag: &str, partial: &str, manners: Manners, asked: &[usize]| {
        let models = tempfile::tempdir().unwrap();
        let blobs = pull_folder(&models, name).join("blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        if !partial.is_empty() {
            std::fs::write(blobs.join(tag).with_extension("part"), partial).unwrap();
        }
        let hub = Hub::start(manners);
        let file = hub.pull(&format!("org/{name}"), &models).unwrap();
        assert_eq!(file, models.path().join("org").join(name).join("model.gguf"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), CONTENT, "{partial:?}");
        let begun: Vec<usize> = hub.asked.lock().unwrap().iter().map(|(_, from)| *from).collect();
        assert_eq!(begun, asked, "{partial:?}");
    };
    let plain = |partial: &str, manners: Manners, asked: &[usize]| {
        check("plain", "tag-of-model.gguf", partial, manners, asked);
    };
    plain("", polite, &[0]);
    plain("0123", polite, &[4]);
    plain("0123", |_, before| if before == 0 { Conduct::Fails } else { Conduct::Answers }, &[4, 4]);
    plain("0123", |_, _| Conduct::IgnoresRanges, &[4, 0]);
    plain("", |_, before| if before == 0 { Conduct::HangsUp } else { Conduct::Answers }, &[0, 5]);
    plain("0123456789", polite, &[10, 0]);
    plain("0123456789ab", polite, &[0]);
    check("hashed", CONTENT_SHA256, "0123", polite, &[4]);
    check("hashed", CONTENT_SHA256, "abcd", polite, &[4, 0]);
}

#[test]
fn a_file_of_another_sha256_is_not_installed() {
    let models = tempfile::tempdir().unwrap();
    let error = Hub::start(polite).pull("org/wrong", &models).unwrap_err().to_string();
    assert!(error.contains(&format!("its sha256 is {CONTENT_SHA256}, and the hub says 000")), "{error}");
    assert!(!models.path().join("org").exists());
    assert_eq!(
        std::fs::read_dir(pull_folder(&models, "wrong").join("blobs")).unwrap().count(),
        1,
        "its lock"
    );
}

#[test]
fn a_pull_goes_on_with_the_file_that_failed() {
    let models = tempfile::tempdir().unwrap();
    let hub =
        Hub::start(
            |file, before| {
                if file == "model.safetensors" && before < 4 { Conduct::Fails } else { Conduct::Answers }
            },
        );
    let error = hub.pull("org/name", &models).unwrap_err().to_string();
    assert!(error.contains("fetching model.safetensors of `org/name`"), "{error}");
    hub.pull("org/name", &models).unwrap();
    let asked: Vec<String> = hub.asked.lock().unwrap().iter().map(|(file, _)| file.clone()).collect();
    let model = "model.safetensors";
    assert_eq!(asked, ["config.json", model, model, model, model]);
}

#[test]
fn pulls_do_not_disturb_each_other() {
    let models = tempfile::tempdir().unwrap();
    let hub = Hub::start(polite);
    let held = PullFolder::hold(&HubName::parse("org/plain").unwrap(), models.path()).unwrap();
    let partial = pull_folder(&models, "plain").join("blobs");
    std::fs::create_dir_all(&partial).unwrap();
    hub.pull("org/name", &models).unwrap();
    assert!(partial.exists() && !pull_folder(&models, "name").exists());
    let error = hub.pull("org/plain", &models).unwrap_err().to_string();
    assert!(error.contains("`org/plain` is being pulled by another process"), "{error}");
    drop(held);
    hub.pull("org/plain", &models).unwrap();
}

#[test]
fn half_a_model_is_never_seen() {
    let models = tempfile::tempdir().unwrap();
    let blob = models.path().join("blob");
    std::fs::write(&blob, CONTENT).unwrap();
    let files = [("config.json".to_owned(), blob), ("model.gguf".to_owned(), models.path().join("absent"))];
    let staged = models.path().join(".hub/staged");
    let name = HubName::parse("org/name-0.6B").unwrap();
    place(&name, models.path(), &staged, &files).unwrap_err();
    assert!(!models.path().join("org").exists());
    // What is left of it does not get into the next one.
    std::fs::write(models.path().join("absent"), CONTENT).unwrap();
    place(&name, models.path(), &staged, &files[1..]).unwrap();
    assert_eq!(std::fs::read_dir(models.path().join("org/name-0.6B")).unwrap().count(), 1);
}

#[test]
fn a_hub_that_has_not_got_it_says_what_else_works() {
    let check = |endpoint: &str, name: &str, parts: &[&str]| {
        let models = tempfile::tempdir().unwrap();
        let name = HubName::parse(name).unwrap();
        let message = pull_from(endpoint, &name, models.path(), &|_| ()).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
        assert!(!models.path().join(".hub").exists(), "there is nothing to go on from");
    };
    let hub = Hub::start(polite);
    check("http://127.0.0.1:1", "org/name", &["cannot be reached", "scripts/fetch-models"]);
    check(&hub.endpoint, "org/other", &["has no model `org/other`"]);
    check(&hub.endpoint, "org/gated", &["has no model `org/gated`", "HF_TOKEN"]);
    // No status of HTTP, though it says 404.
    check(&hub.endpoint, "org/garbled", &["cannot be reached", "line 404"]);
}
