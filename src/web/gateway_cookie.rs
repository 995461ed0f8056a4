//! The cookie with which a browser passes forward-auth, which is sent to all hosts of a domain.
//!
//! Over https, its name begins with `__Secure-`: browsers then accept it only over https (RFC 6265bis, section
//! 4.1.3.1). Any host of the domain can set a cookie of this name. A request with several of them is therefore rejected.

use actix_web::HttpRequest;
use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use actix_web::web::Data;

use super::origin::forwarded_host;
use crate::secret::token::GatewaySecret;
use crate::settings::{GatewayDomain, GatewayDomains};

/// The name of the cookie over https.
const SECURE_NAME: &str = "__Secure-shoko-auth-gateway";
/// The name of the cookie without encryption.
const PLAIN_NAME: &str = "shoko-auth-gateway";

/// Returns the domain whose users sign in at the host of this request.
#[must_use]
pub fn sign_in_domain(request: &HttpRequest) -> Option<&GatewayDomain> {
    let domains = request.app_data::<Data<GatewayDomains>>()?;
    domains.with_sign_in_at(&forwarded_host(request)?)
}

fn name(domain: &GatewayDomain) -> &'static str {
    if domain.is_https() { SECURE_NAME } else { PLAIN_NAME }
}

/// The gateway cookie of a request.
#[derive(Debug)]
pub enum GatewayCookie {
    Absent,
    Present(GatewaySecret),
    /// The cookie cannot be a secret.
    Invalid,
    /// The cookie occurs several times, so it is unclear which one this server has set.
    Repeated,
}

impl GatewayCookie {
    /// Reads the cookie of a domain from the headers of a request.
    #[must_use]
    pub fn of(headers: &HeaderMap, domain: &GatewayDomain) -> Self {
        let mut values = cookies(headers, name(domain));
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => GatewaySecret::parse(value).map_or(Self::Invalid, Self::Present),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }
}

/// Returns the values of the cookies with this name.
pub fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = headers
        .get_all(COOKIE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'));
    pairs
        .filter_map(|pair| pair.split_once('='))
        // A space before `=` is part of the name: proxies that remove the cookie would keep such a one.
        .filter(move |(found, _)| found.trim_start() == name)
        .map(|(_, value)| value.trim())
}

/// Returns the header that stores the cookie for all hosts of the domain.
#[must_use]
pub fn store(secret: &GatewaySecret, domain: &GatewayDomain, max_age: Duration) -> (HeaderName, HeaderValue) {
    header(&secret.expose(), domain, max_age)
}

/// Returns the header that deletes the cookie.
#[must_use]
pub fn delete(domain: &GatewayDomain) -> (HeaderName, HeaderValue) {
    header("", domain, Duration::ZERO)
}

fn header(value: &str, domain: &GatewayDomain, max_age: Duration) -> (HeaderName, HeaderValue) {
    let cookie = Cookie::build(name(domain), value)
        .domain(domain.domain().as_str())
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(domain.is_https())
        .max_age(max_age)
        .finish();
    let value = HeaderValue::try_from(cookie.to_string());
    (
        SET_COOKIE,
        value.expect("the name, the value and the domain are letters, digits, dots, hyphens and underscores"),
    )
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const SECRET: &str = "00112233445566778899aabbccddeeff";

    fn domain(url: &str) -> GatewayDomain {
        format!("example.org={url}").parse().unwrap()
    }

    fn found(url: &str, cookies: &[&str]) -> String {
        let request = cookies.iter().fold(TestRequest::default(), |request, cookie| {
            request.append_header((COOKIE, *cookie))
        });
        match GatewayCookie::of(request.to_http_request().headers(), &domain(url)) {
            GatewayCookie::Present(secret) => secret.expose(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_cookie_is_read_only_if_it_is_unambiguous() {
        let https = "https://login.example.org";
        let cookie = format!("__Secure-shoko-auth-gateway={SECRET}");
        assert_eq!(found(https, &["a=b", &format!("c; {cookie} ;d=e")]), SECRET);
        assert_eq!(found(https, &[&format!("{cookie}; {cookie}")]), "Repeated");
        assert_eq!(found(https, &[&cookie, "__Secure-shoko-auth-gateway=x"]), "Repeated");
        assert_eq!(found(https, &["__Secure-shoko-auth-gateway=x"]), "Invalid");
        let plain = format!("shoko-auth-gateway={SECRET}");
        assert_eq!(
            found(https, &[&plain]),
            "Absent",
            "any machine on the network could have set it"
        );
        assert_eq!(found("http://login.example.org", &[&plain]), SECRET);
    }

    #[test]
    fn the_cookie_is_for_the_domain_and_not_for_scripts() {
        let secret = GatewaySecret::parse(SECRET).unwrap();
        let stored = |url: &str| {
            let (_, value) = store(&secret, &domain(url), Duration::days(30));
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(
            stored("https://login.example.org"),
            format!(
                "__Secure-shoko-auth-gateway={SECRET}; HttpOnly; SameSite=Lax; Secure; Path=/; Domain=example.org; \
                 Max-Age=2592000"
            )
        );
        assert_eq!(
            stored("http://login.example.org"),
            format!("shoko-auth-gateway={SECRET}; HttpOnly; SameSite=Lax; Path=/; Domain=example.org; Max-Age=2592000")
        );
    }
}
