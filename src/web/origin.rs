//! Protects logins from foreign web pages. A page could otherwise make a visitor's browser send wrong passwords, which
//! would count as failures of the visitor's own network, or use credentials that the browser has cached.
//!
//! Browsers mark the requests of pages with `Origin` and `Sec-Fetch-Site` (Fetch Standard, section 3.2; Fetch Metadata
//! Request Headers, section 2.4). No page can change these headers. Requests without them come from other clients and
//! are always accepted.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::dev::Payload;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, ResponseError};
use url::{Host, Origin, Url};

use super::address::{TrustedProxies, request_context};
use crate::model::RequestContext;
use crate::settings::{CorsOrigins, Settings};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The maximum number of characters of a header that an error contains.
const MAX_EXCERPT_CHARS: usize = 100;
/// The maximum length of `Host` in bytes. A host name has at most 253 (RFC 1035, section 2.3.4), and a port follows it.
const MAX_HOST_BYTES: usize = 260;

/// Decides which web pages may log in.
pub struct OriginPolicy {
    origins: CorsOrigins,
    /// The host name of `SHOKO_AUTH_PUBLIC_URL`.
    public_host: Option<Host>,
    /// The origin of `SHOKO_AUTH_PUBLIC_URL`.
    public_origin: Option<Origin>,
    /// The value of `SHOKO_AUTH_HOSTS`.
    hosts: Vec<Host>,
    /// Whether browsers may log in only under known host names. Another name may be one that a foreign page has made
    /// resolve to this server (DNS rebinding).
    knows_all_hosts: bool,
    /// Whether the warning about an unknown host name has been logged. It is logged only once.
    warned: AtomicBool,
}

/// The reason why a web page may not log in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error(
        "A page of {origin} may not log in here. If you trust that page, add its origin to SHOKO_AUTH_CORS_ORIGINS. If \
         it is a page of this server, set SHOKO_AUTH_PUBLIC_URL to the URL that browsers use."
    )]
    ForeignPage { origin: String },
    #[error(
        "Browsers may not log in under the host name {host}. If this server is known by that name, add the name to \
         SHOKO_AUTH_HOSTS."
    )]
    UnknownHost { host: String },
    /// A request with the session cookie comes from another page, or from a program.
    #[error(
        "Only pages of this server may use the session cookie, and this request comes from {origin}. If it is a page of \
         this server, set SHOKO_AUTH_PUBLIC_URL to the URL that browsers use. Programs send an API key in a header."
    )]
    NotOwnPage { origin: String },
}

