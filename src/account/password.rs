//! `/api/account/password`: change one's own password.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::caller::AccountCaller;
use super::requests::PasswordRequest;
use super::responses::Session;
use super::session::{signed_in, signed_out};
use super::{examples, json};
use crate::auth::Auth;
use crate::error::ManageError;
use crate::web::body::Body;
use crate::web::call;
use crate::web::gateway_cookie::sign_in_domain;
use crate::web::problem::Problem;
use crate::web::responses::{OwnChangeForbidden, TooManyFailures};

/// Change the caller's own password.
///
/// Revokes all keys and sessions of the user. A browser gets a new session, so it stays signed in.
#[utoipa::path(post, path = "/api/account/password", tag = "Account",
    request_body(content = PasswordRequest, description = "The current and the new password."),
    responses((status = 200, description = "The password is changed. The browser has a new session.", body = Session,
            headers(("Set-Cookie" = String, description = "The cookie of the new session.")), example = json!(examples::session())),
        (status = 204, description = "The password is changed. The request presented a key, which is revoked."),
        (status = 403, response = OwnChangeForbidden), (status = 429, response = TooManyFailures)))]
pub async fn change(
    auth: Data<Auth>,
    caller: AccountCaller,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let passwords = json::object::<PasswordRequest>(body).await?;
    let caller = caller.confirmed(&auth, Some(passwords.current_password.0)).await?;
    let new = passwords.new_password.0;
    let gateway = sign_in_domain(&request).map(|domain| domain.domain().clone());
    let changed = call(&auth, move |auth| {
        auth.change_own_password(&caller, &new, gateway.as_ref())
    });
    let changed = changed.await;
    match changed.map_err(of_change)? {
        Some(session) => Ok(signed_in(&request, &session, &Session::from(&session))),
        None => Ok(signed_out(&request)),
    }
}

fn of_change(error: ManageError) -> Problem {
    match error {
        ManageError::BadPassword(error) => Problem::invalid("newPassword", error.to_string()),
        other => other.into(),
    }
}
