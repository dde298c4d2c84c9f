//! The dashboard: the files of web/dist, which the binary carries (a debug build reads the folder), as pages of this server.
//!
//! The files are public, the data are not: a page asks the API for them with its user's key. Two routes and no others, so that
//! every other path stays the API's and its 404s JSON. Views are told apart behind the `#`, which no server sees.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::error::ApiError;

/// Scripts and styles from here alone, none of them inline; nothing may be sent elsewhere. Where browsers know trusted types, only
/// Svelte's own templates are parsed as HTML, whatever a model says (`default` is the page's, and takes the empty text alone).
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types svelte-trusted-html default";

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
    let Some(file) = Dist::get("index.html") else { return Html(NOT_BUILT).into_response() };
    let tag = etag(&file);
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag);
    let kept = [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache")), (header::ETAG, tag)];
    if is_known {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, Html(file.data)).into_response()
}

/// Kept for ever: a name has the hash of its content.
pub async fn asset(
    method: Method,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = content_type(&name).and_then(|kind| Some((kind, stored(&name, takes_gzip(&headers))?)));
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
fn stored(name: &str, packed: bool) -> Option<(EmbeddedFile, bool)> {
    let plain = format!("assets/{name}");
    let gzip = packed.then(|| Dist::get(&format!("{plain}.gz"))).flatten();
    gzip.map(|file| (file, true)).or_else(|| Some((Dist::get(&plain)?, false)))
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

fn etag(file: &EmbeddedFile) -> HeaderValue {
    let hash = file.metadata.sha256_hash();
    let start = hash.first_chunk().copied().map_or(0, u128::from_be_bytes);
    HeaderValue::from_str(&format!("\"{start:032x}\"")).expect("hexadecimal digits are plain")
}

#[cfg(test)]
mod tests {
    use super::*;

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
