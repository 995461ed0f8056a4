//! Decides whether a request to a guarded service may pass.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::credentials::{Presented, PresentedKey};
use super::navigation::is_navigation;
use super::options::{Options, OptionsError};
use super::original::{Original, OriginalError, SignIn};
use super::remote;
use crate::error::{KeyError, ServiceError};
use crate::model::{Acceptance, Caller};
use crate::settings::{BasePath, GatewayDomain, GatewayDomains};
use crate::web::address::request_context;
use crate::web::call;
use crate::web::caller::{auth, find_accepted, find_gateway_cookie};
use crate::web::gateway_cookie::GatewayCookie;
use crate::web::origin::is_proxied;
use crate::web::path::sent_uri;
use crate::web::problem::Problem;
use crate::web::return_url::ReturnUrl;

const ACCESS_CONTROL_REQUEST_METHOD: HeaderName = HeaderName::from_static("access-control-request-method");
/// The challenge for clients that send a key only after a challenge for HTTP Basic (RFC 7617).
const BASIC_CHALLENGE: &str = r#"Basic realm="shoko-auth", charset="UTF-8""#;

impl From<OriginalError> for Problem {
    fn from(error: OriginalError) -> Self {
        Self::with_detail(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<OptionsError> for Problem {
    fn from(error: OptionsError) -> Self {
        Self::with_detail(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// Checks that the request is one that a proxy sends: that it comes from a trusted proxy, and that its path is spelled as
/// in the documentation.
///
/// Proxies hide these routes from clients, and most of them compare the path as text. A client could otherwise get
/// around that with capital letters or percent-encoding, which other routes accept.
pub fn check_request(request: &HttpRequest) -> Result<(), Problem> {
    if !has_documented_path(request) {
        return Err(Problem::new(StatusCode::NOT_FOUND));
    }
    if is_proxied(request) {
        return Ok(());
    }
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical().to_string());
    let peer = peer.as_deref().unwrap_or("unknown");
    log::warn!(peer; "rejected forward-auth: if this peer is your proxy, add it to SHOKO_AUTH_TRUSTED_PROXIES");
    Err(Problem::with_detail(
        StatusCode::FORBIDDEN,
        "Only a proxy that is listed in SHOKO_AUTH_TRUSTED_PROXIES may call this route.",
    ))
}

fn has_documented_path(request: &HttpRequest) -> bool {
    let base = request.app_data::<Data<BasePath>>().map_or("", |base| base.as_str());
    let sent = sent_uri(request);
    let below_base = sent.path().strip_prefix(base);
    let rest = below_base.and_then(|path| path.strip_prefix(super::GUARD_PATH));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// The result of identifying the caller of the original request by its key or its cookie.
enum Identity {
    User(Caller),
    /// The request presents nothing.
    Anonymous,
    /// The request presents something that is not valid.
    Rejected,
}

/// Returns the response that lets the original request pass, or the reason why it may not.
pub async fn guard(request: &HttpRequest, original: &Original, options: Options) -> Result<HttpResponse, Problem> {
    if options.allows_preflight && is_preflight(&original.method, request.headers()) {
        return Ok(remote::allowed(None));
    }
    let domain = domain_of(request, original);
    match identify(request, original, domain).await? {
        Identity::User(caller) => {
            if options.requires_admin {
                auth(request).require_admin(&caller)?;
            }
            Ok(remote::allowed(Some(&caller.holder)))
        }
        Identity::Anonymous => not_signed_in(request, original, domain, options),
        Identity::Rejected => {
            auth(request).log_rejected_key(&request_context(request));
            Err(challenge(options, KeyError::Invalid))
        }
    }
}

/// Returns whether the request is a CORS preflight (Fetch Standard, section 4.8). A preflight never contains a key or a
/// cookie.
fn is_preflight(method: &str, headers: &HeaderMap) -> bool {
    method == "OPTIONS" && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Returns the domain whose cookie a browser sends with the original request.
fn domain_of<'a>(request: &'a HttpRequest, original: &Original) -> Option<&'a GatewayDomain> {
    let domains = request.app_data::<Data<GatewayDomains>>()?;
    domains
        .of_host(original.host()?)
        .filter(|domain| domain.reaches(&original.url))
}

async fn identify(
    request: &HttpRequest,
    original: &Original,
    domain: Option<&GatewayDomain>,
) -> Result<Identity, ServiceError> {
    match (Presented::of(request.headers(), &original.url), domain) {
        (Presented::Key(presented), _) => identify_key(request, original, presented).await,
        (Presented::Ambiguous, _) => Ok(Identity::Rejected),
        (Presented::Nothing, Some(domain)) => identify_cookie(request, domain).await,
        (Presented::Nothing, None) => Ok(Identity::Anonymous),
    }
}

async fn identify_key(
    request: &HttpRequest,
    original: &Original,
    presented: PresentedKey,
) -> Result<Identity, ServiceError> {
    let acceptance = Acceptance::GatewayKeys {
        host: original.host().map(str::to_owned),
    };
    let found = find_accepted(request, std::slice::from_ref(&presented.key), acceptance).await?;
    let found = found.filter(|caller| presented.is_of(&caller.holder));
    Ok(found.map_or(Identity::Rejected, Identity::User))
}

/// Identifies a browser by its gateway cookie. A cookie that is no longer valid counts as absent, so that the browser
/// can sign in again. If there are several cookies, signing in would not help: another host of the domain has set one
/// of them.
async fn identify_cookie(request: &HttpRequest, domain: &GatewayDomain) -> Result<Identity, ServiceError> {
    let secret = match GatewayCookie::of(request.headers(), domain) {
        GatewayCookie::Present(secret) => secret,
        GatewayCookie::Absent | GatewayCookie::Invalid => return Ok(Identity::Anonymous),
        GatewayCookie::Repeated => return Ok(Identity::Rejected),
    };
    let Some(caller) = find_gateway_cookie(request, &secret, domain.domain()).await? else {
        return Ok(Identity::Anonymous);
    };
    extend_session(request, &caller).await;
    Ok(Identity::User(caller))
}

/// Moves the expiry of the session, which is in use. The request itself needs no write, so it must not fail if the
/// database accepts none now.
async fn extend_session(request: &HttpRequest, caller: &Caller) {
    let auth = auth(request);
    if auth.is_extension_due(caller) {
        let caller = caller.clone();
        if let Err(error) = call(auth, move |auth| auth.extend_session(&caller)).await {
            log::debug!("extending a session failed and will be retried at its next use: {error}");
        }
    }
}

/// Returns the redirect of a browser to the sign-in page, or a 401 for every other client.
fn not_signed_in(
    request: &HttpRequest,
    original: &Original,
    domain: Option<&GatewayDomain>,
    options: Options,
) -> Result<HttpResponse, Problem> {
    let base_path = request.app_data::<Data<BasePath>>();
    let domain = domain.filter(|_| is_navigation(request.headers()));
    let (Some(domain), Some(base_path)) = (domain, base_path) else {
        return Err(challenge(options, KeyError::Required));
    };
    let location = domain.sign_in_url(base_path, &ReturnUrl::of(&original.url));
    let location = HeaderValue::try_from(location).map_err(ServiceError::internal)?;
    match original.sign_in {
        SignIn::Location => {
            let mut response = HttpResponse::from_error(challenge(options, KeyError::Required));
            response.headers_mut().insert(LOCATION, location);
            Ok(response)
        }
        SignIn::Redirect => {
            // A browser follows a 303 with GET. After a 302, it may repeat the method (RFC 9110, section 15.4.3).
            let is_safe = ["GET", "HEAD"].contains(&original.method.as_str());
            let status = if is_safe {
                StatusCode::FOUND
            } else {
                StatusCode::SEE_OTHER
            };
            Ok(HttpResponse::build(status).insert_header((LOCATION, location)).finish())
        }
    }
}

fn challenge(options: Options, error: KeyError) -> Problem {
    let problem = Problem::from(error);
    if options.challenges_basic {
        problem.with_challenge(BASIC_CHALLENGE)
    } else {
        problem
    }
}
