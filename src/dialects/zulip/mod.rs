//! Zulip's login, for its terminal, Python and mobile clients: clients send a password and receive the user's key.
//!
//! In Zulip each user has one key. Here that is the key of the device `Zulip`, written without dashes.

mod caller;
mod error;
mod responses;
mod types;

use std::time::Duration;

use actix_web::http::Version;
use actix_web::http::header::{FORWARDED, HeaderName, HeaderValue, ORIGIN, VIA};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{CustomizeResponder, HttpRequest, HttpResponse, Responder};
use utoipa::OpenApi;

use crate::auth::{ACCOUNT_FAILURES, Auth, IssuedKey, LogIn};
use crate::error::LoginError;
use crate::model::{Name, RequestContext, RequestedExpiry, UserRef};
use crate::settings::{PublicUrl, ZulipSettings};
use crate::web::body::Body;
use crate::web::call;
use crate::web::origin::{LoginContext, OriginPolicy, base_url, is_loopback};
use caller::ZulipCaller;
use error::ZulipError;
use responses::{
    ForeignPage, InternalError, InvalidKey, MissingParameter, NotBasic, NotHere, Responses, TooLarge, TooManyFailures,
    Unavailable, UnknownUser, UnsupportedType, WrongCredentials,
};
use types::{FetchedKey, NewKey, OwnUser, Parameters, ServerSettings, Success, email_of};

/// The device of all keys that Zulip's clients get.
const DEVICE: &str = "Zulip";

/// The data that handlers need besides the service.
struct ZulipState {
    settings: ZulipSettings,
    public_url: Option<PublicUrl>,
    prefix: String,
}

/// Registers all routes. `prefix` is the path below which they are mounted.
pub fn routes(config: &mut ServiceConfig, settings: ZulipSettings, public_url: Option<PublicUrl>, prefix: &str) {
    let only = |path: &str, route: actix_web::Route, method: &'static str| {
        let not_allowed = move || async move { Err::<HttpResponse, _>(ZulipError::only(method)) };
        web::resource(path).route(route).default_service(web::to(not_allowed))
    };
    let prefix = prefix.to_owned();
    config
        .app_data(Data::new(ZulipState {
            settings,
            public_url,
            prefix,
        }))
        .service(only("/api/v1/fetch_api_key", web::post().to(fetch_api_key), "POST"))
        .service(only(
            "/api/v1/dev_fetch_api_key",
            web::post().to(dev_fetch_api_key),
            "POST",
        ))
        .service(only("/api/v1/users/me", web::get().to(own_user), "GET"))
        .service(only(
            "/api/v1/users/me/api_key/regenerate",
            web::post().to(regenerate),
            "POST",
        ))
        .service(
            web::resource("/api/v1/server_settings")
                .route(web::get().to(server_settings))
                .route(web::head().to(server_settings))
                .default_service(web::to(async || Err::<HttpResponse, _>(ZulipError::read_only()))),
        );
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "shoko-auth: Zulip",
        description = "Zulip's login. Send a user's name and password in a form to `fetch_api_key`, and then the key as the \
            password of HTTP Basic, with the user's e-mail address. Errors are JSON with `result`, `msg` and `code`.",
        contact(name = "The shoko-auth developers")
    ),
    tags((
        name = "Zulip",
        description = "Log in, and read the settings that clients need for it.",
        external_docs(url = "https://zulip.com/api/", description = "Zulip's own documentation")
    )),
    paths(fetch_api_key, dev_fetch_api_key, server_settings, own_user, regenerate)
)]
struct Document;

/// Returns the OpenAPI document of these routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(Responses::openapi());
    document
}

/// Log in and get the user's key.
///
/// Send the parameters in a form. They are also accepted in the query, but a password in the query may end up in logs.
/// The form overrides the query. A JSON body is ignored.
#[utoipa::path(post, path = "/api/v1/fetch_api_key", operation_id = "fetchApiKey", tag = "Zulip", security(()),
    request_body(content = types::LoginForm, content_type = "application/x-www-form-urlencoded",
        description = "The user's name and password."),
    responses(
        (status = 200, description = "The key.", body = Success<FetchedKey>, content_type = "application/json"),
        (status = 400, response = MissingParameter),
        (status = 401, response = WrongCredentials),
        (status = 403, response = ForeignPage),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 429, response = TooManyFailures),
        (status = 500, response = InternalError), (status = 503, response = Unavailable)))]
