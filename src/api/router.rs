//! Routes, layers and fallbacks put together.
//!
//! A request passes, from outside in: log and id, panics caught, security headers, caps of its head, routing, scope and
//! limits of its key, route.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use super::auth::require_scope;
use super::error::ApiError;
use super::request_log::log_request;
use super::routes;
use super::state::AppState;
use super::web;

/// The API as a service.
pub fn router(state: AppState) -> Router {
    let (routes, api) = routes::all().split_for_parts();
    let api = describe(api);
    Router::new()
        .merge(routes)
        .route("/", get(web::index))
        .route("/assets/{name}", get(web::asset))
        .merge(SwaggerUi::new("/docs").url("/openapi.json", api))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), require_scope))
        .layer(middleware::from_fn_with_state(state.clone(), cap_head))
        .layer(middleware::from_fn(secure_headers))
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(middleware::from_fn(log_request))
        .with_state(state)
}

/// The description of every route, as committed in openapi/openapi.json.
pub fn openapi() -> utoipa::openapi::OpenApi {
    describe(routes::all().split_for_parts().1)
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Xenoglot",
        description = "An OpenAI-compatible server for language models that reason in the user's language. \
                       Unknown request fields are refused with their path in `error.param`."
    ),
    components(schemas(crate::protocol::ChatChunk, crate::protocol::responses::ResponseEvent, crate::protocol::ErrorResponse)),
    modifiers(&BearerKey)
)]
struct Description;

struct BearerKey;

impl utoipa::Modify for BearerKey {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
        // The empty requirement: a server without keys answers its own machine without one.
        let none = SecurityRequirement::default();
        let key = SecurityRequirement::new("key", Vec::<String>::new());
        api.security = Some(vec![none, key]);
    }
}

fn describe(routes: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let mut api = Description::openapi();
    api.merge(routes);
    // axum spells a rest-of-path parameter `{*model}`; OpenAPI has no word for it.
    api.paths.paths = std::mem::take(&mut api.paths.paths)
        .into_iter()
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
    name_items(&mut api);
    api
}

/// utoipa writes the item's schema out in full wherever a generic type names it: `List_Run` refers to `Run` instead.
fn name_items(api: &mut utoipa::openapi::OpenApi) {
    use utoipa::openapi::schema::{ArrayItems, Schema};
    use utoipa::openapi::{Ref, RefOr};
    let schemas = &mut api.components.get_or_insert_default().schemas;
    for (name, schema) in schemas {
        let (Some(item), RefOr::T(Schema::Object(list))) = (name.strip_prefix("List_"), schema) else {
            continue;
        };
        if let Some(RefOr::T(Schema::Array(data))) = list.properties.get_mut("data") {
            data.items = ArrayItems::RefOrSchema(Box::new(RefOr::Ref(Ref::from_schema_name(item))));
        }
    }
}

async fn no_such_path(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::no_such_path(method.as_str(), &path)
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::wrong_method(method.as_str(), &path)
}

/// What the connection's own bounds let through, which answer without a body.
async fn cap_head(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (limits, headers) = (&state.options().limits, request.headers());
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let uri_bytes = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    let refused = if headers.len() > limits.headers_max {
        Some(ApiError::too_many_headers(headers.len(), limits.headers_max))
    } else if bytes > limits.header_bytes_max {
        Some(ApiError::headers_too_large(limits.header_bytes_max))
    } else if uri_bytes > limits.uri_bytes_max {
        Some(ApiError::uri_too_long(limits.uri_bytes_max))
    } else {
        None
    };
    match refused {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the layer wants this signature")]
pub(super) fn on_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("no message"), "a handler panicked: this is a bug in the server");
    ApiError::internal("the server failed on this request; its log says why").into_response()
}

/// Answers are data: nothing may guess their type, frame them or keep them. The dashboard and the docs page alone run scripts, their own.
async fn secure_headers(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let policy = if web::is_page(path) {
        web::POLICY
    } else if path.starts_with("/docs") {
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
    } else {
        "default-src 'none'; frame-ancestors 'none'"
    };
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::super::auth::{Scope, scope_of};
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_500_with_a_json_body() {
        async fn bug() {
            panic!("a bug");
        }
        let app: Router =
            Router::new().route("/bug", axum::routing::get(bug)).layer(CatchPanicLayer::custom(on_panic));
        let request = Request::get("/bug").body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(app, request).await.unwrap();
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("server_error") && !body.contains("a bug"), "{body}");
    }

    /// A route that is added without a thought for its scope is for admins; this test makes it a decision.
    #[test]
    fn every_described_route_has_the_scope_it_should() {
        for path in openapi().paths.paths.keys() {
            let route = path.replace("{model}", "{*model}");
            let of_admins = ["/v1/admin", "/v1/merges", "/v1/batches", "/v1/files", "/v1/fine_tuning/jobs"];
            let of_trainers = [
                "/server_info",
                "/get_world_size",
                "/init_weight_transfer_engine",
                "/start_weight_update",
                "/update_weights",
                "/finish_weight_update",
                "/pause",
                "/resume",
                "/is_paused",
                "/continue_generation",
                "/v1/load_lora_adapter",
                "/v1/unload_lora_adapter",
                "/reset_prefix_cache",
            ];
            let is_of = |starts: &[&str]| starts.iter().any(|start| path.starts_with(start));
            let scope = scope_of(Some(&route));
            assert_eq!(scope == Scope::Admin, is_of(&of_admins), "{path}");
            assert_eq!(scope == Scope::Rollout, is_of(&of_trainers), "{path}");
        }
    }
}
