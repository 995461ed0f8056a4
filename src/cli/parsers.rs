//! Parses arguments and the values of settings for clap.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Host;

use crate::model::{self, HostError, Name, NameError, NewName, NewNameError};

/// Parses a name for clap.
pub fn parse_name(text: &str) -> Result<Name, NameError> {
    Name::parse(text)
}

/// Parses the name of a new user for clap.
pub fn parse_new_name(text: &str) -> Result<NewName, NewNameError> {
    NewName::parse(text)
}

/// Parses the e-mail address of a new user for clap.
pub fn parse_email(text: &str) -> Result<NewName, String> {
    NewName::parse(text).map_err(|error| error.about_email())
}

/// Parses a network for clap. A single address counts as a network.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    if text.to_ascii_lowercase().starts_with("::ffff:") {
        return Err("write an IPv4-mapped IPv6 address as an IPv4 address".to_owned());
    }
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or_else(|_| address());
    network.map_err(|_| "expected an address or a network such as 10.0.0.0/8".to_owned())
}

/// Parses a host name or an address for clap. Removes the dot that may end a name, because browsers rarely send it.
pub fn parse_host(text: &str) -> Result<Host, HostError> {
    let text = text.trim();
    model::parse_host(text.strip_suffix('.').unwrap_or(text))
}
