//! The domains whose services share a sign-in.

use std::str::FromStr;

use url::{Host, Url};

use super::BasePath;
use crate::model::CookieDomain;

/// The page on which browsers sign in, below the base path.
const SIGN_IN: &str = "/account/sign-in";

/// A domain with guarded services, and the origin under which their users sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayDomain {
    domain: CookieDomain,
    /// The origin of this server, at the domain itself or a host below it.
    sign_in: Url,
}

/// The value of `SHOKO_AUTH_GATEWAY_DOMAINS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayDomains(Vec<GatewayDomain>);

/// The reason why domains are rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayDomainError {
    #[error("expected DOMAIN=URL such as example.org=https://login.example.org")]
    Form,
    #[error(
        "'{0}' is not a domain for a cookie: it needs at least two labels, as in example.org, and is not an address"
    )]
    Domain(String),
    #[error("the URL must be that of this server without a path, such as https://login.example.org")]
    SignIn,
    #[error("the host of the URL must be {0} or a host below it, so that it can set the cookie of that domain")]
    Elsewhere(String),
    #[error("the domains {0} and {1} overlap, so a host would belong to both")]
    Overlap(String, String),
}

impl FromStr for GatewayDomain {
    type Err = GatewayDomainError;

    fn from_str(text: &str) -> Result<Self, GatewayDomainError> {
        let (domain, url) = text.trim().split_once('=').ok_or(GatewayDomainError::Form)?;
        let domain = CookieDomain::parse(domain).ok_or_else(|| GatewayDomainError::Domain(domain.trim().to_owned()))?;
        let url = Url::parse(url.trim()).map_err(|_| GatewayDomainError::SignIn)?;
        let is_web = ["http", "https"].contains(&url.scheme());
        let has_user = !url.username().is_empty() || url.password().is_some();
        let is_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !is_web || has_user || !is_origin {
            return Err(GatewayDomainError::SignIn);
        }
        if !url.host_str().is_some_and(|host| domain.contains(host)) {
            return Err(GatewayDomainError::Elsewhere(domain.as_str().to_owned()));
        }
        let sign_in = url;
        Ok(Self { domain, sign_in })
    }
}

impl GatewayDomain {
    /// Returns the domain of the cookie.
    #[must_use]
    pub fn domain(&self) -> &CookieDomain {
        &self.domain
    }

    /// Returns whether browsers sign in over https. The cookie of the domain is then never sent without encryption.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.sign_in.scheme() == "https"
    }

    /// Returns whether the cookie of this domain is sent to a URL: to a host of the domain, and not without encryption
    /// if users sign in with it.
    #[must_use]
    pub fn reaches(&self, url: &Url) -> bool {
        let is_encrypted = url.scheme() == "https";
        let is_web = is_encrypted || (url.scheme() == "http" && !self.is_https());
        is_web && matches!(url.host(), Some(Host::Domain(host)) if self.domain.contains(host))
    }

    /// Returns the URL of the sign-in page, which returns to `target`.
    #[must_use]
    pub fn sign_in_url(&self, base_path: &BasePath, target: &Url) -> String {
        let mut url = self.sign_in.clone();
        url.set_path(&format!("{}{SIGN_IN}", base_path.as_str()));
        url.query_pairs_mut().append_pair("rd", target.as_str());
        url.into()
    }

    /// Returns the sources of a content security policy to which forms of the sign-in page may lead: browsers also
    /// check the redirect after a form.
    #[must_use]
    pub fn form_targets(&self) -> String {
        let (scheme, domain) = (self.sign_in.scheme(), self.domain.as_str());
        let encrypted = format!("https://{domain}:* https://*.{domain}:*");
        if self.is_https() {
            encrypted
        } else {
            format!("{scheme}://{domain}:* {scheme}://*.{domain}:* {encrypted}")
        }
    }
}

impl GatewayDomains {
    /// Fails if two domains overlap.
    pub fn new(list: Vec<GatewayDomain>) -> Result<Self, GatewayDomainError> {
        for (index, one) in list.iter().enumerate() {
            for other in &list[..index] {
                let (one, other) = (&one.domain, &other.domain);
                if one.contains(other.as_str()) || other.contains(one.as_str()) {
                    let [one, other] = [one, other].map(|domain| domain.as_str().to_owned());
                    return Err(GatewayDomainError::Overlap(other, one));
                }
            }
        }
        Ok(Self(list))
    }

