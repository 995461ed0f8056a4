//! The command `healthcheck`, for containers without curl.

use std::time::Duration;

use super::CliError;
use super::settings::Flags;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Requests `/health/ready` at the configured address, without a proxy. Fails if the response is not 200.
pub fn run(flags: &Flags) -> Result<(), CliError> {
    let url = format!("{}/health/ready", flags.local_url());
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .proxy(None);
    let response = ureq::Agent::new_with_config(config.build()).get(&url).call();
    match response.map(|response| response.status().as_u16()) {
        Ok(200) => Ok(()),
        Ok(status) => Err(CliError::Other(format!("{url} responded with {status}"))),
        Err(e) => Err(CliError::Other(format!("{url}: {e}"))),
    }
}