impl OriginPolicy {
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let is_local = settings.listen.ip().to_canonical().is_loopback();
        let is_plain = settings.trusted_proxies.is_empty() && settings.public_url.is_none();
        Self {
            origins: settings.cors_origins.clone(),
            public_host: settings.public_url.as_ref().and_then(|url| host_of(url.as_str())),
            public_origin: settings.public_url.as_ref().and_then(|url| origin_of(url.as_str())),
            hosts: settings.hosts.clone(),
            knows_all_hosts: !settings.hosts.is_empty() || (is_local && is_plain),
            warned: AtomicBool::new(false),
        }
    }

    /// Returns whether browsers may use this server under the host name of `Host`.
    #[must_use]
    pub fn accepts_host(&self, headers: &HeaderMap) -> bool {
        !self.knows_all_hosts || base_url(headers).is_some_and(|url| self.is_known(url.host().as_ref()))
    }

    fn is_known(&self, host: Option<&Host<&str>>) -> bool {
        let is = |known: &Host| host.is_some_and(|host| *host == *known);
        host.is_some_and(is_loopback) || self.hosts.iter().chain(&self.public_host).any(is)
    }

    /// Checks that a request does not come from a foreign page. `is_proxied` is whether the peer is a trusted proxy.
    fn check(&self, headers: &HeaderMap, is_proxied: bool) -> Result<(), OriginError> {
        let origins: Vec<&HeaderValue> = headers.get_all(ORIGIN).collect();
        let site = headers.get(SEC_FETCH_SITE);
        let is_known_host = self.accepts_host(headers);
        if origins.is_empty() && site.is_none() {
            if !is_known_host && !self.warned.swap(true, Ordering::Relaxed) {
                let host = excerpt(headers.get(HOST));
                log::warn!(
                    "a client used the unknown host name {host}: no browser can log in under it. Add the name to \
                     SHOKO_AUTH_HOSTS, or set SHOKO_AUTH_PUBLIC_URL or SHOKO_AUTH_TRUSTED_PROXIES"
                );
            }
            return Ok(());
        }
        if !is_known_host {
            let host = excerpt(headers.get(HOST));
            return Err(OriginError::UnknownHost { host });
        }
        let is_site = |value| site.is_some_and(|site| site == value);
        let is_accepted = match &origins[..] {
            [] => !is_site("cross-site"),
            [_] if is_site("same-origin") => true,
            [origin] if self.is_listed(origin) => true,
            [origin] => !is_site("cross-site") && self.is_own_host(origin, headers, is_proxied),
            _ => false,
        };
        if is_accepted {
            return Ok(());
        }
        let origin = origins
            .first()
            .map_or_else(|| "another site".to_owned(), |origin| excerpt(Some(origin)));
        Err(OriginError::ForeignPage { origin })
    }

    /// Checks that a request comes from a page of this server. In contrast to [`Self::check`], a request that does not
    /// say where it comes from is rejected, and the port of the page matters: cookies do not distinguish the ports of a
    /// host, so another service on this host could otherwise use the session.
    fn check_own_page(&self, headers: &HeaderMap, is_proxied: bool) -> Result<(), OriginError> {
        if !self.accepts_host(headers) {
            let host = excerpt(headers.get(HOST));
            return Err(OriginError::UnknownHost { host });
        }
        let sites: Vec<&HeaderValue> = headers.get_all(SEC_FETCH_SITE).collect();
        let origins: Vec<&HeaderValue> = headers.get_all(ORIGIN).collect();
        let is_own_page = match (&sites[..], &origins[..]) {
            ([site], _) => *site == "same-origin",
            // Browsers send no `Sec-Fetch-Site` to a server without encryption.
            ([], [origin]) => self.is_own_origin(origin, headers, is_proxied),
            _ => false,
        };
        if is_own_page {
            return Ok(());
        }
        let origin = origins.first();
        let origin = origin.map_or_else(|| "elsewhere".to_owned(), |origin| excerpt(Some(origin)));
        Err(OriginError::NotOwnPage { origin })
    }

    /// Returns whether `origin` is the origin of this server's pages.
    fn is_own_origin(&self, origin: &HeaderValue, headers: &HeaderMap, is_proxied: bool) -> bool {
        let Some(url) = origin.to_str().ok().and_then(|text| Url::parse(text).ok()) else {
            return false;
        };
        let origin = url.origin();
        let is_at = |name: &HeaderName| {
            // The server cannot see the scheme, so that of the origin decides which port is the default.
            let base = base_url_of(headers, name, url.scheme());
            origin.is_tuple() && base.is_some_and(|base| base.origin() == origin)
        };
        is_at(&HOST) || (is_proxied && is_at(&X_FORWARDED_HOST)) || self.public_origin.as_ref() == Some(&origin)
    }

    fn is_listed(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            CorsOrigins::None => false,
            CorsOrigins::Any => true,
            CorsOrigins::Listed(listed) => listed.iter().any(|listed| origin == listed.as_str()),
        }
    }

    /// Returns whether the host name of `origin` is one of this server, whatever its scheme and port.
    fn is_own_host(&self, origin: &HeaderValue, headers: &HeaderMap, is_proxied: bool) -> bool {
        let Some(origin) = origin.to_str().ok().and_then(host_of) else {
            return false;
        };
        let forwarded = is_proxied
            .then(|| headers.get_all(X_FORWARDED_HOST))
            .into_iter()
            .flatten();
        let mut forwarded = forwarded
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let is_origin = |host: &str| host_of(&format!("http://{}", host.trim())).as_ref() == Some(&origin);
        base_url(headers).is_some_and(|url| url.host().is_some_and(|host| host == origin))
            || forwarded.any(is_origin)
            || self.public_host.as_ref() == Some(&origin)
            || self.hosts.contains(&origin)
    }
}

