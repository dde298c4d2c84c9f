//! `xenoglot openapi`: the API's description, as committed in openapi/.

use std::io::Write;

use anyhow::Context;

pub(super) fn run() -> anyhow::Result<()> {
    let text = crate::api::openapi().to_pretty_json().context("writing the description")?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
