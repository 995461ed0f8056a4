//! Zulip's login: a key for who knows the password, as its terminal, Python and mobile clients ask for it.
//!
//! Zulip has one key a user. Here it is the key of the device `Zulip`, written without dashes.

mod error;
mod types;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::dev::Payload;
use actix_web::http::header::{ALLOW, FORWARDED, HOST, HeaderName, HeaderValue, ORIGIN, VIA};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{CustomizeResponder, FromRequest, HttpRequest, HttpResponse, Responder};
use url::{Host, Url};
use utoipa::OpenApi;

use crate::auth::{ACCOUNT_FAILURES, Auth, IssuedKey, LogIn};
use crate::error::AuthError;
use crate::model::{Caller, Name, RequestContext, RequestedExpiry, User, UserRef, normalize};
use crate::secret::key::Key;
use crate::settings::{PublicUrl, ZulipSettings};
use crate::web::address::request_context;
use crate::web::answer::Verbatim;
use crate::web::basic::Basic;
use crate::web::body::Body;
use crate::web::call;
use error::Refusal;
use types::{FetchedKey, NewKey, OwnUser, Parameters, ServerSettings, Success, email_of};

/// The device of every key that Zulip's clients get.
const DEVICE: &str = "Zulip";

/// What the routes need to know.
struct Here {
    settings: ZulipSettings,
    public_url: Option<PublicUrl>,
    prefix: String,
}

/// All of it, below `prefix`.
pub fn routes(config: &mut ServiceConfig, settings: ZulipSettings, public_url: Option<PublicUrl>, prefix: &str) {
    let only = |path: &str, route: actix_web::Route, method: &'static str| {
        let resource = web::resource(path).route(route);
        resource.default_service(web::to(
            move || async move { Err::<HttpResponse, _>(Refusal::only(method)) },
        ))
    };
    config
        .app_data(Data::new(Here {
            settings,
            public_url,
            prefix: prefix.to_owned(),
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
                .default_service(web::to(only_read)),
        );
}

/// The document of these routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "shoko-auth: Zulip",
        description = "Zulip's login: the key of a user, for Zulip's clients."
    ),
    paths(fetch_api_key, dev_fetch_api_key, server_settings, own_user, regenerate)
)]
pub struct Document;

/// The user's key.
///
/// Parameters come in a form. In the query they do, too, but there passwords end in logs; the form wins. JSON is not read.
#[utoipa::path(
    post,
    path = "/api/v1/fetch_api_key",
    operation_id = "fetchApiKey",
    tag = "Zulip",
    request_body(content = types::LoginForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The key.", body = Success<FetchedKey>, content_type = "application/json"),
        (status = 400, description = "A parameter is missing."),
        (status = 401, description = "The user name or the password is wrong, or the user is disabled."),
        (status = 413, description = "The form is too long."),
        (status = 429, description = "Too many wrong passwords."),
        (status = 503, description = "The server cannot do it now."),
    ),
    security(()),
)]
async fn fetch_api_key(
    auth: Data<Auth>,
    context: RequestContext,
    request: HttpRequest,
    body: Body,
) -> Result<impl Responder, Refusal> {
    let parameters = Parameters::of(&request, body).await?;
    let (user, password) = (parameters.required("username")?, parameters.secret("password")?);
    let user = Name::parse(user).map_err(|_| AuthError::WrongCredentials)?;
    let login = LogIn {
        user: user.clone(),
        password,
        device: device(),
        expiry: RequestedExpiry::Never,
    };
    let asked_by = context.clone();
    let issued = call(&auth, move |auth| auth.log_in(&login, &asked_by)).await;
    let limits = rate_limits(&auth, user, context, &issued).await;
    let issued = issued.map_err(|error| limits.iter().cloned().fold(Refusal::from(error), with_header))?;
    let answer = fetched(&auth, issued)
        .await?
        .ignoring(parameters.except(&["username", "password"]));
    Ok(limits
        .into_iter()
        .fold(answer.customize(), CustomizeResponder::insert_header))
}

fn with_header(refusal: Refusal, (name, value): (HeaderName, HeaderValue)) -> Refusal {
    refusal.with_header(name, value)
}

