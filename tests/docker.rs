//! docker/: what the compose file mounts and the dashboard asks for is there. No container engine is needed, nor used.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};

use crate::api::server::{Server, completion};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker")
}

/// A YAML file's one document; scalars are strings.
fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut events = Parser::new_from_str(&text).map(|event| event.unwrap().0);
    let first = events.find(|event| !matches!(event, Event::StreamStart | Event::DocumentStart(..)));
    node(first.expect("a document"), &mut events)
}

fn node<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
    match event {
        Event::Scalar(text, ..) => Value::String(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match events.next().expect("an end") {
                    Event::SequenceEnd => return Value::Array(items),
                    item => items.push(node(item, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut entries = Map::new();
            loop {
                match events.next().expect("an end") {
                    Event::MappingEnd => return Value::Object(entries),
                    Event::Scalar(key, ..) => {
                        let value = events.next().expect("a value");
                        let old = entries.insert(key.to_string(), node(value, events));
                        assert!(old.is_none(), "{key} stands there twice");
                    }
                    other => panic!("a key is a name, not {other:?}"),
                }
            }
        }
        other => panic!("{other:?} is not looked for here"),
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().expect("a string")).collect()
}

#[test]
fn what_the_compose_file_mounts_is_there() {
    let compose = yaml(&folder().join("compose.yaml"));
    let volumes = compose["volumes"].as_object().unwrap();
    let mut mounted = 0;
    for (name, service) in compose["services"].as_object().unwrap() {
        assert!(service.get("image").is_some() != service.get("build").is_some(), "{name}");
        for mount in strings(&service["volumes"]) {
            let from = mount.split(':').next().unwrap();
            if from.starts_with('.') {
                // What is fetched or made is not committed.
                let is_made = from == "../models";
                assert!(is_made || folder().join(from).exists(), "{name} mounts {from}, which is not there");
                mounted += 1;
            } else {
                assert!(volumes.contains_key(from), "{name} mounts the volume {from}, which nobody declares");
            }
        }
        for needed in service["depends_on"].as_object().into_iter().flat_map(Map::keys) {
            assert!(compose["services"].get(needed).is_some(), "{name} depends on {needed}");
        }
        for port in strings(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port} to every network");
        }
        for secret in strings(&service["secrets"]) {
            assert!(compose["secrets"].get(secret).is_some(), "{name} has the secret {secret}");
        }
    }
    assert!(mounted >= 5, "{mounted}");
    let build = &compose["services"]["xenoglot"]["build"];
    let context = folder().join(build["context"].as_str().unwrap());
    assert!(context.join(build["dockerfile"].as_str().unwrap()).exists());
}

/// Secrets are made from examples that are committed, and are not.
#[test]
fn secrets_are_ignored_and_their_examples_work() {
    let ignored = std::fs::read_to_string(folder().join("../.gitignore")).unwrap();
    for path in ["/docker/.env", "/docker/keys/keys.toml"] {
        assert!(ignored.lines().any(|line| line == path), "{path}");
    }
    assert!(xenoglot::api::read_keys(&folder().join("keys/keys.toml.example")).unwrap().is_empty());
    let compose = yaml(&folder().join("compose.yaml"));
    let xenoglot = &compose["services"]["xenoglot"];
    assert_eq!(xenoglot["environment"]["XENOGLOT_KEYS_FILE"], "/etc/xenoglot/keys.toml");
    assert!(strings(&xenoglot["volumes"]).contains(&"./keys:/etc/xenoglot:ro"));
}

/// A name that the compose file wants is one that docker/env.example gives.
#[test]
fn variables_without_a_default_are_in_the_example() {
    let compose = std::fs::read_to_string(folder().join("compose.yaml")).unwrap();
    let example = std::fs::read_to_string(folder().join("env.example")).unwrap();
    let wanted = compose.split("${").skip(1).filter_map(|rest| rest.split_once(":?")).map(|(name, _)| name);
    let wanted: BTreeSet<&str> =
        wanted.filter(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')).collect();
    assert!(wanted.len() >= 4, "{wanted:?}");
    for name in wanted {
        assert!(example.lines().any(|line| line.starts_with(&format!("{name}="))), "{name}");
    }
}

/// The image sets options by their variables, and the server stumbles over none of them.
#[test]
fn variables_of_the_image_and_the_compose_file_are_options() {
    let known: BTreeSet<String> =
        xenoglot::settings::KEYS
            .iter()
            .map(|(key, given)| {
                if given.is_empty() {
                    format!("XENOGLOT_{}", key.to_uppercase())
                } else {
                    (*given).to_owned()
                }
            })
            .collect();
    let image = std::fs::read_to_string(folder().join("Dockerfile")).unwrap();
    let of_image =
        image.split([' ', '\n']).filter_map(|word| word.split_once('=')).map(|(name, _)| name.to_owned());
    let compose = yaml(&folder().join("compose.yaml"));
    let of_compose = compose["services"]["xenoglot"]["environment"].as_object().unwrap().keys().cloned();
    // An argument of the build.
    let is_option = |name: &String| name.starts_with("XENOGLOT_") && name != "XENOGLOT_COMMIT";
    let set: Vec<String> = of_image.chain(of_compose).filter(is_option).collect();
    assert!(set.len() >= 8, "{set:?}");
    for name in set {
        assert!(known.contains(&name), "{name} is no option");
    }
}

#[test]
fn what_grafana_and_prometheus_read_fits_together() {
    let grafana = folder().join("grafana");
    let source = &yaml(&grafana.join("provisioning/datasources/prometheus.yaml"))["datasources"][0];
    let dashboard: Value =
        serde_json::from_slice(&std::fs::read(grafana.join("dashboards/xenoglot.json")).unwrap()).unwrap();
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], source["uid"], "{}", panel["title"]);
    }
    let compose = yaml(&folder().join("compose.yaml"));
    let provider = &yaml(&grafana.join("provisioning/dashboards/xenoglot.yaml"))["providers"][0];
    let path = provider["options"]["path"].as_str().unwrap();
    let mounts = strings(&compose["services"]["grafana"]["volumes"]);
    assert!(mounts.iter().any(|mount| mount.split(':').nth(1) == Some(path)), "{path} is not mounted");
    let scraped = &yaml(&folder().join("prometheus.yaml"))["scrape_configs"][0];
    let (host, port) = scraped["static_configs"][0]["targets"][0].as_str().unwrap().split_once(':').unwrap();
    assert!(compose["services"].get(host).is_some() && port == "8080");
    let key = scraped["authorization"]["credentials_file"].as_str().unwrap();
    let secrets = strings(&compose["services"]["prometheus"]["secrets"]);
    assert_eq!(key.strip_prefix("/run/secrets/"), Some(secrets[0]));
}

