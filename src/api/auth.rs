//! Who may call what. Default-deny: a route that the table below does not name needs an admin key.
//!
//! Keys (`keys`) are kept as hashes and compared in constant time, all of them, every time. Without an inference
//! key or a keys file, callers on this machine may use the model and nobody else may; admin routes answer 403 until an
//! admin key exists. A browser page cannot ride on the open door: no CORS header is ever sent, bodies must be declared
//! as JSON (which makes browsers ask first), and a foreign `Host` (DNS rebinding) or `Origin` is refused. Nor can the world
//! behind a proxy on this machine that says so: what was forwarded is refused. A proxy that adds no header cannot be told from
//! a caller on this machine.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::admission;
use super::error::ApiError;
use super::keys::{ApiKeys, HeldKey, KeyRing};
use super::request_log::RequestLog;
use super::state::AppState;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Public,
    Inference,
    Metrics,
    /// What a trainer does to the weights and the engine.
    Rollout,
    Admin,
}

/// The routes by scope; `None` is a path without a route, whose 404 only callers with a key may read.
pub fn scope_of(route: Option<&str>) -> Scope {
    match route {
        Some(
            "/" | "/assets/{name}" // the dashboard's files; its data are behind the other routes
            | "/health"
            | "/ping"
            | "/version"
            | "/openapi.json"
            | "/docs"
            | "/docs/"
            | "/docs/{*rest}"
            | "/v1/key", // asks this module itself
        ) => Scope::Public,
        Some(
            "/v1/models"
            | "/v1/models/{*model}"
            | "/v1/completions"
            | "/v1/chat/completions"
            | "/v1/embeddings"
            | "/v1/responses"
            | "/v1/responses/{response_id}"
            | "/generate"
            | "/load"
            | "/tokenize"
            | "/v1/language"
            | "/v1/fine_tuning/alpha/graders/run"
            | "/v1/fine_tuning/alpha/graders/validate"
            | "/detokenize"
            | "/tokenizer_info"
            | "/v1/runs"
            | "/v1/eval_suites"
            | "/v1/eval_suites/{suite}"
            | "/v1/evals"
            | "/v1/evals/{eval_id}"
            | "/v1/evals/{eval_id}/runs"
            | "/v1/evals/{eval_id}/runs/{run_id}"
            | "/v1/evals/{eval_id}/runs/{run_id}/cancel"
            | "/v1/evals/{eval_id}/runs/{run_id}/pause"
            | "/v1/evals/{eval_id}/runs/{run_id}/resume"
            | "/v1/evals/{eval_id}/runs/{run_id}/events"
            | "/v1/evals/{eval_id}/runs/{run_id}/sample_table"
            | "/v1/evals/{eval_id}/runs/{run_id}/compare"
            | "/v1/evals/{eval_id}/runs/{run_id}/export"
            | "/v1/evals/{eval_id}/runs/{run_id}/rescore"
            | "/v1/evals/{eval_id}/runs/{run_id}/output_items"
            | "/v1/evals/{eval_id}/runs/{run_id}/output_items/{output_item_id}",
        )
        | None => Scope::Inference,
        Some("/metrics") => Scope::Metrics,
        Some(
            "/server_info"
            | "/get_world_size"
            | "/init_weight_transfer_engine"
            | "/start_weight_update"
            | "/update_weights"
            | "/finish_weight_update"
            | "/pause"
            | "/resume"
            | "/is_paused"
            | "/reset_prefix_cache"
            | "/v1/load_lora_adapter"
            | "/v1/unload_lora_adapter"
            | "/update_weights_from_disk"
            | "/pause_generation"
            | "/continue_generation",
        ) => Scope::Rollout,
        Some(_) => Scope::Admin,
    }
}

/// What proxies put on the requests of others.
const FORWARDED_HEADERS: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// The caller's address, put on each request by the accept loop.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

#[derive(Debug, Clone, Default)]
pub struct AuthOptions {
    pub inference: ApiKeys,
    pub admin: ApiKeys,
    /// Without one, /metrics follows the inference scope.
    pub metrics: ApiKeys,
    /// Without an admin key, callers on this machine may do what a trainer does.
    pub keyless_rollouts: bool,
    /// More keys, with limits. Once there is a file, even an empty one, nothing is open without a key.
    pub keys_file: Option<PathBuf>,
}