async fn fetch_api_key(
    auth: Data<Auth>,
    context: LoginContext<ZulipError>,
    request: HttpRequest,
    body: Body,
) -> Result<impl Responder, ZulipError> {
    let parameters = Parameters::of(&request, body).await?;
    let (user, password) = (parameters.required("username")?, parameters.secret("password")?);
    let user = Name::parse(user).map_err(|_| LoginError::WrongCredentials)?;
    let login = LogIn {
        user: user.clone(),
        password,
        device: device(),
        expiry: RequestedExpiry::Never,
        dialect: "zulip",
    };
    let context = context.into_inner();
    let login_context = context.clone();
    let issued = call(&auth, move |auth| auth.log_in(&login, &login_context)).await;
    let limits = rate_limits(&auth, user, context, &issued).await;
    let with_limit = |error: ZulipError, (name, value)| error.with_header(name, value);
    let issued = issued.map_err(|error| limits.iter().cloned().fold(error.into(), with_limit))?;
    let key = fetched(&auth, issued).await?;
    let response = key.ignoring(parameters.except(&["username", "password"]));
    Ok(limits
        .into_iter()
        .fold(response.customize(), CustomizeResponder::insert_header))
}

/// Get any user's key, for development.
///
/// Available only with `SHOKO_AUTH_ZULIP_DEV_LOGIN=on`, and only to programs on the server's machine. Otherwise the
/// response is always 400.
#[utoipa::path(post, path = "/api/v1/dev_fetch_api_key", operation_id = "devFetchApiKey", tag = "Zulip", security(()),
    request_body(content = types::DevLoginForm, content_type = "application/x-www-form-urlencoded",
        description = "The user's name."),
    responses(
        (status = 200, description = "The key.", body = Success<FetchedKey>, content_type = "application/json"),
        (status = 400, response = NotHere),
        (status = 401, response = UnknownUser),
        (status = 403, response = ForeignPage),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 500, response = InternalError), (status = 503, response = Unavailable)))]
async fn dev_fetch_api_key(
    auth: Data<Auth>,
    state: Data<ZulipState>,
    context: LoginContext<ZulipError>,
    request: HttpRequest,
    body: Body,
) -> Result<impl Responder, ZulipError> {
    let parameters = Parameters::of(&request, body).await?;
    let user = parameters.required("username")?;
    if !state.settings.dev_login || !is_local_request(&request) {
        return Err(ZulipError::bad_request("Endpoint not available in production."));
    }
    let user = Name::parse(user).map_err(|_| LoginError::WrongCredentials)?;
    let issued = call(&auth, move |auth| {
        auth.log_in_without_password(&user, &device(), &context.into_inner())
    });
    let key = fetched(&auth, issued.await?).await?;
    Ok(key.ignoring(parameters.except(&["username"])))
}

/// Get the settings that clients need before a login.
///
/// A key in the request is ignored.
#[utoipa::path(get, path = "/api/v1/server_settings", operation_id = "serverSettings", tag = "Zulip", security(()),
    responses((status = 200, description = "The settings.", body = Success<ServerSettings>,
        content_type = "application/json")))]
async fn server_settings(state: Data<ZulipState>, policy: Data<OriginPolicy>, request: HttpRequest) -> impl Responder {
    let from_request = || {
        let base = base_url(request.headers()).filter(|_| policy.accepts_host(request.headers()));
        let base = base.map(String::from);
        let base = base
            .as_deref()
            .map_or("http://localhost", |url| url.trim_end_matches('/'));
        format!("{base}{}", state.prefix)
    };
    let url = state.public_url.as_ref();
    let url = url.map_or_else(from_request, |url| url.as_str().to_owned());
    Success::of(ServerSettings::of(&request, url, state.settings.dev_login))
}

/// Get the user to whom the key belongs.
#[utoipa::path(get, path = "/api/v1/users/me", operation_id = "ownUser", tag = "Zulip", security(("Basic" = [])),
    responses(
        (status = 200, description = "The user.", body = Success<OwnUser>, content_type = "application/json"),
        (status = 400, response = NotBasic),
        (status = 401, response = InvalidKey),
        (status = 403, response = ForeignPage),
        (status = 500, response = InternalError), (status = 503, response = Unavailable)))]
