//! Host names in settings and in the scopes of keys.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use url::Host;

/// The reason why a text is rejected as a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("expected a host name such as login.example.org, without a scheme and without a port")]
    NotAHost,
    #[error(
        "each part of a host name between two dots must have 1 to 63 characters and no hyphen at its start or end, and \
         the whole name at most 253 characters"
    )]
    BadName,
    #[error("host names are compared literally: list each name instead of `*`")]
    Pattern,
}

/// Parses a host name or an address.
///
/// [`Host::parse`] alone accepts names that no client can look up, such as `a..b`, because URLs may contain them.
pub fn parse_host(text: &str) -> Result<Host, HostError> {
    let host = Host::parse(text);
    if host.is_ok() && text.contains('*') {
        return Err(HostError::Pattern);
    }
    match host {
        Ok(Host::Domain(name)) => {
            check_name(&name)?;
            Ok(Host::Domain(name))
        }
        Ok(address) => Ok(address),
        Err(_) if text.split('.').any(str::is_empty) => Err(HostError::BadName),
        Err(_) => Err(HostError::NotAHost),
    }
}

/// Checks the length of a host name and its labels (RFC 1035, section 2.3.4), and their hyphens (RFC 952).
pub fn check_name(name: &str) -> Result<(), HostError> {
    Uts46::new()
        .to_ascii(
            name.as_bytes(),
            AsciiDenyList::URL,
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .map(drop)
        .map_err(|_| HostError::BadName)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name_that_can_be_looked_up() {
        for text in [
            "localhost",
            "login.example.org",
            "my_service",
            "bücher.example",
            "xn--bcher-kva.example",
            "1.2.3.4",
            "[::1]",
            "r3---sn-5.example",
        ] {
            assert!(parse_host(text).is_ok(), "{text}");
        }
        let (long_label, long_name) = ("a".repeat(64), format!("{}org", "a.".repeat(126)));
        for (text, error) in [
            ("", HostError::BadName),
            (".", HostError::BadName),
            ("a..b", HostError::BadName),
            (".a", HostError::BadName),
            ("a.", HostError::BadName),
            ("-a.example", HostError::BadName),
            ("a-.example", HostError::BadName),
            (long_label.as_str(), HostError::BadName),
            (long_name.as_str(), HostError::BadName),
            ("*.example", HostError::Pattern),
            ("a b", HostError::NotAHost),
            ("a.example:80", HostError::NotAHost),
            ("https://a.example", HostError::NotAHost),
        ] {
            assert_eq!(parse_host(text), Err(error), "{text}");
        }
    }
}
