//! Load, hang-ups, full queues and the end: nothing is lost and nothing is left behind.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use serde_json::{Value, json};

use super::server::{LONG_TOKENS, Server, completion, events, long};

const COMPLETIONS: &str = "/v1/completions";

fn one_sequence(settings: &mut xenoglot::settings::Settings, _: &mut xenoglot::api::ApiOptions) {
    settings.max_num_seqs = 1;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_frees_its_blocks() {
    let server = Server::with(one_sequence).await;
    let response = server.post(COMPLETIONS, &long(&json!({}))).send().await.unwrap();
    let mut body = response.bytes_stream();
    assert!(body.next().await.unwrap().unwrap().starts_with(b"data: "));
    // Between the end of one choice and the start of the next no block may be held for a step.
    while server.metric("kv_blocks_in_use").await == 0.0 {}
    drop(body);
    server.idle().await;
    let generated = server.metric("generation_tokens_total").await;
    assert!(generated < LONG_TOKENS, "the request was cancelled, not finished: {generated} tokens");
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let aborted = metrics.lines().find(|line| line.contains("finished_reason=\"abort\"")).unwrap();
    assert!(!aborted.ends_with(" 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unstreamed_client_that_hangs_up_frees_its_blocks_too() {
    let server = Server::with(one_sequence).await;
    let request =
        server.post(COMPLETIONS, &long(&json!({"stream": false}))).timeout(Duration::from_millis(150));
    assert!(request.send().await.is_err_and(|error| error.is_timeout()));
    server.idle().await;
    assert!(server.metric("generation_tokens_total").await < LONG_TOKENS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_429_and_the_rest_is_served() {
    let server = Server::with(|settings, options| {
        one_sequence(settings, options);
        settings.max_queue = 2;
    })
    .await;
    // One prompt: more would wait for the queue's places themselves.
    let busy = server.post(COMPLETIONS, &long(&json!({"prompt": "Hello"}))).send().await.unwrap();
    // Accepted it may still hold one of the queue's places.
    while server.metric("num_requests_running").await < 1.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let body = completion(&json!({}));
    let sent = (0..10).map(|_| server.post(COMPLETIONS, &body).send());
    let mut statuses = Vec::new();
    let answers = join_all(sent);
    let hang_up = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(busy);
    };
    for answer in futures::join!(answers, hang_up).0 {
        let answer = answer.unwrap();
        if answer.status() == 429 {
            assert_eq!(answer.headers()["retry-after"], "1");
            let error: Value = answer.json().await.unwrap();
            assert_eq!(error["error"]["type"], "rate_limit_error");
            statuses.push(429);
        } else {
            statuses.push(answer.status().as_u16());
        }
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429, 429, 429, 429, 429, 429, 429, 429]);
}

/// One list may not take the queue's last place.
#[tokio::test(flavor = "multi_thread")]
async fn others_are_served_beside_a_list_longer_than_the_queue() {
    let server = Server::with(|settings, options| {
        one_sequence(settings, options);
        settings.max_queue = 4;
    })
    .await;
    let busy = server.post(COMPLETIONS, &long(&json!({}))).send().await.unwrap();
    let other = server.post(COMPLETIONS, &completion(&json!({"max_tokens": 1}))).send();
    let hang_up = async {
        for _ in 0..100 {
            // One of the list, and the other.
            if server.metric("num_requests_waiting").await == 2.0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(busy);
    };
    assert_eq!(futures::join!(other, hang_up).0.unwrap().status(), 200);
}

/// The acceptance of the serving issue: 32 streams at once and 200 queued requests, none lost, no block left.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_streams_and_two_hundred_queued_requests_all_end() {
    let server = Server::with(|settings, _| settings.max_num_seqs = 32).await;
    let request = |i: usize| {
        let stream = i < 32;
        let body = completion(&json!({
            "prompt": format!("request {i}"), "seed": i, "max_tokens": 60, "ignore_eos": true, "stream": stream
        }));
        let sent = server.post(COMPLETIONS, &body).send();
        async move {
            let text = sent.await.unwrap().text().await.unwrap();
            if stream {
                let chunks = events(&text);
                let ends = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "length");
                assert_eq!(ends.count(), 1, "{text}");
            } else {
                let answer: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(answer["usage"]["completion_tokens"], 60, "{text}");
            }
        }
    };
    join_all((0..232).map(request)).await;
    server.idle().await;
    assert_eq!(server.metric("kv_cache_usage_perc").await, 0.0);
    assert_eq!(server.metric("generation_tokens_total").await, 232.0 * 60.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_streams_and_takes_no_more() {
    let mut server = Server::with(one_sequence).await;
    let response = server.post(COMPLETIONS, &long(&json!({"n": 1}))).send().await.unwrap();
    server.signal_stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let fresh = reqwest::Client::new().get(format!("{}/health", server.url)).send().await;
    assert!(fresh.is_err(), "the port is closed");
    let chunks = events(&response.text().await.unwrap());
    let ends = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "length").count();
    assert_eq!(ends, 8, "every choice ran to its end");
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_bounded() {
    let mut server = Server::with(|settings, options| {
        one_sequence(settings, options);
        options.drain_timeout = Duration::from_millis(100);
    })
    .await;
    let response = server.post(COMPLETIONS, &long(&json!({}))).send().await.unwrap();
    let started = Instant::now();
    server.signal_stop();
    server.ended().await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let rest = response.text().await.unwrap_or_default();
    assert!(!rest.contains("[DONE]"), "a stream that is cut off does not look whole");
}

/// More than the sockets between hold, so that the server has to wait for the client.
#[tokio::test]
async fn a_client_that_never_reads_is_let_go() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::with(|_, options| options.limits.write_timeout = Duration::from_millis(300)).await;
    let whole = server.get("/openapi.json").send().await.unwrap().bytes().await.unwrap().len();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let asked = 200;
    let requests = format!("GET /openapi.json HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(asked);
    stream.write_all(requests.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut read = Vec::new();
    // A reset and an end are alike.
    let _ = stream.read_to_end(&mut read).await;
    assert!(read.len() < asked * whole, "{} bytes came, all that was asked for", read.len());
    assert_eq!(server.get("/version").send().await.unwrap().status(), 200);
}
