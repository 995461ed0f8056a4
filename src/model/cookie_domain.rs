//! The domain of a cookie.

use url::Host;

/// A domain whose hosts share a cookie (RFC 6265, section 5.1.3), in the form of [`url::Host`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieDomain(String);

impl CookieDomain {
    /// Parses a name with at least two labels. Browsers accept no cookie for a single label, nor for a public suffix
    /// such as `co.uk`, which this function does not know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Ok(Host::Domain(name)) = Host::parse(text.trim()) else {
            return None;
        };
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        (name.contains('.') && name.split('.').all(is_label)).then_some(Self(name))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a host, in the form of [`url::Host`], is this domain or below it.
    #[must_use]
    pub fn contains(&self, host: &str) -> bool {
        let above = host.strip_suffix(&self.0);
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }
}