async fn own_user(caller: ZulipCaller) -> impl Responder {
    Success::of(OwnUser::from(caller.user))
}

/// Replace the presented key with a new one.
#[utoipa::path(post, path = "/api/v1/users/me/api_key/regenerate", operation_id = "regenerate", tag = "Zulip",
    security(("Basic" = [])),
    responses(
        (status = 200, description = "The new key.", body = Success<NewKey>, content_type = "application/json"),
        (status = 400, response = NotBasic),
        (status = 401, response = InvalidKey),
        (status = 403, response = ForeignPage),
        (status = 500, response = InternalError), (status = 503, response = Unavailable)))]
async fn regenerate(auth: Data<Auth>, caller: ZulipCaller) -> Result<impl Responder, ZulipError> {
    let issued = call(&auth, move |auth| auth.replace_key(&caller.caller, &device())).await?;
    let api_key = issued.key.expose_plain();
    Ok(Success::of(NewKey { api_key }))
}

async fn fetched(auth: &Data<Auth>, issued: IssuedKey) -> Result<Success<FetchedKey>, ZulipError> {
    let user_id = issued.user_id;
    let user = call(auth, move |auth| auth.user(&UserRef::Id(user_id))).await?;
    Ok(Success::of(FetchedKey {
        api_key: issued.key.expose_plain(),
        email: email_of(&user).to_owned(),
        user_id,
    }))
}

/// Returns the headers `X-RateLimit-*`: the limit, how many attempts are left, and when the next one is possible.
/// Returns no headers if the throttle is off, or if the attempt failed for a reason other than wrong credentials, a
/// disabled user or a limit.
async fn rate_limits(
    auth: &Data<Auth>,
    user: Name,
    context: RequestContext,
    outcome: &Result<IssuedKey, LoginError>,
) -> Vec<(HeaderName, HeaderValue)> {
    let wait = match outcome {
        Err(LoginError::Throttled(throttled)) => throttled.retry_after,
        Ok(_) | Err(LoginError::WrongCredentials | LoginError::Disabled) => Duration::ZERO,
        Err(LoginError::BadExpiry(_) | LoginError::TooManyKeys(_) | LoginError::Service(_)) => return Vec::new(),
    };
    // A client whose login succeeded gets its key even if the count is not available.
    let Ok(Some(left)) = call(auth, move |auth| auth.attempts_left(&user, &context)).await else {
        return Vec::new();
    };
    // The count ignores the limit of the network, so it may be positive although the client has to wait. Such a client
    // has no attempts left.
    let left = if wait.is_zero() { left } else { 0 };
    let now = u64::try_from(auth.now().and_utc().timestamp()).unwrap_or_default();
    let reset = now.saturating_add(wait.as_secs());
    let header = |name, value: u64| (HeaderName::from_static(name), HeaderValue::from(value));
    vec![
        header("x-ratelimit-limit", ACCOUNT_FAILURES.unsigned_abs().into()),
        header("x-ratelimit-remaining", left.into()),
        header("x-ratelimit-reset", reset),
    ]
}

/// Returns whether the request comes directly from a program on this machine, not from a proxy or a page in a browser.
/// `Host` must be `localhost` or a loopback address, because the name of a website may resolve to this machine. A proxy
/// that adds no headers may send such a `Host` too. Requests over HTTP/1.0 are rejected, because nginx uses it by
/// default and other clients do not.
fn is_local_request(request: &HttpRequest) -> bool {
    let is_sent_by_proxies_or_browsers = |name: &HeaderName| {
        [FORWARDED, VIA, ORIGIN].contains(name)
            || name.as_str().ends_with("-ip")
            || name.as_str().starts_with("x-forwarded")
    };
    let headers = request.headers();
    let is_local = base_url(headers).is_some_and(|url| url.host().as_ref().is_some_and(is_loopback));
    let site = headers.get("sec-fetch-site");
    is_local
        && request.version() >= Version::HTTP_11
        && site.is_none_or(|site| site == "none" || site == "same-origin")
        && !headers.keys().any(is_sent_by_proxies_or_browsers)
}

fn device() -> Name {
    Name::parse(DEVICE).expect("it is neither blank nor too long")
}