/// The names of metrics in a query.
fn metrics_of(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("xenoglot_"))
}

#[tokio::test]
async fn every_metric_of_the_dashboard_exists() {
    let path = folder().join("grafana/dashboards/xenoglot.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut queries = vec![dashboard["templating"]["list"][0]["definition"].as_str().unwrap()];
    for panel in dashboard["panels"].as_array().unwrap() {
        queries
            .extend(panel["targets"].as_array().into_iter().flatten().map(|t| t["expr"].as_str().unwrap()));
    }
    let asked: BTreeSet<&str> = queries.iter().flat_map(|query| metrics_of(query)).collect();
    let server = Server::with(|settings, options| {
        settings.api_keys = vec!["sk-use".to_owned()];
        *options = (&*settings).into();
    })
    .await;
    let answer =
        server.post("/v1/completions", &completion(&serde_json::json!({}))).bearer_auth("sk-use").send();
    assert_eq!(answer.await.unwrap().status(), 200);
    let text = server.get("/metrics").bearer_auth("sk-use").send().await.unwrap().text().await.unwrap();
    let there: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let missing: Vec<_> = asked.difference(&there).collect();
    assert!(missing.is_empty(), "{missing:?} are not in\n{text}");
    assert!(asked.len() > 20, "{asked:?}");
    // And no metric of the server is left unseen, but for the parts of histograms.
    let part = |name: &&&str| !name.ends_with("_sum") && !name.ends_with("_count");
    let unseen: Vec<_> = there.difference(&asked).filter(part).collect();
    assert!(unseen.is_empty(), "{unseen:?} are on no panel");
}
