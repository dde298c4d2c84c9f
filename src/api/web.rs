//! The dashboard: the files of web/dist, which the binary carries (a debug build reads the folder), as pages of this server.
//!
//! The files are public, the data are not: a page asks the API for them with its user's key. Two routes and no others, so that
//! every other path stays the API's and its 404s JSON. Views are told apart behind the `#`, which no server sees.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::error::ApiError;
use super::etag;

/// Scripts and styles from here alone, none of them inline; nothing may be sent elsewhere. Where browsers know trusted types, only
/// Svelte's own templates are parsed as HTML, whatever a model says.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types svelte-trusted-html";

const ASSETS: &str = "/assets/";
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Xenoglot</title>\
     <h1>Xenoglot</h1><p>The server runs. This binary was built without the dashboard: run <code>make web</code>, then build \
     it again.</p><p><a href=\"/docs/\">The API</a></p>";

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

/// Whether a path is the page's or one of its files'.
pub fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with(ASSETS)
}

/// Asked for again at every visit: it names the files of this build.
pub async fn index(headers: HeaderMap) -> Response {
    index_of::<Dist>(&headers)
}

/// Kept for ever: a name has the hash of its content.
pub async fn asset(
    method: Method,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    asset_of::<Dist>(&method, &name, &headers)
}

fn index_of<Files: RustEmbed>(headers: &HeaderMap) -> Response {
    let Some(file) = Files::get("index.html") else { return Html(NOT_BUILT).into_response() };
    let tag = tag_of(&file);
    let is_known = etag::matches(headers, &tag);
    let tag = HeaderValue::from_str(&tag).expect("hexadecimal digits are plain");
    let kept = [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache")), (header::ETAG, tag)];
    if is_known {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, Html(file.data)).into_response()
}

fn asset_of<Files: RustEmbed>(
    method: &Method,
    name: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let found = content_type(name).and_then(|kind| Some((kind, stored::<Files>(name, takes_gzip(headers))?)));
    let Some((kind, (file, is_packed))) = found else {
        let shown: String = name.chars().take(200).collect();
        return Err(ApiError::no_such_path(method.as_str(), &format!("{ASSETS}{shown}")));
    };
    let mut response = file.data.into_owned().into_response();
    let mut set = |name, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, kind);
    set(header::CACHE_CONTROL, "public, max-age=31536000, immutable");
    set(header::VARY, "accept-encoding");
    if is_packed {
        set(header::CONTENT_ENCODING, "gzip");
    }
    Ok(response)
}

/// A file, packed where it may be and is.
fn stored<Files: RustEmbed>(name: &str, packed: bool) -> Option<(EmbeddedFile, bool)> {
    let plain = format!("assets/{name}");
    let gzip = packed.then(|| Files::get(&format!("{plain}.gz"))).flatten();
    gzip.map(|file| (file, true)).or_else(|| Some((Files::get(&plain)?, false)))
}

/// Of the kinds of files that a build makes; `None` for any other name, and for one that is no plain file's.
fn content_type(name: &str) -> Option<&'static str> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let (_, extension) =
        name.rsplit_once('.').filter(|(stem, _)| is_plain && !stem.is_empty() && !stem.starts_with('.'))?;
    match extension {
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        "woff2" => Some("font/woff2"),
        _ => None,
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let taken =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    taken.split(',').any(|coding| coding.trim() == "gzip")
}

fn tag_of(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let start = hash.first_chunk().copied().map_or(0, u128::from_be_bytes);
    format!("\"{start:032x}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page as a build makes one, whether one was made or not.
    #[derive(RustEmbed)]
    #[folder = "tests/fixtures/web"]
    struct Fixture;

    const SCRIPT: &str = "index-F1xtur3_.js";

    fn sent(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    async fn bytes(response: Response) -> Vec<u8> {
        axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap().to_vec()
    }

    #[tokio::test]
    async fn a_page_that_did_not_change_is_not_sent_again() {
        let first = index_of::<Fixture>(&HeaderMap::new());
        assert_eq!(
            (first.status(), &first.headers()["cache-control"]),
            (StatusCode::OK, &"no-cache".parse().unwrap())
        );
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        assert!(String::from_utf8(bytes(first).await).unwrap().contains(&format!("{ASSETS}{SCRIPT}")));
        for known in [&tag, &format!("W/{tag}"), &format!("\"other\", {tag}"), "*"] {
            let again = index_of::<Fixture>(&sent(header::IF_NONE_MATCH, known));
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(again.headers()["etag"], tag);
            assert!(bytes(again).await.is_empty());
        }
        let changed = index_of::<Fixture>(&sent(header::IF_NONE_MATCH, "\"other\""));
        assert_eq!(changed.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn files_are_kept_for_ever_and_packed_for_who_takes_it() {
        let plain = Fixture::get(&format!("assets/{SCRIPT}")).unwrap().data;
        let packed = Fixture::get(&format!("assets/{SCRIPT}.gz")).unwrap().data;
        for (accepted, expected) in [("gzip", &packed), ("br, gzip", &packed), ("br", &plain), ("", &plain)] {
            let answer =
                asset_of::<Fixture>(&Method::GET, SCRIPT, &sent(header::ACCEPT_ENCODING, accepted)).unwrap();
            let headers = answer.headers().clone();
            assert_eq!(headers["content-type"], "text/javascript; charset=utf-8");
            assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
            assert_eq!(headers["vary"], "accept-encoding");
            let is_packed = headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
            assert_eq!(is_packed, *expected == packed, "{accepted}");
            assert_eq!(bytes(answer).await, **expected, "{accepted}");
        }
        for name in ["index.html", "index-F1xtur3_.js.gz", "other.js", "../index.html"] {
            assert!(asset_of::<Fixture>(&Method::GET, name, &HeaderMap::new()).is_err(), "{name}");
        }
    }

    #[test]
    fn only_names_of_a_build_are_looked_for() {
        let check = |name: &str, expected: bool| assert_eq!(content_type(name).is_some(), expected, "{name}");
        check("index-B1_x-9.js", true);
        check("KaTeX_Main-Regular-C1.woff2", true);
        check("icon-1.svg", true);
        check("index.html", false);
        check("index-1.js.gz", false);
        check(".js", false);
        check("../index-1.js", false);
        check("..%2findex.js", false);
        check("a/b.js", false);
        check("a\\b.js", false);
        check("", false);
    }

    #[test]
    fn nothing_inline_runs() {
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("data:") && !POLICY.contains('*'));
        for rule in
            ["script-src 'self';", "style-src 'self';", "frame-ancestors 'none';", "default-src 'none';"]
        {
            assert!(POLICY.contains(rule), "{rule}");
        }
    }
}