/// The key of any user, for development: where it is not wanted, always 400.
#[utoipa::path(
    post,
    path = "/api/v1/dev_fetch_api_key",
    operation_id = "devFetchApiKey",
    tag = "Zulip",
    request_body(content = types::DevLoginForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The key.", body = Success<FetchedKey>, content_type = "application/json"),
        (status = 400, description = "A parameter is missing, or this is not available here."),
        (status = 401, description = "There is no such user, or he is disabled."),
        (status = 413, description = "The form is too long."),
        (status = 503, description = "The server cannot do it now."),
    ),
    security(()),
)]
async fn dev_fetch_api_key(
    auth: Data<Auth>,
    here: Data<Here>,
    context: RequestContext,
    request: HttpRequest,
    body: Body,
) -> Result<impl Responder, Refusal> {
    let parameters = Parameters::of(&request, body).await?;
    let user = parameters.required("username")?;
    if !here.settings.dev_login || !is_from_here(&request) {
        return Err(Refusal::bad_request("Endpoint not available in production."));
    }
    let user = Name::parse(user).map_err(|_| AuthError::WrongCredentials)?;
    let issued = call(&auth, move |auth| {
        auth.log_in_without_password(&user, &device(), &context)
    })
    .await?;
    Ok(fetched(&auth, issued).await?.ignoring(parameters.except(&["username"])))
}

/// What clients want to know before anybody logs in. A key that is sent along is not looked at.
#[utoipa::path(
    get,
    path = "/api/v1/server_settings",
    operation_id = "serverSettings",
    tag = "Zulip",
    responses((status = 200, description = "The settings.", body = Success<ServerSettings>,
        content_type = "application/json")),
    security(()),
)]
async fn server_settings(here: Data<Here>, request: HttpRequest) -> impl Responder {
    let own = || match called(&request) {
        Some(url) => format!("{}{}", url.as_str().trim_end_matches('/'), here.prefix),
        None => format!("http://localhost{}", here.prefix),
    };
    let url = here.public_url.as_ref().map_or_else(own, |url| url.as_str().to_owned());
    Success::of(ServerSettings::of(&request, url, here.settings.dev_login))
}

/// Who the key belongs to.
#[utoipa::path(
    get,
    path = "/api/v1/users/me",
    operation_id = "ownUser",
    tag = "Zulip",
    responses(
        (status = 200, description = "The user.", body = Success<OwnUser>, content_type = "application/json"),
        (status = 400, description = "The credentials are no HTTP Basic."),
        (status = 401, description = "The key is missing or wrong."),
        (status = 503, description = "The server cannot do it now."),
    ),
    security(("Basic" = [])),
)]
async fn own_user(holder: KeyHolder) -> impl Responder {
    Success::of(OwnUser::from(holder.user))
}

/// A new key; the old one ends at once.
#[utoipa::path(
    post,
    path = "/api/v1/users/me/api_key/regenerate",
    operation_id = "regenerate",
    tag = "Zulip",
    responses(
        (status = 200, description = "The key.", body = Success<NewKey>, content_type = "application/json"),
        (status = 400, description = "The credentials are no HTTP Basic."),
        (status = 401, description = "The key is missing or wrong."),
        (status = 503, description = "The server cannot do it now."),
    ),
    security(("Basic" = [])),
)]
async fn regenerate(auth: Data<Auth>, holder: KeyHolder) -> Result<impl Responder, Refusal> {
    let issued = call(&auth, move |auth| auth.replace_key(&holder.caller, &device())).await?;
    Ok(Success::of(NewKey {
        api_key: issued.key.expose_plain(),
    }))
}

/// Whoever presents a key with HTTP Basic: his name or e-mail address as user, the key as password.
struct KeyHolder {
    caller: Caller,
    user: User,
}

impl FromRequest for KeyHolder {
    type Error = Refusal;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self, Refusal>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { key_holder(&request).await })
    }
}

async fn key_holder(request: &HttpRequest) -> Result<KeyHolder, Refusal> {
    let (name, key) = presented(request)?;
    let (auth, context) = (request.app_data::<Data<Auth>>(), request_context(request));
    let auth = auth.ok_or_else(|| AuthError::internal("the routes have no service"))?;
    let found = call(auth, move |auth| {
        match auth.verify(std::slice::from_ref(&key), &context)? {
            Some(caller) => auth.own_user(&caller).map(|user| KeyHolder { caller, user }),
            None if auth.is_key_of_disabled_user(&key)? => Err(AuthError::Disabled),
            None => Err(AuthError::InvalidKey),
        }
    });
    let holder = found.await.map_err(|error| match error {
        AuthError::Disabled => Refusal::unauthorized("Account is deactivated"),
        other => other.into(),
    })?;
    let is_called = |called: &str| normalize(called) == name;
    if is_called(&holder.user.name) || holder.user.email.as_deref().is_some_and(is_called) {
        Ok(holder)
    } else {
        Err(AuthError::InvalidKey.into())
    }
}

