//! Whose evals and runs are. All inference keys read one board, but for the runs of models that a key may not use; what is on it
//! is changed by whoever put it there, and by admins.

use crate::api::error::ApiError;
use crate::api::request_log::RequestLog;
use crate::api::state::check_may_use;
use crate::store::RunRow;

/// By what the caller's key is known in the store; `None` without one.
pub fn owner(log: &RequestLog) -> Option<String> {
    log.key_identity()
}

pub fn is_admin(log: &RequestLog) -> bool {
    log.key.get().is_some_and(|held| held.key.scopes.admin)
}

pub fn may_see(log: &RequestLog, run: &RunRow) -> bool {
    check_may_use(log, &run.model).is_ok()
}

/// What was made without a key is anyone's where no key is asked for.
///
/// # Errors
/// 403 for who did not make it and is no admin.
pub fn check_may_change(
    log: &RequestLog,
    what: &str,
    id: &str,
    made_by: Option<&str>,
) -> Result<(), ApiError> {
    if is_admin(log) || owner(log).as_deref() == made_by {
        return Ok(());
    }
    let shown: String = id.chars().take(200).collect();
    Err(ApiError::forbidden(format!(
        "the {what} `{shown}` was not made with this key: its own key changes it, and an admin's"
    )))
}
