//! `/v1/evals`: evaluations, their runs, the samples of a run, and its events.

mod all_runs;
mod compare;
mod control;
mod events;
mod export;
mod items;
mod list;
mod ownership;
pub(super) mod query;
mod rescore;
mod runs;
mod shape;
mod suites;
mod table;

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
        .routes(routes!(table::get_sample_table))
        .routes(routes!(compare::compare_runs))
        .routes(routes!(export::export_run))
        .routes(routes!(rescore::rescore_run))
        .routes(routes!(all_runs::list_all_runs))
        .routes(routes!(suites::list_eval_suites))
        .routes(routes!(suites::get_eval_suite))
}
