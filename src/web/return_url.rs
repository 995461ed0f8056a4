//! The guarded service to which a browser returns after signing in.

use url::Url;

use crate::settings::GatewayDomain;

/// The maximum length of a return address in bytes. It is a part of another URL, which proxies limit.
const MAX_BYTES: usize = 2000;

/// A URL of a guarded service that belongs to the domain of the sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnUrl(Url);

impl ReturnUrl {
    /// Returns the URL if every browser reads it as the URL of a host of `domain`, and `None` otherwise.
    ///
    /// Browsers ignore tabs and line breaks, take a backslash for a slash, and accept URLs without `//`. Only the form
    /// into which a parser of the URL Standard puts a URL is therefore accepted: nothing in it can be read in another
    /// way. A fragment and a user name are not accepted.
    #[must_use]
    pub fn parse(text: &str, domain: &GatewayDomain) -> Option<Self> {
        let url = Url::parse(text).ok().filter(|_| text.len() <= MAX_BYTES)?;
        let is_literal = url.as_str() == text || url.as_str().strip_suffix('/') == Some(text);
        let has_user = !url.username().is_empty() || url.password().is_some();
        let is_plain = is_literal && !has_user && url.fragment().is_none();
        (is_plain && domain.reaches(&url)).then_some(Self(url))
    }

    /// Returns the return address for a request to a guarded service. If its URL is too long, the browser returns to
    /// the root of the service.
    #[must_use]
    pub fn of(url: &Url) -> Url {
        let mut url = url.clone();
        if url.as_str().len() > MAX_BYTES {
            url.set_query(None);
            url.set_path("/");
        }
        url
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the host and, if it is not the default, the port, for people.
    #[must_use]
    pub fn service(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<String> {
        let domain = "good.example=https://login.good.example".parse().unwrap();
        ReturnUrl::parse(text, &domain).map(|url| url.as_str().to_owned())
    }

    #[test]
    fn a_url_of_the_domain_is_accepted() {
        for text in [
            "https://app.good.example/",
            "https://good.example/a/b?c=d%26&e=//x",
            "https://app.good.example:8443/%C3%BC",
        ] {
            assert_eq!(parse(text).as_deref(), Some(text));
        }
        assert_eq!(
            parse("https://app.good.example").as_deref(),
            Some("https://app.good.example/")
        );
    }

    #[test]
    fn whatever_could_lead_elsewhere_is_rejected() {
        for text in [
            "",
            "/",
            "//evil.example",
            "///evil.example",
            "\\\\evil.example",
            "/\\evil.example",
            "https:evil.example",
            "https:app.good.example",
            "https:/app.good.example/",
            "https:///app.good.example/",
            "https:\\\\app.good.example/",
            "https://app.good.example\\@evil.example/",
            "https://evil.example\\.good.example/",
            "https://good.example.evil/",
            "https://evilgood.example/",
            "https://good.example@evil.example/",
            "https://evil@good.example/",
            "https://:@good.example/",
            "https://evil.example/#.good.example/",
            "https://evil.example/?.good.example",
            "https://evil.example%2F.good.example/",
            "https://evil.example%00.good.example/",
            "https://evil.example%23.good.example/",
            "https%3A%2F%2Fapp.good.example%2F",
            "%68ttps://app.good.example/",
            "http://app.good.example/",
            "ftp://app.good.example/",
            "javascript:alert(1)//good.example",
            "data:text/html,good.example",
            "HTTPS://app.good.example/",
            "https://APP.good.example/",
            "https://app.good.example./",
            "https://app.good.example:443/",
            "https://app.good.example/a/../b",
            "https://app.good.example/#x",
            " https://app.good.example/",
            "https://app.good.example/ ",
            "https://app.good\t.example/",
            "https://app.good.example/\r\nSet-Cookie: a=b",
            "https://app.good.example/\0",
            "ht\ntps://app.good.example/",
            "https://ａpp.good.example/",
            "https://app。good。example/",
            "https://1.2.3.4/",
            "https://[::1]/",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(
            parse(&format!("https://app.good.example/{}", "a".repeat(MAX_BYTES))),
            None
        );
    }

    #[test]
    fn a_url_that_is_too_long_returns_to_the_root() {
        let url = Url::parse(&format!("https://app.good.example/a?{}", "a".repeat(MAX_BYTES))).unwrap();
        assert_eq!(ReturnUrl::of(&url).as_str(), "https://app.good.example/");
        let url = Url::parse("https://app.good.example/a?b").unwrap();
        assert_eq!(ReturnUrl::of(&url), url);
    }
}
