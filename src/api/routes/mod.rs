//! The routes, a file a resource, and the router that knows them all.

mod admin;
mod batches;
mod chat;
mod completions;
mod embeddings;
mod evals;
mod files;
mod fine_tuning;
mod health;
mod key;
mod language;
mod lora;
mod merges;
mod models;
mod responses;
mod rollout;
mod tokenize;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::AppState;

/// Every route with its description. A new one also needs a scope in `auth::scope_of`, or only admins get in.
pub fn all() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(models::list_models))
        .routes(routes!(models::get_model))
        .routes(routes!(completions::create_completion))
        .routes(routes!(chat::create_chat_completion))
        .routes(routes!(embeddings::create_embeddings))
        .routes(routes!(responses::create_response))
        .routes(routes!(responses::get_response, responses::delete_response))
        .routes(routes!(tokenize::tokenize))
        .routes(routes!(tokenize::detokenize))
        .routes(routes!(tokenize::tokenizer_info))
        .routes(routes!(language::measure_language))
        .routes(routes!(key::get_key))
        .routes(routes!(key::list_keys))
        .routes(routes!(health::health))
        .routes(routes!(health::ping))
        .routes(routes!(health::load))
        .routes(routes!(health::version))
        .routes(routes!(health::metrics))
        .routes(routes!(admin::reset_prefix_cache))
        .routes(routes!(admin::load_model))
        .routes(routes!(admin::unload_model))
        .routes(routes!(lora::load_lora_adapter))
        .routes(routes!(lora::unload_lora_adapter))
        .routes(routes!(merges::create_merge, merges::list_merges))
        .routes(routes!(merges::plan_merge))
        .routes(routes!(merges::get_merge))
        .routes(routes!(merges::cancel_merge))
        .routes(routes!(merges::merge_events))
        .merge(batches::all())
        .merge(files::all())
        .merge(fine_tuning::all())
        .merge(evals::all())
        .merge(rollout::all())
}
