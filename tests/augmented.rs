//! MindMerger models as folders: opened, planned, loaded and served in this process.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::json;
use xenoglot::engine::{Event, Request, SamplingParams, SoftPrefix};
use xenoglot::eval::{
    ContinuationRequest, ContinuationScorer, GenerationEvent, GenerationRequest, Generator, LocalGenerator,
    Message, Sampling,
};
use xenoglot::language::Language;
use xenoglot::model::augmented::{AugmentedFolder, MappingWeights, QueryTemplate};
use xenoglot::ops::Workers;
use xenoglot::registry::{self, EngineOptions, LoadSpec, ServedModel};
use xenoglot::settings::{Dtype, Quantize, Settings};

use crate::real_weights::real_model;
use crate::weights::gguf_writer::tiny_llama;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// An encoder of the fixtures with its tokenizer, in a folder of its own.
fn encoder(style: &str, folder: &Path) {
    // Of another style, perhaps.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).unwrap();
    for entry in std::fs::read_dir(fixtures().join("encoders").join(style)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let tokenizer = fixtures().join(format!("encoders/tokenizers/{style}.tokenizer.json"));
    std::fs::copy(tokenizer, folder.join("tokenizer.json")).unwrap();
}

/// Writes a MindMerger model of a fixture encoder, the language model at `llm`, of 32 features, and a mapping of seed 7.
pub fn write(style: &str, llm: &Path, augmentation: bool, folder: &Path) {
    encoder(style, &folder.join("encoder"));
    MappingWeights::fresh(16, 32, 7).unwrap().save(&folder.join("mapping.safetensors")).unwrap();
    let model = AugmentedFolder {
        encoder: folder.join("encoder"),
        llm: llm.to_owned(),
        mapping: folder.join("mapping.safetensors"),
        augmentation,
        prompt_template: QueryTemplate::parse("prompt_template", "Q: {query} {x}\nA:").unwrap(),
        encoder_template: QueryTemplate::query_alone(),
        language_tags: [].into(),
    };
    model.save(folder).unwrap();
}

pub fn llama2() -> PathBuf {
    fixtures().join("models/llama2")
}

fn options() -> EngineOptions {
    EngineOptions::from(&Settings::default())
}

fn load(path: &Path, options: EngineOptions) -> Result<ServedModel, String> {
    let spec = LoadSpec { name: "m".to_owned(), path: path.to_owned(), options };
    registry::load(spec, &Workers::new(2)).map_err(|error| error.to_string())
}

fn greedy(model: &ServedModel, queries: &[&str], max_tokens: usize) -> Vec<Vec<u32>> {
    let prompts = model.augmented.as_ref().expect("a MindMerger model");
    let requests = queries.iter().map(|query| {
        let prompt = prompts.read(query, None, "").unwrap();
        let sampling =
            SamplingParams { temperature: 0.0, max_tokens, ignore_eos: true, ..SamplingParams::default() };
        Request {
            id: "test".to_owned(),
            prompt: prompt.ids,
            soft_prefix: Some(SoftPrefix::Text { encoder_ids: prompt.encoder_ids }),
            sampling,
            adapter: None,
            guidance: None,
            cache_salt: None,
            priority: 0,
        }
    });
    let streams: Vec<_> = requests.map(|request| model.handle.generate(request).unwrap()).collect();
    let tokens = |mut stream: xenoglot::engine::EventStream| {
        let mut tokens = Vec::new();
        while let Some(event) = stream.blocking_next() {
            match event {
                Event::Token { token, .. } => tokens.push(token),
                Event::Failed { message, .. } => panic!("{message}"),
                _ => {}
            }
        }
        tokens
    };
    streams.into_iter().map(tokens).collect()
}

const QUERIES: [&str; 3] = ["the apples", "three apples c", "りんご"];

/// Each type of weights, each kind of language model, both stages: batched as alone.
#[test]
fn folders_are_served_whatever_their_weights_are_kept_as() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = folder.path().join("llm.gguf");
    std::fs::write(&gguf, tiny_llama().bytes()).unwrap();
    let check = |style: &str, llm: &Path, augmentation: bool, options: EngineOptions| {
        let path = folder.path().join("model");
        write(style, llm, augmentation, &path);
        let shown =
            format!("{style} {} {augmentation} {} {}", llm.display(), options.dtype, options.quantize);
        let model = load(&path, options.clone()).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert!(model.template.is_none());
        let together = greedy(&model, &QUERIES, 12);
        for (query, tokens) in QUERIES.iter().zip(&together) {
            assert_eq!(greedy(&model, &[query], 12)[0], *tokens, "{shown}");
        }
        assert_ne!(together[0], together[2], "{shown}");
        let alone = load(llm, options).unwrap();
        assert!(model.weight_bytes > alone.weight_bytes, "{shown}");
        assert!(model.plan.weight_bytes > alone.plan.weight_bytes, "{shown}");
        assert!(model.plan.scratch_bytes > alone.plan.scratch_bytes, "{shown}");
    };
    for style in ["t5", "xlm_roberta", "nllb", "m2m_100"] {
        check(style, &llama2(), true, options());
    }
    check("t5", &llama2(), false, options());
    check("t5", &llama2(), true, EngineOptions { dtype: Dtype::Bf16, ..options() });
    check("xlm_roberta", &llama2(), true, EngineOptions { quantize: Quantize::Int8, ..options() });
    check("t5", &gguf, true, options());
}

