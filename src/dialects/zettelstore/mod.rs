//! Zettelstore's login: a client gets a token that is valid for a limited time (10 minutes by default), and renews the
//! token before it expires.
//!
//! A token is an expiring key of the device `Zettelstore`.

mod error;
mod responses;
mod types;

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::rt::time::{Instant, sleep_until};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Responder};
use utoipa::OpenApi;

use crate::auth::{Auth, LogIn};
use crate::error::{KeyError, LoginError};
use crate::model::{Acceptance, Name, RequestedExpiry};
use crate::secret::random;
use crate::settings::{ZettelstoreAuth, ZettelstoreSettings};
use crate::web::body::Body;
use crate::web::call;
use crate::web::caller::{Caller, Dialect, Keys};
use crate::web::origin::LoginContext;
use crate::web::query::Query;
use error::ZettelstoreError;
use responses::{
    BadForm, InternalError, LoginForbidden, NotAuthenticated, Refused, Responses, TooLarge, TooManyFailures,
    Unavailable, UnknownCommand, UnsupportedType, WrongCredentials,
};
use types::Token;

/// The device of all tokens.
const DEVICE: &str = "Zettelstore";
/// The minimum time from the end of the password check to the response, before the jitter is applied. It matters only
/// if the check has taken most of the login delay.
const MIN_DELAY: Duration = Duration::from_millis(100);
/// The maximum jitter: each delay is lengthened or shortened by a random time of at most this length.
const MAX_JITTER: Duration = Duration::from_millis(50);

/// Zettelstore's wire protocol.
struct Zettelstore;

impl Dialect for Zettelstore {
    type Error = ZettelstoreError;

    fn presented_keys(request: &HttpRequest) -> Result<Keys, ZettelstoreError> {
        match types::presented_key(request) {
            Some(key) => Ok(Keys::from_iter([key])),
            None if types::presents_token(request) => Err(KeyError::Invalid.into()),
            None => Ok(Keys::new()),
        }
    }

    fn acceptance(_: &HttpRequest) -> Acceptance {
        Acceptance::FullKeys
    }
}

/// Registers all routes.
pub fn routes(config: &mut ServiceConfig, settings: ZettelstoreSettings) {
    config
        .app_data(Data::new(settings))
        .service(
            web::resource("/a")
                .route(web::post().to(log_in))
                .route(web::put().to(renew))
                .default_service(web::to(not_allowed)),
        )
        .service(web::resource(r"/a/{zettel:\d{14}}").default_service(web::to(not_allowed)))
        .service(
            web::resource("/x")
                .route(web::post().to(command))
                .default_service(web::to(not_allowed)),
        );
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "shoko-auth: Zettelstore",
        description = "Zettelstore's login. Send a user's name and password to `POST /a`, and then the token in \
            `Authorization: Bearer`. A token is valid for a limited time (10 minutes by default), so renew it before it \
            expires. Errors are a line of text.",
        contact(name = "The shoko-auth developers")
    ),
    tags((
        name = "Zettelstore",
        description = "Get, renew and check a token.",
        external_docs(url = "https://zettelstore.de/manual/", description = "Zettelstore's own documentation")
    )),
    paths(log_in, renew, command)
)]
struct Document;

/// Returns the OpenAPI document of these routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(Responses::openapi());
    document
}

/// Log in and get a token.
///
/// Send the name and the password in a form or with HTTP Basic. If the form contains a name, HTTP Basic is ignored.
#[utoipa::path(post, path = "/a", operation_id = "authenticate", tag = "Zettelstore", security((), ("Basic" = [])),
    request_body(content = Option<types::LoginForm>, content_type = "application/x-www-form-urlencoded", description = "The user's name and password."),
    responses(
        (status = 200, description = "`(\"Bearer\" \"TOKEN\" SECONDS)`", body = String, content_type = "text/plain"),
        (status = 400, response = BadForm),
        (status = 401, response = WrongCredentials),
        (status = 403, response = LoginForbidden),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 429, response = TooManyFailures),
        (status = 500, response = InternalError), (status = 503, response = Unavailable)))]
