//! Names, the choice of files, and a pull from a small hub on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

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
    check("o/n", &["pytorch_model.bin"], Err("it holds pytorch_model.bin"));
}

/// Answers as the hub does, with the same content for every file; counts nothing and ends with the test process.
fn hub() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(&stream.unwrap()));
        }
    });
    endpoint
}

fn answer(mut stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap().unwrap();
    let mut range = None;
    for line in lines.map(Result::unwrap).take_while(|line| !line.is_empty()) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = value.split_once('-').map(|(from, to)| (from.to_owned(), to.to_owned()));
        }
    }
    let path = request.split(' ').nth(1).unwrap();
    let body = match path {
        "/api/models/org/name/revision/main" | "/api/models/org/name" => {
            r#"{"sha": "abc", "siblings": [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}, {"rfilename": "evil.py"}]}"#
        }
        path if path.starts_with("/org/name/resolve/main/") => "0123456789",
        _ => {
            let _ =
                stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return;
        }
    };
    let (status, part, extra) = match range {
        Some((from, to)) => {
            let from: usize = from.parse().unwrap();
            let to = to.parse::<usize>().map_or(body.len(), |to| (to + 1).min(body.len()));
            let extra = format!("content-range: bytes {from}-{}/{}\r\n", to - 1, body.len());
            ("206 Partial Content", &body[from..to], extra)
        }
        None => ("200 OK", body, String::new()),
    };
    let etag = path.rsplit('/').next().unwrap();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-type: application/json\r\netag: \"{etag}\"\r\n\
         x-repo-commit: abc\r\n{extra}connection: close\r\n\r\n{part}",
        part.len()
    );
    let _ = stream.write_all(answer.as_bytes());
}

#[test]
fn a_model_is_pulled_whole() {
    let models = tempfile::tempdir().unwrap();
    let events = Mutex::new(Vec::new());
    let name = HubName::parse("org/name").unwrap();
    let path = pull_from(&hub(), &name, models.path(), &|event| events.lock().unwrap().push(event)).unwrap();
    assert_eq!(path, models.path().join("org/name"));
    for file in ["config.json", "model.safetensors"] {
        assert_eq!(std::fs::read_to_string(path.join(file)).unwrap(), "0123456789");
    }
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
    assert!(!models.path().join(".hub").exists());
    let first = PullEvent::File { name: "config.json".to_owned(), bytes: 10 };
    assert_eq!(events.lock().unwrap()[0], first);
}

#[test]
fn a_hub_out_of_reach_says_what_else_works() {
    let models = tempfile::tempdir().unwrap();
    let error = |endpoint: &str, name: &str| {
        pull_from(endpoint, &HubName::parse(name).unwrap(), models.path(), &|_| ()).unwrap_err().to_string()
    };
    let message = error("http://127.0.0.1:1", "org/name");
    assert!(message.contains("cannot be reached") && message.contains("scripts/fetch-models"), "{message}");
    let message = error(&hub(), "org/other");
    assert!(message.contains("has no model `org/other`"), "{message}");
}
