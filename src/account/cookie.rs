//! The cookie of a session.
//!
//! Over https, the cookie's name begins with `__Host-`: browsers then accept it only over https and only from this host
//! itself (RFC 6265bis, section 4.1.3.2). Without encryption, which many home networks use, the cookie has another name
//! and no `Secure`. Over https, that other name is ignored, because any machine in the network could have set it.

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{HeaderName, HeaderValue, ORIGIN, SET_COOKIE};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use chrono::TimeDelta;
use url::Url;

use super::AccountUrls;
use crate::auth::NewSession;
use crate::error::KeyError;
use crate::secret::token::SessionSecret;
use crate::web::gateway_cookie::{self, cookies, sign_in_domain};
use crate::web::origin::{base_url, is_proxied};

/// The name of the cookie over https.
pub const SECURE_NAME: &str = "__Host-shoko-auth";
/// The name of the cookie without encryption.
pub const PLAIN_NAME: &str = "shoko-auth";

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Returns the secret in the session cookie, or `None` without one. Fails if the cookie occurs several times, because it
/// is unclear which one this server has set, or if it cannot be a secret.
pub fn session_secret(request: &HttpRequest) -> Result<Option<SessionSecret>, KeyError> {
    let name = match values(request, SECURE_NAME).next() {
        Some(_) => SECURE_NAME,
        None if is_https(request) == Some(true) => return Ok(None),
        None => PLAIN_NAME,
    };
    let mut values = values(request, name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => SessionSecret::parse(value).map(Some).ok_or(KeyError::Invalid),
        (Some(_), Some(_)) => Err(KeyError::Invalid),
    }
}

/// Returns the values of the cookies with this name.
fn values<'a>(request: &'a HttpRequest, name: &'a str) -> impl Iterator<Item = &'a str> {
    cookies(request.headers(), name)
}

/// Returns whether the browser's connection is encrypted, or `None` if that is unknown. A trusted proxy knows it. So does
/// the browser, which says so in `Origin`. Otherwise the public URL decides if the request is for its host.
#[must_use]
pub fn is_https(request: &HttpRequest) -> Option<bool> {
    let headers = request.headers();
    let of_scheme = |scheme: &str| match scheme {
        "https" => Some(true),
        "http" => Some(false),
        _ => None,
    };
    let one = |name: &HeaderName| {
        let mut values = headers.get_all(name);
        values.next()?.to_str().ok().filter(|_| values.next().is_none())
    };
    if is_proxied(request)
        && let Some(scheme) = one(&X_FORWARDED_PROTO)
    {
        return of_scheme(&scheme.trim().to_ascii_lowercase());
    }
    if let Some(origin) = one(&ORIGIN).and_then(|origin| Url::parse(origin).ok()) {
        return of_scheme(origin.scheme());
    }
    let urls = request.app_data::<Data<AccountUrls>>();
    let public_url = urls.and_then(|urls| urls.public_url())?;
    let is_for_public_url = base_url(headers).is_some_and(|url| url.host() == public_url.host());
    is_for_public_url.then(|| of_scheme(public_url.scheme())).flatten()
}

/// Adds the cookie of a new session to a response and, at the sign-in host of a domain, that for its guarded services.
pub fn add(response: &mut HttpResponse, request: &HttpRequest, session: &NewSession) {
    let lifetime = session.ends_at - session.created_at;
    let mut headers = vec![store(request, &session.secret, lifetime)];
    if let (Some(secret), Some(domain)) = (&session.gateway_secret, sign_in_domain(request)) {
        headers.push(gateway_cookie::store(secret, domain, max_age(lifetime)));
    }
    append(response, headers);
}

/// Adds headers to a response that delete the cookie, under either name, and that for guarded services.
pub fn delete(response: &mut HttpResponse, request: &HttpRequest) {
    let own = [true, false].map(|is_secure| header("", is_secure, Duration::ZERO));
    append(
        response,
        own.into_iter()
            .chain(sign_in_domain(request).map(gateway_cookie::delete)),
    );
}