/// Returns the host that a request to a reverse proxy was for, in the form of [`Host`]: that of a trusted proxy's
/// `X-Forwarded-Host`, otherwise that of `Host`. Returns `None` if it is missing, invalid or ambiguous.
#[must_use]
pub fn forwarded_host(request: &HttpRequest) -> Option<String> {
    let headers = request.headers();
    let url = if is_proxied(request) && headers.contains_key(X_FORWARDED_HOST) {
        base_url_of(headers, &X_FORWARDED_HOST, "http")
    } else {
        base_url_of(headers, &HOST, "http")
    };
    Some(url?.host()?.to_string())
}

/// Returns whether the peer is a trusted proxy.
#[must_use]
pub fn is_proxied(request: &HttpRequest) -> bool {
    let proxies = request.app_data::<Data<TrustedProxies>>();
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    peer.is_some_and(|peer| proxies.is_some_and(|proxies| proxies.contains(peer)))
}

/// Returns the URL of this server as the client knows it, from the `Host` header. The scheme is always http.
#[must_use]
pub fn base_url(headers: &HeaderMap) -> Option<Url> {
    base_url_of(headers, &HOST, "http")
}

/// Returns the URL whose host and port are the value of a header. Returns `None` if the header occurs several times.
fn base_url_of(headers: &HeaderMap, name: &HeaderName, scheme: &str) -> Option<Url> {
    let mut values = headers.get_all(name);
    let host = values.next()?.to_str().ok().filter(|_| values.next().is_none())?;
    if host.len() > MAX_HOST_BYTES {
        return None;
    }
    let url = Url::parse(&format!("{scheme}://{host}")).ok()?;
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    Some(url).filter(|url| is_plain && url.username().is_empty() && url.password().is_none())
}

/// Returns whether `host` always means the machine of the client: `localhost`, a name below it, or a loopback address.
#[must_use]
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => IpAddr::from(*address).to_canonical().is_loopback(),
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
    }
}

fn origin_of(url: &str) -> Option<Origin> {
    Url::parse(url).ok().map(|url| url.origin())
}

/// Returns the host of a URL or an origin. The URL of an app scheme such as `capacitor://localhost` has a host too.
fn host_of(url: &str) -> Option<Host> {
    let url = Url::parse(url).ok()?;
    // Only for web schemes does `url` parse the host as a name or an address.
    Host::parse(url.host_str()?).ok()
}

/// Returns the beginning of a header value, for an error or the log.
fn excerpt(value: Option<&HeaderValue>) -> String {
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("unknown");
    text.chars().take(MAX_EXCERPT_CHARS).collect()
}

/// The context of a request that may check a password. Extracting it fails for a request from a foreign web page.
pub struct LoginContext<E>(RequestContext, PhantomData<E>);

impl<E> LoginContext<E> {
    #[must_use]
    pub fn into_inner(self) -> RequestContext {
        self.0
    }
}

impl<E: ResponseError + From<OriginError> + 'static> FromRequest for LoginContext<E> {
    type Error = E;
    type Future = Ready<Result<Self, E>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let checked = check_origin(request).map(|()| Self(request_context(request), PhantomData));
        ready(checked.map_err(E::from))
    }
}

/// Checks that a request does not come from a foreign web page.
///
/// # Panics
///
/// Panics if the application has no [`OriginPolicy`].
pub fn check_origin(request: &HttpRequest) -> Result<(), OriginError> {
    policy(request).check(request.headers(), is_proxied(request))
}

/// Checks that a request comes from a page of this server. Call it for a request that changes something and that only a
/// cookie authenticates, because browsers add cookies to the requests of foreign pages.
///
/// # Panics
///
/// Panics if the application has no [`OriginPolicy`].
pub fn check_own_page(request: &HttpRequest) -> Result<(), OriginError> {
    policy(request).check_own_page(request.headers(), is_proxied(request))
}

fn policy(request: &HttpRequest) -> &Data<OriginPolicy> {
    request
        .app_data()
        .expect("the server registers the policy for every route")
}