/// The folded name and the key that a request presents.
fn presented(request: &HttpRequest) -> Result<(String, Key), Refusal> {
    let unreadable = || Refusal::unauthorized("Invalid authorization header for basic auth");
    let text = match Basic::of(request.headers()) {
        Basic::Decoded(text) => text,
        Basic::Missing => return Err(AuthError::KeyRequired.into()),
        Basic::Unreadable => return Err(unreadable()),
        Basic::OtherScheme => {
            return Err(Refusal::bad_request(
                "This endpoint requires HTTP basic authentication.",
            ));
        }
    };
    let (name, key) = text.split_once(':').ok_or_else(unreadable)?;
    let key = key.trim();
    if key.contains(':') {
        return Err(unreadable());
    }
    if key.len() != 32 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Refusal::unauthorized("Malformed API key"));
    }
    Ok((normalize(name), Key::parse(key).ok_or(AuthError::InvalidKey)?))
}

async fn fetched(auth: &Data<Auth>, issued: IssuedKey) -> Result<Success<FetchedKey>, Refusal> {
    let user_id = issued.user_id;
    let user = call(auth, move |auth| auth.user(&UserRef::Id(user_id))).await?;
    Ok(Success::of(FetchedKey {
        api_key: issued.key.expose_plain(),
        email: email_of(&user).to_owned(),
        user_id,
    }))
}

/// `X-RateLimit-*`, of every try that was counted: how many there may be, how many are left, when the next may be made.
async fn rate_limits(
    auth: &Data<Auth>,
    user: Name,
    context: RequestContext,
    outcome: &Result<IssuedKey, AuthError>,
) -> Vec<(HeaderName, HeaderValue)> {
    let wait = match outcome {
        Err(AuthError::Throttled(throttled)) => throttled.retry_after,
        Ok(_) | Err(AuthError::WrongCredentials | AuthError::Disabled) => Duration::ZERO,
        Err(_) => return Vec::new(),
    };
    // Who has got a key gets it, whether the count can be told or not.
    let Ok(Some(left)) = call(auth, move |auth| auth.attempts_left(&user, &context)).await else {
        return Vec::new();
    };
    // A network may have none where the account has.
    let left = if wait.is_zero() { left } else { 0 };
    let reset = SystemTime::now() + wait;
    let reset = reset.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let header = |name, value: u64| (HeaderName::from_static(name), HeaderValue::from(value));
    vec![
        header("x-ratelimit-limit", ACCOUNT_FAILURES.unsigned_abs().into()),
        header("x-ratelimit-remaining", left.into()),
        header("x-ratelimit-reset", reset),
    ]
}

/// Whether a program on this machine sends this itself: no proxy, and no page in a browser, whose site may have a name
/// that leads here.
fn is_from_here(request: &HttpRequest) -> bool {
    let tells_otherwise = |name: &HeaderName| {
        [FORWARDED, VIA, ORIGIN].contains(name)
            || name.as_str() == "x-real-ip"
            || name.as_str().starts_with("x-forwarded")
    };
    let is_local = called(request).is_some_and(|url| match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    });
    is_local && !request.headers().keys().any(tells_otherwise)
}

/// What the client calls this server. TLS ends before it: where there is any, the setting must be there, too.
fn called(request: &HttpRequest) -> Option<Url> {
    let host = request.headers().get(HOST)?.to_str().ok()?;
    let url = Url::parse(&format!("http://{host}")).ok()?;
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    Some(url).filter(|url| is_plain && url.username().is_empty() && url.password().is_none())
}

async fn only_read() -> HttpResponse {
    let mut response = HttpResponse::MethodNotAllowed()
        .insert_header((ALLOW, "GET, HEAD"))
        .finish();
    response.extensions_mut().insert(Verbatim::default());
    response
}

fn device() -> Name {
    Name::parse(DEVICE).expect("it is neither blank nor too long")
}
