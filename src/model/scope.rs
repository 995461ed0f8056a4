//! What a key is good for, and which keys a route accepts.

use super::KeyHolder;
use super::host::parse_host;

/// What a key is: the key of a device, or the session of a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Device(Scope),
    /// The secret of a session is accepted only from the cookie, on the routes of the account.
    Session,
    /// The session of a browser that presents its gateway cookie. Only forward-auth accepts it. The session itself has
    /// the kind [`Self::Session`], in the database and in lists.
    GatewayCookie,
}

/// What the key of a device is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything that the user may do.
    #[default]
    Full,
    /// Only forward-auth, and only for these hosts. Logins never return such a key.
    Gateway(Hosts),
}

impl Scope {
    /// Returns the name of the scope in the database and in responses.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Gateway(_) => "gateway",
        }
    }

    /// Returns the hosts that the key is limited to. `None` means that it is not limited to hosts.
    #[must_use]
    pub fn hosts(&self) -> Option<&[String]> {
        match self {
            Self::Full | Self::Gateway(Hosts(None)) => None,
            Self::Gateway(Hosts(Some(hosts))) => Some(hosts),
        }
    }
}

/// The hosts for which a gateway key is good: all of them, or the listed ones, in the form of [`url::Host`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Option<Vec<String>>);

/// The reason why a list of hosts is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    #[error("The list of hosts must not be empty. Leave it out for a key that is good for every host.")]
    Empty,
    #[error("A key may have at most {} hosts.", Hosts::MAX)]
    TooMany,
    #[error("'{0}' is not a host name. Write it without a scheme and a port, such as app.example.org.")]
    Invalid(String),
}

impl Hosts {
    /// The maximum number of hosts of a key.
    pub const MAX: usize = 20;
    /// The maximum number of characters of an invalid name that an error contains.
    const MAX_CHARS: usize = 253;

    /// Every host.
    #[must_use]
    pub fn every() -> Self {
        Self(None)
    }

    /// Checks and normalizes a list of host names and addresses.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, HostsError> {
        let mut hosts = Vec::new();
        for text in texts {
            if hosts.len() == Self::MAX {
                return Err(HostsError::TooMany);
            }
            let text = text.trim();
            let host = parse_host(text).ok().map(|host| host.to_string());
            // The database separates hosts by commas.
            let host = host.filter(|host| !host.contains(','));
            let host = host.ok_or_else(|| HostsError::Invalid(text.chars().take(Self::MAX_CHARS).collect()))?;
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        if hosts.is_empty() {
            return Err(HostsError::Empty);
        }
        Ok(Self(Some(hosts)))
    }

    /// Returns the form in the database: `None` for every host, otherwise a list with commas.
    #[must_use]
    pub fn to_stored(&self) -> Option<String> {
        self.0.as_ref().map(|hosts| hosts.join(","))
    }

    /// Returns the hosts that [`Self::to_stored`] has returned.
    #[must_use]
    pub fn from_stored(text: Option<&str>) -> Self {
        Self(text.map(|text| text.split(',').map(str::to_owned).collect()))
    }

    /// Returns whether a key with these hosts is good for `host`. `None` stands for an unknown host.
    #[must_use]
    pub fn contain(&self, host: Option<&str>) -> bool {
        match &self.0 {
            None => true,
            Some(hosts) => host.is_some_and(|host| hosts.iter().any(|own| own == host)),
        }
    }
}

/// Which keys a route accepts. A key that is not accepted counts as invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Full keys of devices.
    FullKeys,
    /// Full keys, and gateway keys that are good for this host. `None` stands for an unknown host.
    GatewayKeys { host: Option<String> },
    /// Sessions.
    Sessions,
    /// Sessions whose browser presents its gateway cookie.
    GatewayCookies,
}

impl Acceptance {
    #[must_use]
    pub fn accepts(&self, holder: &KeyHolder) -> bool {
        match (self, &holder.kind) {
            (Self::FullKeys | Self::GatewayKeys { .. }, KeyKind::Device(Scope::Full))
            | (Self::Sessions, KeyKind::Session)
            | (Self::GatewayCookies, KeyKind::GatewayCookie) => true,
            (Self::GatewayKeys { host }, KeyKind::Device(Scope::Gateway(hosts))) => hosts.contain(host.as_deref()),
            (Self::FullKeys, KeyKind::Device(Scope::Gateway(_)))
            | (Self::FullKeys | Self::GatewayKeys { .. }, KeyKind::Session | KeyKind::GatewayCookie)
            | (Self::Sessions, KeyKind::Device(_) | KeyKind::GatewayCookie)
            | (Self::GatewayCookies, KeyKind::Device(_) | KeyKind::Session) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_without_scheme_and_port_in_any_case() {
        let hosts = Hosts::parse(["App.Example.ORG", "app.example.org", "[::1]", "bücher.example"]).unwrap();
        assert_eq!(
            hosts.to_stored().as_deref(),
            Some("app.example.org,[::1],xn--bcher-kva.example")
        );
        assert_eq!(Hosts::from_stored(hosts.to_stored().as_deref()), hosts);
        assert!(hosts.contain(Some("app.example.org")) && hosts.contain(Some("[::1]")));
        for other in [Some("example.org"), Some("evil-app.example.org"), Some(""), None] {
            assert!(!hosts.contain(other), "{other:?}");
        }
        assert!(Hosts::every().contain(None));
    }

    #[test]
    fn a_list_of_hosts_has_1_to_20_names() {
        assert_eq!(Hosts::parse([]), Err(HostsError::Empty));
        let names: Vec<String> = (0..21).map(|number| format!("h{number}.example")).collect();
        assert!(Hosts::parse(names[..20].iter().map(String::as_str)).is_ok());
        assert_eq!(Hosts::parse(names.iter().map(String::as_str)), Err(HostsError::TooMany));
        for text in [
            "",
            "a b",
            "https://a.example",
            "a.example:80",
            "a,b",
            "a..b",
            "-a.example",
            "*.example",
            "a\r\nSet-Cookie: x",
        ] {
            assert!(matches!(Hosts::parse([text]), Err(HostsError::Invalid(_))), "{text}");
        }
    }
}