async fn log_in(
    auth: Data<Auth>,
    settings: Data<ZettelstoreSettings>,
    context: LoginContext<ZettelstoreError>,
    request: HttpRequest,
    body: Body,
) -> Result<impl Responder, ZettelstoreError> {
    if !is_login_required(&settings)? {
        return Ok(Token::free_access());
    }
    let (user, password) = types::credentials(&request, body)
        .await?
        .ok_or_else(ZettelstoreError::authentication_failed)?;
    let start = Instant::now();
    let lifetime = settings.token_lifetime;
    let issued = match Name::parse(&user) {
        Ok(user) => {
            let login = LogIn {
                user,
                password,
                device: device(),
                expiry: RequestedExpiry::Renewable(lifetime),
                dialect: "zettelstore",
            };
            call(&auth, move |auth| auth.log_in(&login, &context.into_inner())).await
        }
        Err(_) => Err(LoginError::WrongCredentials),
    };
    delay(start, settings.login_delay).await;
    Ok(Token::new(&issued?.key, lifetime))
}

/// Renew a token.
///
/// Returns the same token until a quarter of its lifetime has passed, and then a new one.
#[utoipa::path(put, path = "/a", operation_id = "renew", tag = "Zettelstore", security(("Bearer" = [])),
    responses(
        (status = 200, description = "`(\"Bearer\" \"TOKEN\" SECONDS)`", body = String, content_type = "text/plain"),
        (status = 400, response = NotAuthenticated),
        (status = 403, response = Refused),
        (status = 500, response = InternalError), (status = 503, response = Unavailable)))]
async fn renew(
    auth: Data<Auth>,
    settings: Data<ZettelstoreSettings>,
    request: HttpRequest,
) -> Result<impl Responder, ZettelstoreError> {
    if !is_login_required(&settings)? {
        return Ok(Token::free_access());
    }
    let caller = Caller::<Zettelstore>::extract(&request).await?;
    let key = types::presented_key(&request).ok_or(KeyError::Required)?;
    let lifetime = settings.token_lifetime;
    let renewed = call(&auth, move |auth| auth.renew_key(&caller, key, &device(), lifetime));
    let (key, expires_at) = renewed.await?;
    Ok(Token::new(&key, types::remaining(expires_at, auth.now())))
}

/// Check a token.
///
/// The only command is `authenticated`. If tokens are not checked, the response is 200 instead of 204.
#[utoipa::path(post, path = "/x", operation_id = "command", tag = "Zettelstore", security(("Bearer" = [])),
    params(("cmd" = String, Query, description = "`authenticated`", example = "authenticated")),
    responses(
        (status = 200, description = "Tokens are not checked (`SHOKO_AUTH_ZETTELSTORE_AUTH` is not `on`)."),
        (status = 204, description = "The token is valid."),
        (status = 400, response = UnknownCommand),
        (status = 401, description = "The token is missing or invalid. The response has no body."),
        (status = 500, response = InternalError), (status = 503, response = Unavailable)))]
async fn command(
    settings: Data<ZettelstoreSettings>,
    request: HttpRequest,
    query: Query,
) -> Result<impl Responder, ZettelstoreError> {
    if !query.pairs().any(|pair| pair == ("cmd", "authenticated")) {
        return Err(ZettelstoreError::new(StatusCode::BAD_REQUEST, "Unknown command"));
    }
    if settings.auth != ZettelstoreAuth::On {
        return Ok(HttpResponse::Ok());
    }
    let caller = Caller::<Zettelstore>::extract(&request).await;
    caller.map_err(ZettelstoreError::of_command)?;
    Ok(HttpResponse::NoContent())
}

/// Returns whether clients have to log in. Fails if all logins are rejected.
fn is_login_required(settings: &ZettelstoreSettings) -> Result<bool, ZettelstoreError> {
    match settings.auth {
        ZettelstoreAuth::On => Ok(true),
        ZettelstoreAuth::Off => Ok(false),
        ZettelstoreAuth::Refuse => Err(ZettelstoreError::new(
            StatusCode::FORBIDDEN,
            "Authentication is not active",
        )),
    }
}

/// Waits until about `delay` after `start`, so that the response time reveals nothing about the password. Waits a
/// little longer if the password check took most of that time. Occupies no thread while it waits.
async fn delay(start: Instant, delay: Duration) {
    if delay.is_zero() {
        return;
    }
    // Security does not depend on the jitter, so a failure of the random generator just means no jitter.
    let part = u32::from(u16::from_be_bytes(random().unwrap_or([128, 0])));
    let jitter = MAX_JITTER * 2 * part / u32::from(u16::MAX);
    let end = (start + delay).max(Instant::now() + MIN_DELAY);
    sleep_until(end + jitter - MAX_JITTER).await;
}

async fn not_allowed() -> Result<HttpResponse, ZettelstoreError> {
    Err(ZettelstoreError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "Method Not Allowed",
    ))
}

fn device() -> Name {
    Name::parse(DEVICE).expect("it is neither blank nor too long")
}
