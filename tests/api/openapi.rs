//! The committed description is what the server says of itself.

use super::server::Server;

const REGENERATE: &str = "regenerate it: xenoglot openapi > openapi/openapi.json";

#[test]
fn the_committed_description_is_current() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let current = xenoglot::api::openapi().to_pretty_json().unwrap();
    // Not `assert_eq`: two whole descriptions would bury the way out.
    assert!(committed.trim_end() == current.trim_end(), "openapi/openapi.json is stale; {REGENERATE}");
}

#[tokio::test]
async fn the_description_and_its_page_are_served_offline() {
    let server = Server::start().await;
    let description: serde_json::Value =
        server.get("/openapi.json").send().await.unwrap().json().await.unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    assert!(description["paths"]["/v1/chat/completions"]["post"].is_object());
    assert!(description["paths"]["/v1/models/{model}"]["get"].is_object());
    let page = server.get("/docs/").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(
        page.contains("swagger-ui") && !page.contains("https://"),
        "the page fetches nothing from elsewhere"
    );
}
