//! `/api/account/session`: sign in, sign out, and who is signed in.

use actix_web::http::StatusCode;
use actix_web::http::header::USER_AGENT;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse};

use super::caller::AccountCaller;
use super::requests::SessionRequest;
use super::responses::Session;
use super::{cookie, examples, json};
use crate::auth::{Auth, NewSession, SignIn};
use crate::error::KeyError;
use crate::web::body::Body;
use crate::web::call;
use crate::web::gateway_cookie::sign_in_domain;
use crate::web::origin::LoginContext;
use crate::web::problem::Problem;
use crate::web::responses::{ForeignPage, ForeignPageWithSession, TooManyFailures, WrongCredentials};

/// Sign in with a browser.
///
/// The response sets the cookie of a new session: `__Host-shoko-auth`, or `shoko-auth` without encryption. It is
/// accepted only on `/account` and `/api/account`.
#[utoipa::path(post, path = "/api/account/session", tag = "Account", security(()),
    request_body(content = SessionRequest, description = "The user and the password."),
    responses((status = 200, description = "The new session.", body = Session,
            headers(("Set-Cookie" = String, description = "The cookie of the session.")), example = json!(examples::session())),
        (status = 401, response = WrongCredentials), (status = 403, response = ForeignPage),
        (status = 429, response = TooManyFailures)))]
pub async fn sign_in(
    auth: Data<Auth>,
    context: LoginContext<Problem>,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let sign_in = json::object::<SessionRequest>(body)
        .await?
        .check(user_agent(&request))?;
    // A cookie that cannot be a session has none to end.
    let replaced = cookie::session_secret(&request).unwrap_or_default();
    let gateway = sign_in_domain(&request).map(|domain| domain.domain().clone());
    let sign_in = SignIn {
        replaced,
        gateway,
        ..sign_in
    };
    let session = call(&auth, move |auth| auth.sign_in(&sign_in, &context.into_inner())).await?;
    Ok(signed_in(&request, &session, &Session::from(&session)))
}

/// Get the user who is signed in, since when and until when.
#[utoipa::path(get, path = "/api/account/session", tag = "Account",
    responses((status = 200, description = "The session, or the key that the request presents.", body = Session, example = json!(examples::session()))))]
pub async fn read(auth: Data<Auth>, caller: AccountCaller) -> Result<HttpResponse, Problem> {
    let is_admin = caller.holder.is_admin;
    let caller = caller.into_inner();
    let key = call(&auth, move |auth| auth.current_key(&caller)).await?;
    let end = auth.session_end(key.created_at);
    Ok(json::respond(StatusCode::OK, &Session::of(key, is_admin, end)))
}

/// Sign out.
///
/// Revokes the session, or the key that the request presents. Succeeds even without a valid session, and deletes the
/// cookie.
#[utoipa::path(delete, path = "/api/account/session", tag = "Account",
    security((), ("Session" = []), ("ApiKey" = []), ("Bearer" = [])),
    responses((status = 204, description = "The session is revoked."), (status = 403, response = ForeignPageWithSession)))]
pub async fn sign_out(auth: Data<Auth>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    match AccountCaller::extract(&request).await {
        Ok(caller) => {
            let caller = caller.into_inner();
            call(&auth, move |auth| auth.revoke_own_key(&caller).map_err(KeyError::from)).await?;
        }
        Err(problem) if problem.is_unauthorized() => {}
        Err(problem) => return Err(problem),
    }
    Ok(signed_out(&request))
}

/// Returns the header `User-Agent`, or an empty text.
pub(super) fn user_agent(request: &HttpRequest) -> String {
    let header = request.headers().get(USER_AGENT);
    header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// Returns a response that stores the cookie of a new session.
pub(super) fn signed_in(request: &HttpRequest, session: &NewSession, body: &impl serde::Serialize) -> HttpResponse {
    let mut response = json::respond(StatusCode::OK, body);
    cookie::add(&mut response, request, session);
    response
}

/// Returns a response without a body that deletes the cookie.
pub(super) fn signed_out(request: &HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::NoContent().finish();
    cookie::delete(&mut response, request);
    response
}
