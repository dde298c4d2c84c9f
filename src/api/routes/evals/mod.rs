//! `/v1/evals`: evaluations, their runs, the samples of a run, and its events.

mod control;
mod events;
mod items;
mod list;
mod ownership;
pub(super) mod query;
mod runs;
mod shape;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::state::AppState;

/// The routes of evaluations with their descriptions.
pub fn all() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list::create_eval, list::list_evals))
        .routes(routes!(list::get_eval, list::update_eval, list::delete_eval))
        .routes(routes!(runs::create_run, runs::list_runs))
        .routes(routes!(runs::get_run, runs::delete_run, control::cancel_run))
        .routes(routes!(control::cancel_run_by_name))
        .routes(routes!(control::pause_run))
        .routes(routes!(control::resume_run))
        .routes(routes!(items::list_output_items))
        .routes(routes!(items::get_output_item))
        .routes(routes!(events::run_events))
}
