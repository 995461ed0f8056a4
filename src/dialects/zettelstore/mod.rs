//! Zettelstore's login: a token that works for some minutes, as its clients fetch and renew it.
//!
//! A token is a key that expires, of the device `Zettelstore`.

mod error;
mod types;

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::rt::time::{Instant, sleep_until};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Responder};
use utoipa::OpenApi;

use crate::auth::{Auth, LogIn};
use crate::error::AuthError;
use crate::model::{Name, RequestContext, RequestedExpiry};
use crate::secret::random;
use crate::settings::{ZettelstoreAuth, ZettelstoreSettings};
use crate::web::address::request_context;
use crate::web::answer::Verbatim;
use crate::web::body::Body;
use crate::web::call;
use crate::web::query::Query;
use error::Refusal;

/// The device of every token.
const DEVICE: &str = "Zettelstore";
/// What a login takes at least after the password was checked, when that took most of the delay.
const LEAST_DELAY: Duration = Duration::from_millis(100);
/// How much the delay varies, one way or the other.
const JITTER: Duration = Duration::from_millis(50);

/// All of it.
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

/// The document of these routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "shoko-auth: Zettelstore",
        description = "Zettelstore's login: a token for some minutes."
    ),
    paths(log_in, renew, command)
)]
pub struct Document;

/// A token for who knows the password.
///
/// Name and password come in a form or, where that has no name, with HTTP Basic.
#[utoipa::path(
    post,
    path = "/a",
    operation_id = "authenticate",
    tag = "Zettelstore",
    request_body(content = Option<types::LoginForm>, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "`(\"Bearer\" \"TOKEN\" SECONDS)`", body = String, content_type = "text/plain"),
        (status = 400, description = "The form cannot be read."),
        (status = 401, description = "The user name or the password is missing or wrong."),
        (status = 403, description = "Authentication is not active."),
        (status = 413, description = "The form is too long."),
        (status = 429, description = "Too many wrong passwords."),
        (status = 503, description = "The server cannot do it now."),
    ),
    security((), ("Basic" = [])),
)]
async fn log_in(
    auth: Data<Auth>,
    settings: Data<ZettelstoreSettings>,
    context: RequestContext,
    request: HttpRequest,
    body: Body,
) -> Result<impl Responder, Refusal> {
    if let Some(answer) = without_login(&settings)? {
        return Ok(answer);
    }
    let (user, password) = types::credentials(&request, body).await?.ok_or_else(Refusal::failed)?;
    let start = Instant::now();
    let lifetime = settings.token_lifetime;
    let issued = match Name::parse(&user) {
        Ok(user) => {
            let login = LogIn {
                user,
                password,
                device: device(),
                expiry: RequestedExpiry::Renewable(lifetime),
            };
            call(&auth, move |auth| auth.log_in(&login, &context)).await
        }
        Err(_) => Err(AuthError::WrongCredentials),
    };
    delay(start, settings.login_delay).await;
    Ok(text(types::token(&issued?.key.expose(), lifetime)))
}

/// The same token, or a new one when it has worked for a quarter of its time.
#[utoipa::path(
    put,
    path = "/a",
    operation_id = "renew",
    tag = "Zettelstore",
    responses(
        (status = 200, description = "`(\"Bearer\" \"TOKEN\" SECONDS)`", body = String, content_type = "text/plain"),
        (status = 400, description = "The token is missing or does not work."),
        (status = 403, description = "Authentication is not active."),
        (status = 503, description = "The server cannot do it now."),
    ),
    security(("Bearer" = [])),
)]
async fn renew(
    auth: Data<Auth>,
    settings: Data<ZettelstoreSettings>,
    request: HttpRequest,
) -> Result<impl Responder, Refusal> {
    if let Some(answer) = without_login(&settings)? {
        return Ok(answer);
    }
    let key = types::presented(&request).ok_or_else(Refusal::not_authenticated)?;
    let (lifetime, context) = (settings.token_lifetime, request_context(&request));
    let (key, expires_at) = call(&auth, move |auth| auth.renew_key(key, &device(), lifetime, &context)).await?;
    Ok(text(types::token(
        &key.expose(),
        types::remaining(expires_at, auth.now()),
    )))
}

/// Asks whether the token works: `cmd=authenticated`, the one command there is.
#[utoipa::path(
    post,
    path = "/x",
    operation_id = "command",
    tag = "Zettelstore",
    params(("cmd" = String, Query, description = "`authenticated`", example = "authenticated")),
    responses(
        (status = 200, description = "Nobody has to log in."),
        (status = 204, description = "It works."),
        (status = 400, description = "There is no such command."),
        (status = 401, description = "It is missing or does not work."),
        (status = 503, description = "The server cannot do it now."),
    ),
    security(("Bearer" = [])),
)]
async fn command(
    auth: Data<Auth>,
    settings: Data<ZettelstoreSettings>,
    request: HttpRequest,
) -> Result<impl Responder, Refusal> {
    if !Query::of(&request).pairs().any(|pair| pair == ("cmd", "authenticated")) {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "Unknown command"));
    }
    if settings.auth != ZettelstoreAuth::On {
        return Ok(empty(StatusCode::OK));
    }
    let Some(key) = types::presented(&request) else {
        return Ok(empty(StatusCode::UNAUTHORIZED));
    };
    let context = request_context(&request);
    let caller = call(&auth, move |auth| auth.verify(&[key], &context)).await?;
    Ok(empty(if caller.is_some() {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::UNAUTHORIZED
    }))
}

/// The answer where nobody logs in; `None`: everybody has to.
fn without_login(settings: &ZettelstoreSettings) -> Result<Option<HttpResponse>, Refusal> {
    match settings.auth {
        ZettelstoreAuth::On => Ok(None),
        ZettelstoreAuth::Off => Ok(Some(text(types::FREE_ACCESS.to_owned()))),
        ZettelstoreAuth::Refuse => Err(Refusal::new(StatusCode::FORBIDDEN, "Authentication is not active")),
    }
}

/// Lets an answer leave about `delay` after `start`, or a little later when the check took most of that: so that its
/// time tells nothing. Holds no thread.
async fn delay(start: Instant, delay: Duration) {
    if delay.is_zero() {
        return;
    }
    // Nothing depends on the jitter: without random bytes there is none.
    let part = u32::from(u16::from_be_bytes(random().unwrap_or([128, 0])));
    let jitter = JITTER * 2 * part / u32::from(u16::MAX);
    let latest = (start + delay).max(Instant::now() + LEAST_DELAY);
    sleep_until(latest + jitter - JITTER).await;
}

fn text(body: String) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(body)
}

fn empty(status: StatusCode) -> HttpResponse {
    let mut response = HttpResponse::new(status);
    response.extensions_mut().insert(Verbatim::default());
    response
}

async fn not_allowed() -> Result<HttpResponse, Refusal> {
    Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
}

fn device() -> Name {
    Name::parse(DEVICE).expect("it is neither blank nor too long")
}
