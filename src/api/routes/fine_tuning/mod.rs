//! `/v1/fine_tuning/jobs`: trainings on the server, followed as they are, and served without a restart.

mod events;
mod graders;
mod jobs;
mod logs;
mod shape;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::state::AppState;

/// The routes of trainings with their descriptions.
pub fn all() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(jobs::create_fine_tuning_job, jobs::list_fine_tuning_jobs))
        .routes(routes!(jobs::get_fine_tuning_job))
        .routes(routes!(jobs::cancel_fine_tuning_job))
        .routes(routes!(jobs::pause_fine_tuning_job))
        .routes(routes!(jobs::resume_fine_tuning_job))
        .routes(routes!(events::list_fine_tuning_events))
        .routes(routes!(events::list_fine_tuning_checkpoints))
        .routes(routes!(logs::list_fine_tuning_completions))
        .routes(routes!(logs::get_fine_tuning_metrics))
        .routes(routes!(graders::run_grader))
        .routes(routes!(graders::validate_grader))
}
