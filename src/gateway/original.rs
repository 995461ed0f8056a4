//! The request to the guarded service, as its proxy describes it.
//!
//! Each proxy has headers of its own for this. A route reads only those of its own family, and ignores the others: a
//! proxy passes headers on that it does not set itself, so they may come from the client.

use actix_web::http::header::{HOST, HeaderMap, HeaderName};
use url::Url;

const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");

/// A request to a guarded service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    pub method: String,
    /// The URL with the scheme `http` or `https`, also for a handshake of `ws` or `wss`, and with a normalized path.
    pub url: Url,
    /// How the proxy sends a browser to the sign-in page.
    pub sign_in: SignIn,
}

/// How a browser gets to the sign-in page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// The proxy passes a redirect on to the browser.
    Redirect,
    /// The proxy accepts no redirect. It gets a 401 with `Location`, which its configuration turns into a redirect.
    Location,
}

/// The reason why a proxy's description of a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginalError {
    #[error("The header {0} is missing. Configure the proxy to set it, as in the documentation of this route.")]
    Missing(HeaderName),
    #[error(
        "The header {0} occurs more than once. Configure the proxy to replace the header of the client instead of adding \
         another one."
    )]
    Repeated(HeaderName),
    #[error("The header {0} has no valid value. It describes the original request.")]
    Invalid(HeaderName),
    #[error("The path after that of this route is not valid. It must be the path of the original request.")]
    InvalidPath,
}

impl Original {
    /// Reads the headers that Caddy's `forward_auth` and Traefik's `ForwardAuth` set.
    pub fn of_forwarded(headers: &HeaderMap) -> Result<Self, OriginalError> {
        let (method, target) = (method(headers, METHOD)?, one(headers, URI)?);
        let origin = origin(headers, FORWARDED_HOST)?;
        let url = join(&origin, target).ok_or(OriginalError::Invalid(URI))?;
        let sign_in = SignIn::Redirect;
        Ok(Self { method, url, sign_in })
    }

    /// Reads the headers that the documented configuration of nginx sets.
    pub fn of_original_url(headers: &HeaderMap) -> Result<Self, OriginalError> {
        let (method, text) = (method(headers, ORIGINAL_METHOD)?, one(headers, ORIGINAL_URL)?);
        let url = parse_url(text).ok_or(OriginalError::Invalid(ORIGINAL_URL))?;
        let sign_in = SignIn::Location;
        Ok(Self { method, url, sign_in })
    }

    /// Reads a request of Envoy: its method and `Host` are those of the original request. `target` is the original path
    /// with its query.
    pub fn of_ext_authz(method: &str, headers: &HeaderMap, target: &str) -> Result<Self, OriginalError> {
        let target = if target.is_empty() { "/" } else { target };
        let url = join(&origin(headers, HOST)?, target).ok_or(OriginalError::InvalidPath)?;
        let (method, sign_in) = (method.to_owned(), SignIn::Redirect);
        Ok(Self { method, url, sign_in })
    }

    /// Returns the host in the form of [`url::Host`].
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.url.host_str()
    }
}

/// Returns the only value of a header.
fn one(headers: &HeaderMap, name: HeaderName) -> Result<&str, OriginalError> {
    let mut values = headers.get_all(&name);
    let Some(value) = values.next().filter(|value| !value.is_empty()) else {
        return Err(OriginalError::Missing(name));
    };
    if values.next().is_some() {
        return Err(OriginalError::Repeated(name));
    }
    // Some clients send paths in UTF-8 without encoding them.
    str::from_utf8(value.as_bytes()).map_err(|_| OriginalError::Invalid(name))
}

fn method(headers: &HeaderMap, name: HeaderName) -> Result<String, OriginalError> {
    let method = one(headers, name.clone())?;
    let method = actix_web::http::Method::from_bytes(method.as_bytes()).map_err(|_| OriginalError::Invalid(name))?;
    Ok(method.as_str().to_owned())
}

/// Returns the origin that `X-Forwarded-Proto` and the header with the host describe, as a URL with the path `/`.
fn origin(headers: &HeaderMap, host_name: HeaderName) -> Result<Url, OriginalError> {
    let scheme = web_scheme(one(headers, PROTO)?).ok_or(OriginalError::Invalid(PROTO))?;
    let host = one(headers, host_name.clone())?;
    let is_plain = |host: &str| !host.contains(['/', '\\', '?', '#', '@', ',']) && !has_hidden_characters(host);
    let url = Some(host).filter(|host| is_plain(host));
    let url = url.and_then(|host| Url::parse(&format!("{scheme}://{host}/")).ok());
    url.ok_or(OriginalError::Invalid(host_name))
}