impl AuthOptions {
    /// The key of a caller who may do this; `None` where none is needed.
    ///
    /// # Errors
    /// 401 for a missing, wrong or expired key, 403 for one of too low a scope.
    pub fn check(
        &self,
        keys: &KeyRing,
        scope: Scope,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Option<Arc<HeldKey>>, ApiError> {
        if scope == Scope::Public {
            return Ok(None);
        }
        let presented = presented_key(headers);
        let held = presented.and_then(|key| keys.find(key));
        let now_ms = keys.clock.now_ms();
        if let Some(HeldKey { key, .. }) = held.as_deref()
            && let Some(expires) = key.expires.filter(|expires| expires.is_over(now_ms))
        {
            return Err(ApiError::unauthorized(format!("the API key `{}` expired at {expires}", key.name)));
        }
        let scopes = held.as_deref().map(|held| held.key.scopes).unwrap_or_default();
        let (has_file, has_admin) = (self.keys_file.is_some(), keys.has_admin());
        let keyless = || Self::check_keyless(headers, peer).map(|()| None);
        match scope {
            Scope::Rollout if !has_admin && self.keyless_rollouts && !has_file => keyless(),
            Scope::Rollout if !has_admin => Err(ApiError::forbidden(
                "this route is off: start the server with --admin-key, or on a loopback address with --rollout-backend",
            )),
            Scope::Admin if !has_admin => Err(ApiError::forbidden(
                "admin routes are off: start the server with --admin-key to use them",
            )),
            _ if scopes.admin => Ok(held),
            Scope::Admin | Scope::Rollout if held.is_some() => {
                Err(ApiError::forbidden("this key is not an admin key"))
            }
            Scope::Metrics if scopes.metrics => Ok(held),
            Scope::Inference | Scope::Metrics if scopes.inference => Ok(held),
            Scope::Inference if scopes.metrics => {
                Err(ApiError::forbidden("this key reads metrics and nothing else"))
            }
            Scope::Inference if self.inference.is_empty() && !has_file => keyless(),
            Scope::Metrics if self.inference.is_empty() && self.metrics.is_empty() && !has_file => keyless(),
            _ => Err(ApiError::unauthorized(match presented {
                None => "an API key is needed: send the header `Authorization: Bearer KEY`",
                Some(_) => "the API key is wrong",
            })),
        }
    }

    /// Whether a caller of a public route is told of a model: with a valid key that may use it, or where no key is asked for.
    pub fn may_know(&self, keys: &KeyRing, headers: &HeaderMap, model: &str) -> bool {
        if self.inference.is_empty() && self.keys_file.is_none() {
            return true;
        }
        presented_key(headers).and_then(|key| keys.find(key)).is_some_and(|held| {
            let is_over = held.key.expires.is_some_and(|expires| expires.is_over(keys.clock.now_ms()));
            let models = held.key.models.as_ref();
            !is_over && models.is_none_or(|models| models.iter().any(|allowed| allowed == model))
        })
    }

    /// No key is configured: this machine only.
    fn check_keyless(headers: &HeaderMap, peer: Option<IpAddr>) -> Result<(), ApiError> {
        if !peer.is_some_and(|address| address.to_canonical().is_loopback()) {
            return Err(ApiError::unauthorized(
                "this server has no API key and answers its own machine only: start it with --api-key",
            ));
        }
        if !headers.get(header::HOST).is_none_or(|host| host.to_str().is_ok_and(is_local_host)) {
            return Err(ApiError::forbidden(
                "this server has no API key and answers to `localhost` and addresses, not to host names: \
                 start it with --api-key",
            ));
        }
        if headers.get(header::ORIGIN).is_some_and(|origin| !origin.to_str().is_ok_and(is_local_origin)) {
            return Err(ApiError::forbidden(
                "this server has no API key and takes no requests from other sites' pages: start it with --api-key",
            ));
        }
        if FORWARDED_HEADERS.iter().any(|name| headers.contains_key(*name)) {
            return Err(ApiError::forbidden(
                "this server has no API key and answers its own machine only, and this request was forwarded \
                 by a proxy: start it with --api-key",
            ));
        }
        Ok(())
    }
}

/// `Authorization: Bearer KEY`.
fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// A page that this machine serves: what a browser names in requests of a page, and nobody else.
fn is_local_origin(origin: &str) -> bool {
    let name = origin.split_once("://").map(|(_, host)| host_name(host));
    name.is_some_and(|name| {
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// `localhost` or an address, with or without a port.
fn is_local_host(host: &str) -> bool {
    let name = host_name(host);
    name.eq_ignore_ascii_case("localhost") || name.is_empty() || name.parse::<IpAddr>().is_ok()
}

/// Without the port and an IPv6 address's brackets.
fn host_name(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']')
}

/// The router's layer. It runs after routing, so the matched route is known and `None` means a 404.
pub async fn require_scope(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let checked = state.options().auth.check(state.keys(), scope_of(route), request.headers(), peer);
    match (checked, request.extensions().get::<Arc<RequestLog>>().cloned()) {
        (Ok(Some(held)), Some(log)) => admission::admit(held, &log, request, next).await,
        (Ok(_), _) => next.run(request).await,
        (Err(error), log) => {
            if let Some(held) = presented_key(request.headers()).and_then(|key| state.keys().find(key)) {
                held.usage.count_refused();
                if let Some(log) = log {
                    // For its line in the log.
                    let _ = log.key.set(held);
                }
            }
            error.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::super::keys::KeyHash;
    use super::*;

    /// 200, or the status of the refusal.
    fn checked(options: &AuthOptions, scope: Scope, headers: &HeaderMap, peer: &str) -> u16 {
        let keys = KeyRing::new(options, Clock::from_fn(|| 1_000_000)).unwrap();
        let found = options.check(&keys, scope, headers, Some(peer.parse().unwrap()));
        found.map_or_else(|error| error.status.as_u16(), |_| 200)
    }

    const LOOPBACK: &str = "127.0.0.1";
    const REMOTE: &str = "192.0.2.7";

    fn options() -> AuthOptions {
        AuthOptions {
            inference: ApiKeys::new([" sk-use "]),
            admin: ApiKeys::new(["sk-admin", ""]),
            ..AuthOptions::default()
        }
    }

    fn status(options: &AuthOptions, scope: Scope, key: Option<&str>, peer: &str, host: &str) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(key) = key {
            headers.insert(header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
        }
        checked(options, scope, &headers, peer)
    }

    /// Requests without a body need no declaration, so a page could send them.
    #[test]
    fn pages_of_other_sites_get_nothing_without_a_key() {
        let check = |origin: &str, expected: u16| {
            let options = AuthOptions { keyless_rollouts: true, ..AuthOptions::default() };
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:8080".parse().unwrap());
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            assert_eq!(checked(&options, Scope::Rollout, &headers, LOOPBACK), expected, "{origin}");
        };
        check("http://127.0.0.1:8080", 200);
        check("http://localhost:8080", 200);
        check("http://[::1]:8080", 200);
        check("https://example.org", 403);
        check("http://192.0.2.7:8080", 403);
        check("http://localhost.example.org", 403);
        check("null", 403);
    }

    #[test]
    fn keys_open_their_scope_and_no_other() {
        let check = |scope, key, expected| {
            assert_eq!(status(&options(), scope, key, REMOTE, "example.org"), expected, "{scope:?} {key:?}");
        };
        check(Scope::Public, None, 200);
        check(Scope::Inference, None, 401);
        check(Scope::Inference, Some("sk-use"), 200);
        check(Scope::Inference, Some("sk-us"), 401);
        check(Scope::Inference, Some(""), 401);
        check(Scope::Inference, Some("sk-admin"), 200);
        check(Scope::Metrics, None, 401);
        check(Scope::Metrics, Some("sk-use"), 200);
        check(Scope::Admin, None, 401);
        check(Scope::Admin, Some("sk-use"), 403);
        check(Scope::Admin, Some("sk-admin"), 200);
    }

    #[test]
    fn without_keys_only_this_machine_is_answered_and_admin_is_off() {
        let keyless = AuthOptions::default();
        let check = |scope, peer, host, expected| {
            assert_eq!(status(&keyless, scope, None, peer, host), expected, "{scope:?} {peer} {host}");
        };
        check(Scope::Inference, LOOPBACK, "localhost:8000", 200);
        check(Scope::Inference, "::ffff:127.0.0.1", "[::1]:8000", 200);
        check(Scope::Inference, LOOPBACK, "127.0.0.1", 200);
        check(Scope::Inference, LOOPBACK, "evil.example", 403);
        check(Scope::Inference, LOOPBACK, "evil.example:8000", 403);
        check(Scope::Inference, REMOTE, "localhost:8000", 401);
        check(Scope::Metrics, LOOPBACK, "localhost", 200);
        check(Scope::Metrics, REMOTE, "localhost", 401);
        check(Scope::Admin, LOOPBACK, "localhost", 403);
    }

    /// A proxy on this machine may write its own `Host`.
    #[test]
    fn without_keys_what_was_forwarded_is_refused() {
        let check = |options: &AuthOptions, name: &'static str, key: &str, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:8000".parse().unwrap());
            headers.insert(name, "198.51.100.7".parse().unwrap());
            headers.insert(header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
            assert_eq!(checked(options, Scope::Inference, &headers, LOOPBACK), expected, "{name} {key}");
        };
        let keyless = AuthOptions::default();
        for name in FORWARDED_HEADERS {
            check(&keyless, name, "none", 403);
            check(&options(), name, "sk-use", 200);
        }
        check(&keyless, "x-other", "none", 200);
    }

    #[test]
    fn a_metrics_key_reads_metrics_alone() {
        let options = AuthOptions { metrics: ApiKeys::new(["sk-scrape"]), ..options() };
        let check = |scope, expected| {
            assert_eq!(status(&options, scope, Some("sk-scrape"), REMOTE, "h"), expected, "{scope:?}");
        };
        check(Scope::Metrics, 200);
        check(Scope::Inference, 403);
        check(Scope::Admin, 403);
        let alone = AuthOptions { metrics: ApiKeys::new(["sk-scrape"]), ..AuthOptions::default() };
        assert_eq!(status(&alone, Scope::Metrics, None, LOOPBACK, "localhost"), 401);
    }

    #[test]
    fn a_trainer_needs_an_admin_key_or_an_open_door_on_this_machine() {
        let check = |options: &AuthOptions, key, peer, host, expected| {
            assert_eq!(status(options, Scope::Rollout, key, peer, host), expected, "{key:?} {peer} {host}");
        };
        let open = AuthOptions { keyless_rollouts: true, ..AuthOptions::default() };
        check(&AuthOptions::default(), None, LOOPBACK, "localhost", 403);
        check(&open, None, LOOPBACK, "localhost", 200);
        check(&open, None, LOOPBACK, "evil.example", 403);
        check(&open, None, REMOTE, "localhost", 401);
        assert_eq!(status(&open, Scope::Admin, None, LOOPBACK, "localhost"), 403);
        let keyed = AuthOptions { keyless_rollouts: true, ..options() };
        check(&keyed, None, LOOPBACK, "localhost", 401);
        check(&keyed, Some("sk-use"), LOOPBACK, "localhost", 403);
        check(&keyed, Some("sk-admin"), REMOTE, "h", 200);
    }

    #[test]
    fn keys_of_a_file_open_their_scopes_until_they_expire_and_close_the_open_door() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.toml");
        let with = |text: &str| {
            std::fs::write(&file, text).unwrap();
            AuthOptions { keyless_rollouts: true, keys_file: Some(file.clone()), ..AuthOptions::default() }
        };
        let entry = |key: &str, scopes: &str, more: &str| {
            format!("[{key}]\nhash = \"{}\"\nscopes = [{scopes}]\n{more}\n", KeyHash::of(key))
        };
        let check = |options: &AuthOptions, scope, key, expected| {
            assert_eq!(status(options, scope, key, LOOPBACK, "localhost"), expected, "{scope:?} {key:?}");
        };
        let empty = with("");
        for scope in [Scope::Inference, Scope::Metrics] {
            check(&empty, scope, None, 401);
        }
        check(&empty, Scope::Rollout, None, 403);
        check(&empty, Scope::Admin, None, 403);
        // The test's clock stands at 1970-01-01T00:16:40Z.
        let options = with(
            &[
                entry("use", "\"inference\"", "expires = 1970-01-01T00:16:41Z"),
                entry("old", "\"inference\"", "expires = 1970-01-01T00:16:40Z"),
                entry("scrape", "\"metrics\"", ""),
                entry("was-admin", "\"admin\"", "expires = 1970-01-01T00:00:00Z"),
            ]
            .concat(),
        );
        check(&options, Scope::Inference, Some("use"), 200);
        check(&options, Scope::Metrics, Some("use"), 200);
        check(&options, Scope::Admin, Some("use"), 403);
        check(&options, Scope::Inference, Some("old"), 401);
        check(&options, Scope::Inference, Some("scrape"), 403);
        check(&options, Scope::Metrics, Some("scrape"), 200);
        check(&options, Scope::Admin, Some("was-admin"), 401);
        check(&options, Scope::Rollout, None, 401);
        check(&options, Scope::Public, Some("old"), 200);
        check(&options, Scope::Inference, None, 401);
    }

    #[test]
    fn a_route_nobody_listed_is_for_admins() {
        assert_eq!(scope_of(Some("/v1/new_thing")), Scope::Admin);
        assert_eq!(scope_of(None), Scope::Inference);
    }
}
