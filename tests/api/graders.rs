//! Graders tried by hand, in OpenAI's shape.

use serde_json::{Value, json};

use super::server::Server;

const RUN: &str = "/v1/fine_tuning/alpha/graders/run";
const VALIDATE: &str = "/v1/fine_tuning/alpha/graders/validate";

async fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let response = server.post(path, body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn reward() -> Value {
    json!({
        "type": "multi",
        "name": "reward",
        "graders": {
            "acc": {"type": "math_answer", "name": "accuracy", "reference": "{{ item.answer }}"},
            "short": {"type": "length", "name": "short", "max": 8, "cache": 4},
        },
        "calculate_output": "acc + 0.5*short",
    })
}

#[tokio::test]
async fn an_output_is_graded_as_a_training_would() {
    let server = Server::start().await;
    let body = json!({
        "grader": reward(), "model_sample": "so \\boxed{18}", "item": {"answer": "18"}, "completion_tokens": 6,
    });
    let (status, run) = post(&server, RUN, &body).await;
    assert_eq!(status, 200, "{run}");
    // Half of the cache is used up: -0.5, times a half.
    assert_eq!(run["reward"], 0.75);
    assert_eq!(run["sub_rewards"], json!({"acc": 1.0, "short": -0.5}));
    let metadata = &run["metadata"];
    assert_eq!((&metadata["name"], &metadata["type"]), (&json!("reward"), &json!("multi")));
    assert_eq!(metadata["reasons"]["short"], "overlong");
    assert_eq!(metadata["errors"]["details"], Value::Null);
    let one = json!({
        "grader": {"type": "string_check", "name": "s", "operation": "eq", "input": "{{ sample.finish_reason }}", "reference": "length"},
        "model_sample": "", "finish_reason": "length",
    });
    let (_, run) = post(&server, RUN, &one).await;
    assert_eq!((&run["reward"], &run["sub_rewards"]), (&json!(1.0), &json!({})));
    assert_eq!(run["metadata"]["scores"], json!({"s": 1.0}));
}

#[tokio::test]
async fn what_an_item_lacks_is_in_the_answer() {
    let server = Server::start().await;
    let body = json!({"grader": reward(), "model_sample": "18", "item": {"other": 1}});
    let (status, run) = post(&server, RUN, &body).await;
    assert_eq!((status, &run["reward"]), (200, &json!(0.0)), "{run}");
    let errors = &run["metadata"]["errors"];
    assert_eq!((&errors["invalid_variable_error"], &errors["other_error"]), (&json!(true), &json!(false)));
    assert!(errors["details"].as_str().unwrap().contains("answer"), "{errors}");
}

#[tokio::test]
async fn a_grader_that_is_none_is_told_by_its_path() {
    let server = Server::start().await;
    let mut wrong = reward();
    wrong["graders"]["acc"]["type"] = json!("math_anwser");
    let mut unknown = reward();
    unknown["calculate_output"] = json!("acc + long");
    let mut field = reward();
    field["graders"]["short"]["maximum"] = json!(3);
    for (grader, param) in [
        (wrong, "grader.graders.acc.type"),
        (unknown, "grader.calculate_output"),
        (field, "grader.graders.short.maximum"),
        (json!("x"), "grader"),
    ] {
        for path in [RUN, VALIDATE] {
            let mut body = json!({"grader": grader, "model_sample": ""});
            if path == VALIDATE {
                body.as_object_mut().unwrap().remove("model_sample");
            }
            let (status, answer) = post(&server, path, &body).await;
            assert_eq!((status, &answer["error"]["param"]), (400, &json!(param)), "{answer}");
        }
    }
    let body = json!({"grader": reward(), "model_sample": "", "finish_reason": "tool_calls"});
    let (status, answer) = post(&server, RUN, &body).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("finish_reason")));
    let (status, answer) = post(&server, VALIDATE, &json!({"grader": reward()})).await;
    assert_eq!((status, &answer["grader"]), (200, &reward()), "{answer}");
}
