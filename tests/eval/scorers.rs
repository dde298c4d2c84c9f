//! Suites of instructions, code, judged answers and language, end to end: from a suite's files to its records.

use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use xenoglot::eval::suite::{OpenOptions, Suite};
use xenoglot::eval::{
    Completion, Draw, EvalError, Finish, GenerationEvent, GenerationRequest, Generator, GeneratorError,
    GeneratorIdentity, Outcome, RunConfig, RunReport, SampleRecord, ScorerOptions, Silent,
};
use xenoglot::score::Reason;

use super::{config, records, run_blocking};

/// Says the same to everybody: sample i is the i-th text.
struct Says(Vec<String>);

impl Generator for Says {
    fn identity(&self) -> GeneratorIdentity {
        GeneratorIdentity {
            kind: "local".to_owned(),
            model: "says".to_owned(),
            endpoint: None,
            dtype: None,
            template_sha256: None,
            weights_sha256: None,
        }
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        async move {
            for sample in &request.samples {
                let text = self.0[*sample as usize].clone();
                let completion =
                    Completion { text, finish: Finish::Stop, tokens: Some(10), thinking_tokens: Some(0) };
                let draw = Draw { seed: request.seed, choice: *sample };
                events(GenerationEvent::Finished { sample: *sample, draw, completion });
            }
            Ok(())
        }
        .boxed()
    }
}

/// A suite of one problem, whose row holds `fields` beside `question`.
fn suite(folder: &Path, task: &str, language: &str, fields: &Value) -> Suite {
    let (home, data) = (folder.join("small"), folder.join("data/small"));
    std::fs::create_dir_all(&home).unwrap();
    std::fs::create_dir_all(&data).unwrap();
    let mut row = fields.clone();
    row["question"] = json!("Do it.");
    std::fs::write(data.join("a.jsonl"), format!("{row}\n")).unwrap();
    let answer = if fields.get("answer").is_some() { "answer = \"answer\"\n" } else { "" };
    let keep: Vec<&String> = fields.as_object().unwrap().keys().filter(|name| *name != "answer").collect();
    let manifest = format!(
        "format = 2\nname = \"small\"\nversion = \"1\"\ndescription = \"small\"\nlicence = \"MIT\"\n\
         languages = [\"{language}\"]\nprompts = \"plain\"\ntask = \"{task}\"\n\
         [data]\ndataset = \"owner/small\"\nfile = \"a.jsonl\"\n\
         [fields]\nproblem = \"question\"\n{answer}keep = {keep:?}\n"
    );
    std::fs::write(home.join("suite.toml"), manifest).unwrap();
    let options = OpenOptions { data: Some(folder.join("data")), ..OpenOptions::default() };
    Suite::open_with(home.to_str().unwrap(), &options).unwrap()
}

struct Case<'a> {
    task: &'a str,
    language: &'a str,
    fields: Value,
    says: &'a [&'a str],
    scorers: ScorerOptions,
}

impl Default for Case<'_> {
    fn default() -> Self {
        let scorers = ScorerOptions::default();
        Self { task: "language", language: "en", fields: json!({}), says: &[], scorers }
    }
}

fn run_case(case: &Case<'_>) -> Result<(RunReport, Vec<SampleRecord>), EvalError> {
    let folder = tempfile::tempdir().unwrap();
    let config = RunConfig {
        suite: suite(folder.path(), case.task, case.language, &case.fields),
        scorers: case.scorers.clone(),
        ..config(folder.path(), case.says.len().max(1) as u32)
    };
    let stop = tokio::sync::watch::channel(false).1;
    let says = Says(case.says.iter().map(|text| (*text).to_owned()).collect());
    let report = run_blocking(config, &says, &Silent, stop)?;
    Ok((report, records(&folder.path().join("run"))))
}

fn judged(records: &[SampleRecord]) -> Vec<(Outcome, Option<Reason>)> {
    records.iter().map(|record| (record.outcome, record.reason)).collect()
}

#[track_caller]
fn metric(record: &SampleRecord, name: &str, expected: f64) {
    assert_eq!(record.metrics.get(name), Some(&expected), "{name} of {record:?}");
}