#[test]
fn what_does_not_fit_together_is_told_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let check = |change: &dyn Fn(&Path), parts: &[&str]| {
        write("t5", &llama2(), true, &path);
        change(&path);
        let error = load(&path, options()).err().expect("refused");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let mapping = |from, to| {
        move |path: &Path| {
            MappingWeights::fresh(from, to, 1).unwrap().save(&path.join("mapping.safetensors")).unwrap();
        }
    };
    check(&mapping(16, 48), &["mapping.safetensors: ", "vectors of 48 features", "takes 32"]);
    check(&mapping(24, 32), &["mapping.safetensors: ", "states of 24 features", "the encoder's have 16"]);
    let no_tokenizer = |path: &Path| std::fs::remove_file(path.join("encoder/tokenizer.json")).unwrap();
    check(&no_tokenizer, &["encoder/tokenizer.json", "is missing"]);
    let json = |file: &'static str, key: &'static str, value: serde_json::Value| {
        move |path: &Path| {
            let file = path.join(file);
            let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            json[key] = value.clone();
            std::fs::write(file, json.to_string()).unwrap();
        }
    };
    check(&json("encoder/config.json", "vocab_size", json!(12)), &["/encoder: ", "13 tokens", "12 rows"]);
    check(&json("xenoglot.json", "language_tags", json!({"de": "x"})), &["`language_tags.de`"]);
    check(
        &json("xenoglot.json", "llm", json!("encoder")),
        &["encoder/config.json", "text encoder", "xenoglot.json"],
    );
    check(&json("xenoglot.json", "kind", json!("other")), &["xenoglot.json: `kind`"]);
}

#[test]
fn an_encoder_alone_is_no_model() {
    let folder = tempfile::tempdir().unwrap();
    encoder("nllb", folder.path());
    let error = load(folder.path(), options()).err().expect("refused");
    assert!(error.contains("`model_type` = \"m2m_100\"") && error.contains("as the `encoder` of"), "{error}");
}

fn generator(folder: &Path) -> LocalGenerator {
    let model = load(folder, options()).unwrap();
    LocalGenerator {
        model: model.name,
        dtype: model.dtype.to_owned(),
        handle: model.handle,
        tokenizer: model.tokenizer,
        template: model.template,
        augmented: model.augmented,
        adapter: None,
        weights_sha256: None,
    }
}

/// What a generator is asked; the last user message counts.
fn request(language: Option<Language>, question: &str) -> GenerationRequest {
    let message = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
    GenerationRequest {
        id: "p1".to_owned(),
        messages: vec![message("system", "abc"), message("user", question)],
        language,
        opening: None,
        n: 2,
        samples: vec![0, 1],
        kept: Vec::new(),
        seed: 3,
        sampling: Sampling { temperature: 1.0, max_tokens: 12, ..Sampling::default() },
    }
}