fn append(response: &mut HttpResponse, headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) {
    for (name, value) in headers {
        response.headers_mut().append(name, value);
    }
}

/// Returns the header that stores the secret of a new session, which lives for at most `lifetime`.
fn store(request: &HttpRequest, secret: &SessionSecret, lifetime: TimeDelta) -> (HeaderName, HeaderValue) {
    let is_secure = is_https(request) == Some(true);
    header(&secret.expose(), is_secure, max_age(lifetime))
}

/// Returns how long a browser keeps the cookie of a session that ends after this time.
#[must_use]
pub fn max_age(lifetime: TimeDelta) -> Duration {
    Duration::seconds(lifetime.num_seconds())
}

fn header(value: &str, is_secure: bool, max_age: Duration) -> (HeaderName, HeaderValue) {
    let name = if is_secure { SECURE_NAME } else { PLAIN_NAME };
    let cookie = Cookie::build(name, value)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(is_secure)
        .max_age(max_age)
        .finish();
    let value = HeaderValue::try_from(cookie.to_string());
    (
        SET_COOKIE,
        value.expect("the name and the value are letters, digits and hyphens"),
    )
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const SECRET: &str = "00112233445566778899aabbccddeeff";

    fn found(headers: &[(&str, &str)]) -> Result<Option<String>, KeyError> {
        let request = headers
            .iter()
            .fold(TestRequest::default(), |request, header| request.append_header(*header));
        session_secret(&request.to_http_request()).map(|secret| secret.map(|secret| secret.expose()))
    }

    #[test]
    fn the_cookie_is_read_only_if_it_is_unambiguous() {
        let (plain, secure) = (format!("shoko-auth={SECRET}"), format!("__Host-shoko-auth={SECRET}"));
        let other = "shoko-auth=ffffffffffffffffffffffffffffffff";
        for cookie in [
            plain.clone(),
            secure.clone(),
            format!("a=b; {plain} ;c"),
            format!("{other}; {secure}"),
        ] {
            assert_eq!(
                found(&[("Cookie", &cookie)]).unwrap().as_deref(),
                Some(SECRET),
                "{cookie}"
            );
        }
        for cookie in ["", "other=1", "shoko-auth2=1", "Shoko-Auth=1"] {
            assert!(found(&[("Cookie", cookie)]).unwrap().is_none(), "{cookie}");
        }
        for cookie in [
            format!("{plain}; {plain}"),
            format!("{plain}; {other}"),
            format!("{secure}; __Host-shoko-auth=x; {plain}"),
            "shoko-auth=x".to_owned(),
        ] {
            assert!(found(&[("Cookie", &cookie)]).is_err(), "{cookie}");
        }
        assert!(found(&[("Cookie", &plain), ("Cookie", &plain)]).is_err());
    }

    #[test]
    fn the_plain_name_is_ignored_over_https() {
        let plain = format!("shoko-auth={SECRET}");
        let https = ("Origin", "https://login.example.org");
        assert!(found(&[("Cookie", &plain), https]).unwrap().is_none());
        let secure = format!("__Host-shoko-auth={SECRET}");
        assert!(found(&[("Cookie", &secure), https]).unwrap().is_some());
    }

    #[test]
    fn the_cookie_is_for_this_host_and_not_for_scripts() {
        let secret = SessionSecret::parse(SECRET).unwrap();
        let stored = |origin: &'static str| {
            let request = TestRequest::default().insert_header(("Origin", origin));
            let (_, value) = store(&request.to_http_request(), &secret, TimeDelta::days(30));
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(
            stored("https://a.example"),
            format!("__Host-shoko-auth={SECRET}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=2592000")
        );
        assert_eq!(
            stored("http://a.example"),
            format!("shoko-auth={SECRET}; HttpOnly; SameSite=Lax; Path=/; Max-Age=2592000")
        );
    }
}