#[test]
fn instructions() {
    let case = Case {
        task: "instructions",
        fields: json!({
            "instruction_id_list": ["punctuation:no_comma", "language:response_language", "startend:end_checker"],
            "kwargs": [{}, {"language": "th"}, {"end_phrase": "จบ", "num_words": null}],
        }),
        says: &[
            "<think>Well, I think so, yes</think>วันนี้อากาศดีมากครับ จบ",
            "Sure, here you are:\nวันนี้อากาศดีมากครับ จบ",
            "The weather is very good today and I am happy. จบ",
            "<think>วันนี้อากาศดีมากครับ จบ",
        ],
        ..Case::default()
    };
    let (report, records) = run_case(&case).unwrap();
    let not = (Outcome::Wrong, Some(Reason::InstructionsNotFollowed));
    let followed = (Outcome::Correct, Some(Reason::InstructionsFollowed));
    assert_eq!(judged(&records), [followed, not, not, (Outcome::Truncated, Some(Reason::UnclosedTrace))]);
    for (record, [strict, loose, think]) in
        records.iter().zip([[3.0, 3.0, 1.0], [2.0, 3.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    {
        metric(record, "instructions", 3.0);
        metric(record, "instructions_strict", strict);
        metric(record, "instructions_loose", loose);
        metric(record, "prompt_strict", f64::from(strict == 3.0));
        metric(record, "prompt_loose", f64::from(loose == 3.0));
        metric(record, "think_accuracy", think);
    }
    assert_eq!(report.run.scorer.task, "instructions");
}

#[test]
fn language_models_decide_what_language_a_response_is_in() {
    let check = |target: &str, says: &str, expected: Reason| {
        let case = Case {
            task: "instructions",
            fields: json!({"instruction_id_list": ["language:response_language"], "kwargs": [{"language": target}]}),
            says: &[says],
            ..Case::default()
        };
        assert_eq!(run_case(&case).unwrap().1[0].reason, Some(expected), "{target}: {says}");
    };
    check("es", "La respuesta correcta es la segunda opción de la lista.", Reason::InstructionsFollowed);
    check("pt", "La respuesta correcta es la segunda opción de la lista.", Reason::InstructionsNotFollowed);
    check("sw", "Jibu sahihi ni chaguo la pili katika orodha hii.", Reason::InstructionsFollowed);
    check("uk", "Правильна відповідь є другою у цьому списку.", Reason::InstructionsFollowed);
    check("ru", "Правильна відповідь є другою у цьому списку.", Reason::InstructionsNotFollowed);
    check("de", "42", Reason::InstructionsUndecided);
    let case = Case {
        task: "instructions",
        fields: json!({"instruction_id_list": ["change_case:english_capital"], "kwargs": [{}]}),
        says: &[
            "THIS ANSWER IS WRITTEN IN CAPITALS ONLY.",
            "ESTA RESPUESTA ESTÁ ESCRITA SOLO EN MAYÚSCULAS.",
        ],
        ..Case::default()
    };
    let reasons: Vec<_> = run_case(&case).unwrap().1.iter().map(|record| record.reason.unwrap()).collect();
    assert_eq!(reasons, [Reason::InstructionsFollowed, Reason::InstructionsNotFollowed]);
}

#[test]
fn language_alone() {
    let case = Case {
        language: "th",
        says: &["วันนี้อากาศดีมากครับ", "The weather is very good today.", "วันนี้อากาศดีมาก 因此 ครับ", "42"],
        ..Case::default()
    };
    let (_, records) = run_case(&case).unwrap();
    let not = Some(Reason::LanguageNotFollowed);
    assert_eq!(
        judged(&records),
        [
            (Outcome::Correct, Some(Reason::LanguageFollowed)),
            (Outcome::Wrong, not),
            (Outcome::Wrong, not),
            (Outcome::Undecided, Some(Reason::LanguageUndecidable)),
        ]
    );
    let found: Vec<_> = records.iter().map(|record| record.metrics["language_accuracy"]).collect();
    assert_eq!(found, [1.0, 0.0, 0.0, 1.0]);
}

#[test]
fn what_a_problem_lacks_is_said_before_anything_is_generated() {
    let check = |task: &str, fields: Value, expected: &str| {
        let error = run_case(&Case { task, fields, ..Case::default() }).unwrap_err().to_string();
        assert!(error.contains("problem \"1\" in en") && error.contains(expected), "{error}");
    };
    check("instructions", json!({}), "instruction_id_list must be a list");
    let kwargs = json!([{"num_words": 3, "relation": "over"}]);
    let ids = json!(["length_constraints:number_words"]);
    check("instructions", json!({"instruction_id_list": ids, "kwargs": kwargs}), "kwargs[0].relation");
    let error = run_case(&Case { task: "judge", ..Case::default() }).unwrap_err().to_string();
    assert!(error.contains("judged by a model, and none is given"), "{error}");
}

#[cfg(target_os = "linux")]
mod programs {
    use xenoglot::eval::scorers::sandbox::SandboxOptions;

    use super::*;

    fn case<'a>(fields: Value, says: &'a [&'a str]) -> Case<'a> {
        let sandbox = crate::eval::sandbox::options();
        Case {
            task: "code",
            fields,
            says,
            scorers: ScorerOptions { sandbox, ..ScorerOptions::default() },
            ..Case::default()
        }
    }

    #[test]
    fn code() {
        let tests = json!([{"input": "2 3", "output": "5"}, {"input": "1 1", "output": "2"}]);
        let fields = json!({"public_test_cases": tests});
        let right = "<think>Sum them.</think>So:\n```python\nprint(sum(map(int, input().split())))\n```";
        let wrong = "```python\nprint(5)\n```";
        let says = [
            right,
            wrong,
            "```python\nimport socket; socket.socket()\n```",
            "I cannot.",
            "<think>```python\nprint(5)",
        ];
        let (report, records) = run_case(&case(fields, &says)).unwrap();
        assert_eq!(
            judged(&records),
            [
                (Outcome::Correct, Some(Reason::TestsPassed)),
                (Outcome::Wrong, Some(Reason::OutputDiffers)),
                (Outcome::Wrong, Some(Reason::Forbidden)),
                (Outcome::NoBox, Some(Reason::NoCode)),
                (Outcome::Truncated, Some(Reason::UnclosedTrace)),
            ]
        );
        metric(&records[0], "tests_passed", 2.0);
        metric(&records[1], "tests_passed", 1.0);
        metric(&records[1], "tests", 2.0);
        let (start, end) = records[0].span.unwrap();
        assert_eq!(&records[0].completion[start..end], "print(sum(map(int, input().split())))\n");
        assert!(records[1].detail.as_deref().unwrap().contains("expected \"2\", found \"5\""));
        let scorer = &report.run.scorer;
        assert!(scorer.python.as_deref().unwrap().starts_with("3.") && scorer.limits.is_some());
    }

    #[test]
    fn what_a_problem_or_the_machine_lacks_is_said() {
        let check = |fields: Value, sandbox: SandboxOptions, expected: &str| {
            let scorers = ScorerOptions { sandbox, ..ScorerOptions::default() };
            let case = Case { task: "code", fields, scorers, ..Case::default() };
            let error = run_case(&case).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let options = crate::eval::sandbox::options;
        check(json!({"x": 1}), options(), "problem \"1\" in en cannot be judged: the problem has no tests");
        check(json!({"test_list": 3}), options(), "test_list: must be a list of strings");
        let python = Some("/nowhere/python3".into());
        check(json!({"x": 1}), SandboxOptions { python, ..options() }, "no Python that runs");
    }
}

mod judges {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use axum::Json;
    use axum::http::StatusCode;
    use axum::response::{IntoResponse, Response};
    use axum::routing::{get, post};
    use xenoglot::eval::HttpOptions;
    use xenoglot::eval::scorers::judge::{Finding, Format, JudgeOptions};

    use super::*;

    type Reply = fn(usize, &Value) -> Response;

    /// A server on a thread of its own, since runs here block theirs.
    fn serve(reply: Reply) -> (JudgeOptions, Arc<Mutex<Vec<Value>>>) {
        let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = bodies.clone();
        let chat = move |Json(body): Json<Value>| async move {
            let call = {
                let mut bodies = kept.lock().unwrap();
                bodies.push(body.clone());
                bodies.len() - 1
            };
            reply(call, &body)
        };
        let app = axum::Router::new()
            .route("/v1/models", get(|| async { Json(json!({"data": [{"id": "judge"}]})) }))
            .route("/v1/chat/completions", post(chat));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
        let mut options = JudgeOptions::new(&url, "judge");
        options.http = HttpOptions { attempts: 2, backoff: Duration::from_millis(1), ..options.http };
        (options, bodies)
    }

    fn says(content: &str) -> Response {
        let choice = json!({"message": {"content": content}, "finish_reason": "stop"});
        Json(json!({"choices": [choice]})).into_response()
    }

    fn case<'a>(options: &JudgeOptions, fields: Value, answers: &'a [&'a str]) -> Case<'a> {
        let scorers = ScorerOptions { judge: Some(options.clone()), ..ScorerOptions::default() };
        Case { task: "judge", fields, says: answers, scorers, ..Case::default() }
    }

    #[test]
    fn grades() {
        let (options, bodies) = serve(|_, body| {
            let asked = body["messages"][1]["content"].as_str().unwrap();
            let rating = if asked.contains("a good answer") { 9 } else { 3 };
            says(&json!({"explanation": "because", "rating": rating}).to_string())
        });
        let answers =
            ["<think>hm</think>This is a good answer.", "This is another answer.", "", "<think>endless"];
        let fields = json!({"reference": ["The reference."]});
        let (report, records) = run_case(&case(&options, fields, &answers)).unwrap();
        assert_eq!(
            judged(&records),
            [
                (Outcome::Correct, Some(Reason::JudgedCorrect)),
                (Outcome::Wrong, Some(Reason::JudgedWrong)),
                (Outcome::Wrong, Some(Reason::JudgedWrong)),
                (Outcome::Truncated, Some(Reason::UnclosedTrace)),
            ]
        );
        let ratings: Vec<f64> = records.iter().map(|record| record.metrics["rating"]).collect();
        assert_eq!(ratings, [9.0, 3.0, 1.0, 1.0]);
        let judge = &records[0].judge[0];
        assert_eq!((judge.finding, judge.format), (Some(Finding::Rating(9.0)), Format::JsonSchema));
        assert_eq!((judge.attempts, judge.explanation.as_str()), (1, "because"));
        assert_eq!(report.run.scorer.judge.as_deref(), Some("judge"));
        assert_eq!(report.run.scorer.rating_min, Some(7.0));
        let bodies = bodies.lock().unwrap();
        assert_eq!(bodies.len(), 2, "blank answers are not sent");
        let body = &bodies[0];
        assert_eq!(
            (&body["temperature"], &body["seed"], &body["model"]),
            (&json!(0.0), &json!(0), &json!("judge"))
        );
        assert_eq!(body["response_format"]["json_schema"]["schema"]["required"][1], "rating");
        let asked = body["messages"][1]["content"].as_str().unwrap();
        for part in ["Do it.", "The reference.", "written in English"] {
            assert!(asked.contains(part), "{asked}");
        }
        assert!(!asked.contains("hm"), "the trace is not judged: {asked}");
    }

    #[test]
    fn conversations_are_graded_turn_by_turn() {
        let (options, bodies) = serve(|_, body| {
            let asked = body["messages"][1]["content"].as_str().unwrap();
            says(&json!({"rating": if asked.contains("earlier_answer") { 6 } else { 9 }}).to_string())
        });
        let fields = json!({"turns": ["Do it.", "Do it again."], "reference": [null, "The second."]});
        let answers = ["<think>hm</think>Done.", "I say <|next turn|> myself."];
        let (_, records) = run_case(&case(&options, fields, &answers)).unwrap();
        for (record, answer) in
            records.iter().zip(["<think>hm</think>Done.", "I say <| next turn |> myself."])
        {
            assert_eq!(record.completion, format!("{answer}\n\n<|next turn|>\n\n{answer}"));
            assert_eq!(record.judge.len(), 2);
            metric(record, "rating_turn_1", 9.0);
            metric(record, "rating_turn_2", 6.0);
            metric(record, "rating", 7.5);
            assert_eq!((record.outcome, record.completion_tokens), (Outcome::Correct, Some(20)));
        }
        let second = bodies.lock().unwrap()[1]["messages"][1]["content"].as_str().unwrap().to_owned();
        let order = ["Do it.", "<earlier_answer>\nDone.", "Do it again.", "The second.", "<answer>\nDone."];
        let places: Vec<_> = order.iter().map(|part| second.find(part).expect(part)).collect();
        assert!(places.is_sorted(), "{second}");
    }

    #[test]
    fn verdicts_against_a_gold() {
        let (options, bodies) = serve(|_, body| {
            let asked = body["messages"][1]["content"].as_str().unwrap();
            let verdict = if asked.contains("It is Paris") { "correct" } else { "incorrect" };
            says(&format!("Let me see. {{\"explanation\": \"\", \"verdict\": \"{verdict}\"}}"))
        });
        let fields = json!({"answer": "Paris", "rubric": "Accept Lutetia."});
        let (_, records) = run_case(&case(&options, fields, &["It is Paris.", "It is Rome."])).unwrap();
        let outcomes: Vec<Outcome> = records.iter().map(|record| record.outcome).collect();
        assert_eq!(outcomes, [Outcome::Correct, Outcome::Wrong]);
        assert!(!records[0].metrics.contains_key("rating"));
        let asked = bodies.lock().unwrap()[0]["messages"][1]["content"].as_str().unwrap().to_owned();
        assert!(asked.contains("Accept Lutetia.") && asked.contains("<reference>\nParis\n"), "{asked}");
    }

    #[test]
    fn a_server_without_schemas_is_asked_without() {
        let (options, bodies) = serve(|_, body| {
            if body.get("response_format").is_some() {
                let error = json!({"error": {"message": "response_format is not supported", "param": null}});
                return (StatusCode::BAD_REQUEST, Json(error)).into_response();
            }
            says("My verdict: {\"rating\": 8}")
        });
        let (_, records) = run_case(&case(&options, json!({}), &["one", "two"])).unwrap();
        let formats: Vec<Format> = records.iter().map(|record| record.judge[0].format).collect();
        assert_eq!(formats, [Format::LastObject; 2]);
        assert_eq!(bodies.lock().unwrap().len(), 3, "the schema is refused once");
    }

    #[test]
    fn a_judge_without_a_verdict_decides_nothing() {
        let (options, bodies) = serve(|_, _| says("I would rather not say."));
        let (_, records) = run_case(&case(&options, json!({}), &["one"])).unwrap();
        assert_eq!(judged(&records), [(Outcome::Undecided, Some(Reason::NoVerdict))]);
        let judge = &records[0].judge[0];
        assert_eq!((judge.finding, judge.attempts), (None, 3));
        assert!(!records[0].metrics.contains_key("rating"));
        let seeds: Vec<Value> = bodies.lock().unwrap().iter().map(|body| body["seed"].clone()).collect();
        assert_eq!(seeds.len(), 3);
        assert_ne!(seeds[0], seeds[2]);
    }

    #[test]
    fn a_judge_that_fails_for_a_while_is_asked_again_and_one_that_is_gone_is_said() {
        let (options, _) = serve(|call, _| match call {
            0 => StatusCode::BAD_GATEWAY.into_response(),
            _ => says("{\"rating\": 8}"),
        });
        let (_, records) = run_case(&case(&options, json!({}), &["one"])).unwrap();
        assert_eq!(records[0].outcome, Outcome::Correct);
        let (options, _) = serve(|_, _| StatusCode::BAD_GATEWAY.into_response());
        let error = run_case(&case(&options, json!({}), &["one"])).unwrap_err().to_string();
        assert!(error.contains("scoring failed") && error.contains("502"), "{error}");
        let options = JudgeOptions {
            http: HttpOptions { attempts: 1, ..HttpOptions::new("http://127.0.0.1:9") },
            ..options
        };
        let error = run_case(&case(&options, json!({}), &["one"])).unwrap_err().to_string();
        assert!(error.contains("cannot be reached"), "{error}");
    }
}