#[tokio::test]
async fn evaluations_ask_it_as_any_model() {
    let folder = tempfile::tempdir().unwrap();
    write("nllb", &llama2(), true, folder.path());
    let generator = generator(folder.path());
    assert!(generator.identity().template_sha256.is_some());
    let texts = async |language, question: &str| {
        let found = Mutex::new(Vec::new());
        let keep = |event| match event {
            GenerationEvent::Finished { sample, completion, .. } => {
                found.lock().unwrap().push((sample, completion.text));
            }
            GenerationEvent::Usage(usage) => assert!(usage.prompt_tokens > 10, "{usage:?}"),
            GenerationEvent::Tokens(_) => {}
        };
        generator.generate(&request(language, question), &keep).await.map(|()| {
            let mut found = found.into_inner().unwrap();
            found.sort();
            found
        })
    };
    let named = texts(Some(Language::Ja), "りんご").await.unwrap();
    assert_eq!(named, texts(None, "りんご").await.unwrap());
    assert_ne!(named, texts(Some(Language::Sw), "りんご").await.unwrap());
    // The vocabulary has no tag for German; digits are no language's.
    assert!(texts(Some(Language::De), "the apples").await.unwrap_err().to_string().contains("\"de\""));
    assert!(texts(None, "12").await.unwrap_err().to_string().contains("say which language"));
}

#[tokio::test]
async fn continuations_are_scored_as_answers() {
    let folder = tempfile::tempdir().unwrap();
    write("t5", &llama2(), true, folder.path());
    let generator = generator(folder.path());
    let ask = async |continuations: &[&str]| {
        let continuations = continuations.iter().map(|text| (*text).to_owned()).collect();
        let asked =
            ContinuationRequest { id: "p".to_owned(), context: "the apples".to_owned(), continuations };
        generator.score(&asked).await.unwrap()
    };
    let both = ask(&[" a", " bc"]).await;
    assert!(both.iter().all(|one| one.logprob < 0.0 && one.tokens > 0), "{both:?}");
    assert!(both[1].tokens > both[0].tokens);
    assert_eq!(both[1], ask(&[" bc"]).await[0]);
}

/// multilingual-e5-small before SmolLM2-135M, with a mapping that nobody trained.
#[test]
fn real_weights_serve_the_same_batched_and_alone() {
    use xenoglot::weights::{WrittenDtype, convert_e5s1};
    let (folder, llm) = (tempfile::tempdir().unwrap(), real_model("SmolLM2-135M-Instruct"));
    let file = real_model("multilingual-e5-small/e5-small-q4.bin");
    convert_e5s1(&file, &folder.path().join("e5"), WrittenDtype::Bf16, &mut |_| ()).unwrap();
    MappingWeights::fresh(384, 576, 5).unwrap().save(&folder.path().join("mapping.safetensors")).unwrap();
    let model = AugmentedFolder {
        encoder: folder.path().join("e5"),
        llm,
        mapping: folder.path().join("mapping.safetensors"),
        augmentation: true,
        prompt_template: QueryTemplate::parse("prompt_template", "Question: {query}\nAnswer:").unwrap(),
        encoder_template: QueryTemplate::parse("encoder_template", "query: {query}").unwrap(),
        language_tags: [].into(),
    };
    model.save(folder.path()).unwrap();
    let served = load(folder.path(), EngineOptions { max_model_len: Some(512), ..options() }).unwrap();
    let queries = [
        "りんごはいくつ残っていますか。",
        "Wie viele Äpfel hat Anna noch, wenn sie drei von sieben isst?",
        "What is the capital of France?",
    ];
    let together = greedy(&served, &queries, 24);
    assert!(together.iter().all(|tokens| tokens.len() == 24));
    for (query, tokens) in queries.iter().zip(&together) {
        assert_eq!(greedy(&served, &[query], 24)[0], *tokens, "{query}");
    }
    println!(
        "{:?}",
        together.iter().map(|ids| served.tokenizer.decode(ids, true).unwrap()).collect::<Vec<_>>()
    );
}
