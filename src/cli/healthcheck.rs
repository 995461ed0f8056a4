//! `healthcheck`: for a container's health check, where there is no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::CliError;
use crate::settings::Settings;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks `/health/ready` at the configured address; on loopback when the server listens everywhere.
pub fn run(settings: &Settings) -> Result<(), CliError> {
    let mut address = settings.listen;
    address.set_ip(reachable(address));
    let url = format!("http://{address}{}/health/ready", settings.base_path.as_str());
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false);
    let answer = ureq::Agent::new_with_config(config.build()).get(&url).call();
    match answer.map(|answer| answer.status().as_u16()) {
        Ok(200) => Ok(()),
        Ok(status) => Err(CliError::Other(format!("{url} answers {status}"))),
        Err(e) => Err(CliError::Other(format!("{url}: {e}"))),
    }
}

fn reachable(address: SocketAddr) -> IpAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
