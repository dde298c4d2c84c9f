//! Requests of batches, answered by the routes as if they had come over HTTP, without a key: whoever may make a batch may do
//! what its lines ask.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use axum::middleware;
use axum::response::Response;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use super::request_log::log_request;
use super::router::on_panic;
use super::routes;
use super::state::AppState;
use crate::jobs::LineService;

/// Bytes of an answer: 128 choices with their logprobs stay below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

pub struct Routes(Router);

impl Routes {
    /// Never to be bound to a port: nobody is asked for a key here.
    pub fn new(state: AppState) -> Self {
        let (routes, _) = routes::all().split_for_parts();
        let caught = routes.layer(CatchPanicLayer::custom(on_panic));
        Self(caught.layer(middleware::from_fn(log_request)).with_state(state))
    }
}

impl LineService for Routes {
    fn answer(&self, request_id: String, url: &str, body: Vec<u8>) -> BoxFuture<'static, (u16, Value)> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-request-id", request_id)
            .body(Body::from(body));
        let routes = self.0.clone();
        async move {
            let request = match request {
                Ok(request) => request,
                Err(error) => return failed(&format!("the request could not be made: {error}")),
            };
            match routes.oneshot(request).await {
                Ok(response) => read(response).await,
                Err(never) => match never {},
            }
        }
        .boxed()
    }
}

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    match to_bytes(response.into_body(), ANSWER_BYTES_MAX).await {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(body) => (status, body),
            Err(error) => failed(&format!("the answer is no JSON: {error}")),
        },
        Err(error) => failed(&format!("the answer could not be read: {error}")),
    }
}

fn failed(message: &str) -> (u16, Value) {
    (
        500,
        json!({"error": {"message": message, "type": "server_error", "param": null, "code": "internal_error"}}),
    )
}
