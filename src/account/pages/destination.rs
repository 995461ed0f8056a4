//! The destination of a browser after it has signed in: a page of this server, or a guarded service.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use url::form_urlencoded::Serializer;

use super::form::Fields;
use super::layout::{Layout, PAGE_POLICY, PageResult, redirect};
use super::return_path::ReturnPath;
use super::visit::SignedIn;
use crate::account::cookie::{max_age, session_secret};
use crate::auth::Auth;
use crate::error::KeyError;
use crate::secret::token::SessionSecret;
use crate::settings::{BasePath, GatewayDomain};
use crate::web::call;
use crate::web::gateway_cookie::{self, GatewayCookie, sign_in_domain};
use crate::web::query::Query;
use crate::web::return_url::ReturnUrl;
use crate::web::security_headers::Page;

/// The name of the path of this server to which the browser returns, in the query and in the form.
const RETURN: &str = "return";
/// The name of the URL of a guarded service to which the browser returns, in the query and in the form.
const SERVICE: &str = "rd";
/// Marks that the browser has just received the cookie for guarded services.
const STORED: &str = "stored";

/// The destination of a browser after it has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A page of this server, or the list of devices.
    Page(Option<ReturnPath>),
    Service(ReturnUrl),
}

impl Destination {
    /// Reads the destination from a query. Anything that is not valid counts as absent.
    #[must_use]
    pub fn of_query(query: &Query, base_path: &BasePath, request: &HttpRequest) -> Self {
        let text = |name| query.one(name).ok().flatten().unwrap_or_default();
        Self::of(text(RETURN), text(SERVICE), base_path, request)
    }

    /// Reads the destination from a form, because the query of a form may differ from that of its page.
    #[must_use]
    pub fn of_form(fields: &Fields, base_path: &BasePath, request: &HttpRequest) -> Self {
        Self::of(fields.text(RETURN), fields.text(SERVICE), base_path, request)
    }

    fn of(path: &str, service: &str, base_path: &BasePath, request: &HttpRequest) -> Self {
        let service = sign_in_domain(request).and_then(|domain| ReturnUrl::parse(service, domain));
        service.map_or_else(|| Self::Page(ReturnPath::parse(path, base_path)), Self::Service)
    }

    /// Returns the name and the value of the form field that contains the destination.
    #[must_use]
    pub fn field(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Page(path) => path.as_ref().map(|path| (RETURN, path.as_str())),
            Self::Service(url) => Some((SERVICE, url.as_str())),
        }
    }

    /// Returns the address to redirect to.
    #[must_use]
    pub fn target(&self, p: &Layout) -> String {
        match self {
            Self::Page(path) => path
                .as_ref()
                .map_or_else(|| p.path(""), |path| path.as_str().to_owned()),
            Self::Service(url) => url.as_str().to_owned(),
        }
    }

    /// Lets the form on a page redirect to the guarded services of the domain. The policy of a page also covers the
    /// redirects after its forms.
    pub fn allow_redirect(&self, response: &mut HttpResponse, request: &HttpRequest) {
        if let (Self::Service(_), Some(domain)) = (self, sign_in_domain(request)) {
            let targets = format!("form-action 'self' {};", domain.form_targets());
            Page::Private(PAGE_POLICY.replace("form-action 'self';", &targets).into()).mark(response);
        }
    }
}

/// Redirects a browser that is signed in to its destination.
///
/// A browser that is to return to a guarded service may lack the cookie for it, because it signed in before the domain
/// was configured. It then receives the cookie and comes back here once, with a mark in the address. If it comes back
/// in any other way, the guarded service has rejected the cookie, or the browser has not stored it: another redirect
/// would lead to a loop, so a page explains this.
pub async fn go_on(
    auth: &Data<Auth>,
    visit: SignedIn,
    destination: &Destination,
    query: &Query,
    request: &HttpRequest,
) -> PageResult {
    let session = session_secret(request).ok().flatten();
    let (Destination::Service(url), Some(domain), Some(session)) = (destination, sign_in_domain(request), session)
    else {
        return Ok(redirect(destination.target(&visit.layout)));
    };
    let is_marked = query.all(STORED).next().is_some();
    match (has_cookie(request, &session, domain), is_marked) {
        (true, true) => Ok(redirect(url.as_str().to_owned())),
        (false, false) => store_cookie(auth, visit, url, domain, session).await,
        (true, false) | (false, true) => {
            let p = &visit.layout;
            Ok(p.show(&ContinuePage { p, url }))
        }
    }
}

fn has_cookie(request: &HttpRequest, session: &SessionSecret, domain: &GatewayDomain) -> bool {
    let expected = session.gateway_secret(domain.domain()).hash_at(domain.domain());
    matches!(GatewayCookie::of(request.headers(), domain), GatewayCookie::Present(found)
        if found.hash_at(domain.domain()) == expected)
}

/// Returns a redirect to this page that stores the cookie for guarded services.
async fn store_cookie(
    auth: &Data<Auth>,
    visit: SignedIn,
    url: &ReturnUrl,
    domain: &GatewayDomain,
    session: SessionSecret,
) -> PageResult {
    let SignedIn { caller, layout } = visit;
    let remaining = auth.session_end(caller.holder.created_at) - auth.now();
    let cookie_domain = domain.domain().clone();
    let opened = call(auth, move |auth| auth.open_gateway(&caller, &session, &cookie_domain)).await;
    let secret = opened.map_err(|error: KeyError| layout.clone().fail(error))?;
    let query = Serializer::new(String::new())
        .append_pair(SERVICE, url.as_str())
        .append_pair(STORED, "1")
        .finish();
    let mut response = redirect(format!("{}?{query}", layout.path("sign-in")));
    let (name, value) = gateway_cookie::store(&secret, domain, max_age(remaining));
    response.headers_mut().append(name, value);
    Ok(response)
}

#[derive(Template)]
#[template(path = "account/continue.html")]
struct ContinuePage<'a> {
    p: &'a Layout,
    url: &'a ReturnUrl,
}