/// Returns `http` or `https` for a scheme of the web, in any case. Traefik sends `ws` or `wss` for a handshake.
fn web_scheme(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some("http"),
        "https" | "wss" => Some("https"),
        _ => None,
    }
}

/// Returns the URL of a path with its query.
fn join(origin: &Url, target: &str) -> Option<Url> {
    let is_path = target.starts_with('/') && !target.contains('#') && !has_hidden_characters(target);
    // Joining would read `//host` as another host, so the parts are set.
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    is_path.then(|| {
        let mut url = origin.clone();
        url.set_path(path);
        url.set_query(query);
        normalized(url)
    })
}

/// Parses an absolute URL without a fragment and without a user.
fn parse_url(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once("://")?;
    let is_absolute = !rest.starts_with(['/', '\\']) && !rest.contains('#') && !has_hidden_characters(rest);
    let url = Some(rest).filter(|_| is_absolute)?;
    let url = Url::parse(&format!("{}://{url}", web_scheme(scheme)?)).ok()?;
    let has_user = !url.username().is_empty() || url.password().is_some();
    (!has_user && url.has_host()).then(|| normalized(url))
}

/// Returns whether a text contains spaces or control characters, which a parser of URLs may drop.
fn has_hidden_characters(text: &str) -> bool {
    text.contains(|c: char| c.is_control() || c == ' ')
}

/// Returns the URL with the normalized path: `url` has resolved the segments `.` and `..`, plain or encoded; this
/// function decodes unreserved characters (RFC 3986, section 2.3) once and removes empty segments.
fn normalized(mut url: Url) -> Url {
    let decoded = decode_unreserved(url.path());
    let has_end = decoded.ends_with('/');
    let segments: Vec<&str> = decoded.split('/').filter(|segment| !segment.is_empty()).collect();
    let end = if has_end && !segments.is_empty() { "/" } else { "" };
    url.set_path(&format!("/{}{end}", segments.join("/")));
    url
}

