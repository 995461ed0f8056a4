//! `healthcheck`: for a container's health check, where there is no curl.

use std::time::Duration;

use super::CliError;
use super::settings::Flags;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks `/health/ready` at the configured address. No proxy stands between a server and its own health check.
pub fn run(flags: &Flags) -> Result<(), CliError> {
    let url = format!("{}/health/ready", flags.local_url());
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .proxy(None);
    let answer = ureq::Agent::new_with_config(config.build()).get(&url).call();
    match answer.map(|answer| answer.status().as_u16()) {
        Ok(200) => Ok(()),
        Ok(status) => Err(CliError::Other(format!("{url} answers {status}"))),
        Err(e) => Err(CliError::Other(format!("{url}: {e}"))),
    }
}
