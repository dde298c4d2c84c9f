//! What trainers call: facts about the server, weight updates, pauses. vLLM's routes, and SGLang's for the same.

mod control;
mod generate;
mod info;
mod sglang;
mod weights;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::state::AppState;
pub(super) use weights::trainers_path;

/// The routes of trainers with their descriptions.
pub fn all() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(info::server_info))
        .routes(routes!(info::get_world_size))
        .routes(routes!(weights::init_weight_transfer_engine))
        .routes(routes!(weights::start_weight_update))
        .routes(routes!(weights::update_weights))
        .routes(routes!(weights::finish_weight_update))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::is_paused))
        .routes(routes!(generate::generate))
        .routes(routes!(sglang::update_weights_from_disk))
        .routes(routes!(sglang::pause_generation))
        .routes(routes!(sglang::continue_generation))
}