    /// Returns the domain to which a host belongs.
    #[must_use]
    pub fn of_host(&self, host: &str) -> Option<&GatewayDomain> {
        self.0.iter().find(|domain| domain.domain.contains(host))
    }

    /// Returns the domain whose users sign in at this host.
    #[must_use]
    pub fn with_sign_in_at(&self, host: &str) -> Option<&GatewayDomain> {
        self.0.iter().find(|domain| domain.sign_in.host_str() == Some(host))
    }

    /// Returns the domains whose cookie is sent without encryption.
    pub fn unencrypted(&self) -> impl Iterator<Item = &CookieDomain> {
        self.0
            .iter()
            .filter(|domain| !domain.is_https())
            .map(|domain| &domain.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(texts: &[&str]) -> Result<GatewayDomains, GatewayDomainError> {
        let parsed: Result<Vec<GatewayDomain>, _> = texts.iter().map(|text| text.parse()).collect();
        GatewayDomains::new(parsed?)
    }

    #[test]
    fn a_domain_has_its_own_sign_in_host() {
        let list = domains(&[
            " Example.org=https://login.example.org",
            "example.net=https://example.net:8443/",
        ])
        .unwrap();
        let domain = |host: &str| list.of_host(host).map(|found| found.domain().as_str());
        assert_eq!(domain("a.b.example.org"), Some("example.org"));
        assert_eq!(domain("example.net"), Some("example.net"));
        for host in ["evilexample.org", "example.org.evil", "org", "", "example.org."] {
            assert_eq!(domain(host), None, "{host}");
        }
        assert!(list.with_sign_in_at("login.example.org").is_some());
        assert!(list.with_sign_in_at("app.example.org").is_none());
    }

    #[test]
    fn a_wrong_value_is_rejected_with_the_reason() {
        use GatewayDomainError as E;
        let error = |text: &str| text.parse::<GatewayDomain>().unwrap_err();
        assert_eq!(error("example.org"), E::Form);
        for domain in [
            "com",
            "localhost",
            ".example.org",
            "*.example.org",
            "10.0.0.1",
            "[::1]",
            "",
            "a..b",
            "a.b.",
        ] {
            let text = format!("{domain}=https://login.example.org");
            assert_eq!(error(&text), E::Domain(domain.to_owned()), "{domain}");
        }
        for url in [
            "login.example.org",
            "ftp://login.example.org",
            "https://login.example.org/x",
            "https://me@login.example.org",
            "https://login.example.org/?x",
            "",
        ] {
            assert_eq!(error(&format!("example.org={url}")), E::SignIn, "{url}");
        }
        for url in ["https://example.net", "https://evilexample.org", "https://10.0.0.1"] {
            assert_eq!(
                error(&format!("example.org={url}")),
                E::Elsewhere("example.org".to_owned()),
                "{url}"
            );
        }
    }

    #[test]
    fn domains_must_not_overlap() {
        for other in ["example.org=https://example.org", "a.example.org=https://a.example.org"] {
            let found = domains(&["example.org=https://login.example.org", other]);
            assert!(matches!(found, Err(GatewayDomainError::Overlap(..))), "{other}");
        }
    }

    #[test]
    fn the_sign_in_returns_to_the_whole_url() {
        let domain: GatewayDomain = "example.org=https://login.example.org".parse().unwrap();
        let target = "https://app.example.org/a?b=c&d=%26".parse().unwrap();
        assert_eq!(
            domain.sign_in_url(&"/auth".parse().unwrap(), &target),
            "https://login.example.org/auth/account/sign-in?rd=https%3A%2F%2Fapp.example.org%2Fa%3Fb%3Dc%26d%3D%2526"
        );
    }

    #[test]
    fn a_cookie_for_https_reaches_no_url_without_encryption() {
        let reaches = |domain: &str, url: &str| {
            let domain: GatewayDomain = domain.parse().unwrap();
            domain.reaches(&url.parse().unwrap())
        };
        let (https, http) = (
            "example.org=https://login.example.org",
            "example.org=http://login.example.org",
        );
        assert!(reaches(https, "https://app.example.org:8443/") && !reaches(https, "http://app.example.org/"));
        assert!(reaches(http, "https://app.example.org/") && reaches(http, "http://app.example.org/"));
        for url in [
            "https://example.net/",
            "https://app.example.org.evil/",
            "ftp://app.example.org/",
            "https://1.2.3.4/",
        ] {
            assert!(!reaches(http, url), "{url}");
        }
    }
}