/// Decodes those percent-encoded characters of a path that need no encoding. Encodes a percent sign that encodes
/// nothing, so that decoding the path again changes nothing.
fn decode_unreserved(path: &str) -> String {
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = u8::from_str_radix(code, 16).ok().filter(|_| is_code);
        match byte.map(char::from) {
            Some(c) if c.is_ascii_alphanumeric() || "-._~".contains(c) => decoded.push(c),
            Some(_) => decoded.extend(["%", code]),
            None => decoded.extend(["%25", code]),
        }
        decoded.push_str(rest);
    }
    decoded
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let request = pairs.iter().fold(TestRequest::default(), |request, (name, value)| {
            request.append_header((*name, *value))
        });
        request.to_http_request().headers().clone()
    }

    fn forwarded(scheme: &str, host: &str, uri: &str) -> Result<Original, OriginalError> {
        Original::of_forwarded(&headers(&[
            ("X-Forwarded-Method", "POST"),
            ("X-Forwarded-Proto", scheme),
            ("X-Forwarded-Host", host),
            ("X-Forwarded-Uri", uri),
        ]))
    }

    fn url_of(uri: &str) -> Option<String> {
        forwarded("https", "app.example", uri)
            .ok()
            .map(|original| original.url.to_string())
    }

    #[test]
    fn a_path_is_normalized_once() {
        for (uri, path) in [
            ("/", "/"),
            ("/a/b?c=d&e=%2F", "/a/b?c=d&e=%2F"),
            ("/A/b/", "/A/b/"),
            ("//evil.example/x", "/evil.example/x"),
            ("///a////b//", "/a/b/"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/../../etc", "/etc"),
            ("/%61dmin/%7Ebob", "/admin/~bob"),
            ("/a%2Fb%2fc", "/a%2Fb%2fc"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/a/..;/admin", "/a/..;/admin"),
            ("/a;jsessionid=1/../b", "/b"),
            ("/a\\..\\b", "/b"),
            ("/100%/x%zz", "/100%25/x%25zz"),
            ("/%", "/%25"),
            ("/%%32e%%32e/x", "/%252e%252e/x"),
            ("/ü", "/%C3%BC"),
            ("/?a=//x/../y", "/?a=//x/../y"),
        ] {
            assert_eq!(
                url_of(uri).as_deref(),
                Some(&*format!("https://app.example{path}")),
                "{uri}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn a_normalized_path_is_not_normalized_any_further(path in "/[a-c2e5./%;\\\\~-]{0,24}") {
            let url = url_of(&path).unwrap();
            let normalized = url.strip_prefix("https://app.example").unwrap();
            assert_eq!(url_of(normalized).as_deref(), Some(url.as_str()));
            let segments: Vec<&str> = normalized[1..].split('/').collect();
            let (last, others) = segments.split_last().unwrap();
            assert!(!others.contains(&"") && ![".", ".."].iter().any(|dots| segments.contains(dots)), "{last}");
        }
    }

    #[test]
    fn a_target_with_a_fragment_or_without_a_path_is_rejected() {
        for uri in [
            "/a#b",
            "/public#/../admin",
            "/?a#",
            "*",
            "a",
            "https://evil.example/",
            "/a b",
        ] {
            assert_eq!(url_of(uri), None, "{uri}");
        }
    }

    #[test]
    fn the_scheme_of_a_websocket_is_that_of_its_page() {
        for (scheme, expected) in [("ws", "http"), ("WSS", "https"), ("https", "https"), ("HTTP", "http")] {
            assert_eq!(forwarded(scheme, "a", "/").unwrap().url.scheme(), expected);
        }
        for scheme in ["ftp", "https,http", "javascript", " "] {
            let error = forwarded(scheme, "a", "/").unwrap_err();
            assert_eq!(error, OriginalError::Invalid(PROTO), "{scheme}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for (host, expected) in [
            ("App.Example:443", "https://app.example/"),
            ("app.example:8443", "https://app.example:8443/"),
            ("[::1]:80", "https://[::1]:80/"),
            ("bücher.example", "https://xn--bcher-kva.example/"),
        ] {
            assert_eq!(forwarded("https", host, "/").unwrap().url.as_str(), expected);
        }
        for host in ["a/b", "a@b", "a,b", "a?b", "a#b", "a\\b", "a b", "a:b", "%"] {
            let error = forwarded("https", host, "/").unwrap_err();
            assert_eq!(error, OriginalError::Invalid(FORWARDED_HOST), "{host}");
        }
    }

    #[test]
    fn a_missing_or_repeated_header_is_named() {
        let all = [
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "a"),
            ("X-Forwarded-Uri", "/"),
        ];
        assert!(Original::of_forwarded(&headers(&all)).is_ok());
        for index in 0..all.len() {
            let mut some = all.to_vec();
            let (name, value) = some.remove(index);
            let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
            let error = Original::of_forwarded(&headers(&some)).unwrap_err();
            assert_eq!(error, OriginalError::Missing(name.clone()));
            some.extend([(all[index].0, value), (all[index].0, value)]);
            let error = Original::of_forwarded(&headers(&some)).unwrap_err();
            assert_eq!(error, OriginalError::Repeated(name));
        }
    }

    #[test]
    fn a_family_of_headers_is_not_completed_from_another() {
        let original = [
            ("X-Original-URL", "https://a.example/x?y"),
            ("X-Original-Method", "PUT"),
        ];
        let read = Original::of_original_url(&headers(&original)).unwrap();
        assert_eq!(
            (read.method.as_str(), read.url.as_str()),
            ("PUT", "https://a.example/x?y")
        );
        assert!(Original::of_forwarded(&headers(&original)).is_err());
        let envoy = [
            ("Host", "a.example"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil.example"),
        ];
        let read = Original::of_ext_authz("DELETE", &headers(&envoy), "/X/?q").unwrap();
        assert_eq!(
            (read.method.as_str(), read.url.as_str()),
            ("DELETE", "https://a.example/X/?q")
        );
    }

    #[test]
    fn an_original_url_is_absolute_without_a_user_and_a_fragment() {
        let parse = |text: &str| {
            let pairs = [("X-Original-URL", text), ("X-Original-Method", "GET")];
            Original::of_original_url(&headers(&pairs)).map(|original| original.url.to_string())
        };
        assert_eq!(parse("wss://A.example//b/../c").as_deref(), Ok("https://a.example/c"));
        for text in [
            "/x",
            "a.example/x",
            "https:a.example",
            "https:///a.example",
            "https://",
            "https://user@a.example/",
            "https://a.example/#b",
            "ftp://a.example/",
            "https://\\a.example/",
            "https://a b/",
        ] {
            assert_eq!(parse(text), Err(OriginalError::Invalid(ORIGINAL_URL)), "{text}");
        }
    }
}
