//! `/api/auth`: log in; list, issue and revoke keys; change the password.

use actix_web::web::Data;
use actix_web::{HttpResponse, Responder};

use super::problems::{bad_request, of_issue, of_password_change, of_revocation};
use super::response::{Json, PlainText};
use super::types::{ApikeyResult, CoreAuthUser, ListedToken};
use super::{Caller, LoginContext, MaybeCaller, json};
use crate::auth::{Auth, KeyFilter, KeysAfterChange};
use crate::error::ManageError;
use crate::model::{Name, NameError, RequestContext, RequestedExpiry, SecretText, UserRef};
use crate::web::body::Body;
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::responses::{Forbidden, ForeignPage, TooManyFailures, Unauthorized, WrongCredentials};

/// Log in and get the device's API key.
///
/// Returns the same key at every login of the same user on the same device, until the key is revoked.
#[utoipa::path(post, path = "/api/auth", tag = "Auth", security(()),
    request_body(content = CoreAuthUser, description = "The user, the password and the device.", example = json!(CoreAuthUser::example())),
    responses(
        (status = 200, description = "The device's key.", body = ApikeyResult, example = json!(ApikeyResult::example())),
        (status = 401, response = WrongCredentials), (status = 403, response = ForeignPage),
        (status = 429, response = TooManyFailures)))]
pub async fn log_in(auth: Data<Auth>, context: LoginContext, body: Body) -> Result<impl Responder, Problem> {
    let login = json::object::<CoreAuthUser>(body).await?.check()?;
    let issued = call(&auth, move |auth| auth.log_in(&login, &context.into_inner())).await?;
    Ok(Json(ApikeyResult::from(&issued)))
}

/// Revoke a key.
///
/// Send the key in one of two ways:
///
/// - In the query as `apikey`, without a body (or with the body `null`). No other authentication is needed. An unknown
///   key gets the same response.
/// - In the body, as a JSON string. If there is no such key and the request presents a valid key, the string is taken
///   as the name of one of the caller's devices, and all keys of that device are revoked. With a string in the body,
///   `apikey` in the query only authenticates the caller.
#[utoipa::path(delete, path = "/api/auth", tag = "Auth", security((), ("ApiKey" = []), ("Bearer" = [])),
    params(("apikey" = Option<String>, Query, description = "The key to revoke.")),
    request_body(content = Option<String>, content_type = "application/json",
        description = "A key, or the name of one of the caller's devices, as a JSON string.", example = json!("7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10")),
    responses((status = 200, description = "The key is revoked."), (status = 401, response = Unauthorized)))]
pub async fn revoke(
    auth: Data<Auth>,
    caller: MaybeCaller,
    context: RequestContext,
    query: Query,
    body: Body,
) -> Result<impl Responder, Problem> {
    let text = json::scalar(body).await?;
    let revoked = match (text, query.one("apikey")?.map(str::to_owned)) {
        (Some(text), _) if !text.trim().is_empty() => {
            call(&auth, move |auth| {
                auth.revoke_key_or_device(caller.0.as_ref(), &text, &context)
            })
            .await
        }
        // The response does not reveal whether there was such a key.
        (None, Some(key)) => match call(&auth, move |auth| auth.revoke_key(caller.0.as_ref(), &key, &context)).await {
            Err(ManageError::UnknownKey) => Ok(()),
            revoked => revoked,
        },
        _ => return Err(bad_request("Must provide an apikey or device name to delete")),
    };
    revoked.map_err(|error| of_revocation(error, "Could not find apikey or device name to delete"))?;
    Ok(HttpResponse::Ok())
}

/// Change a password and revoke all keys of the user.
///
/// If callers change their own password, the presented key is revoked too.
#[utoipa::path(post, path = "/api/auth/ChangePassword", tag = "Auth",
    params(("userID" = Option<i32>, Query,
        description = "The user's id. The default is the caller's own. Only administrators may specify another user.")),
    request_body(content = String, content_type = "application/json", description = "The new password.",
        example = json!("correct horse battery")),
    responses((status = 200, description = "The password is changed, and all keys of the user are revoked."),
        (status = 403, response = Forbidden)))]
pub async fn change_password(
    auth: Data<Auth>,
    caller: Caller,
    query: Query,
    body: Body,
) -> Result<impl Responder, Problem> {
    change_queried_password(auth, caller, query, body, "Could not get user").await
}

/// Changes the password of the user in the query. `unknown_user` is the route's text about an unknown user.
pub(super) async fn change_queried_password(
    auth: Data<Auth>,
    caller: Caller,
    query: Query,
    body: Body,
    unknown_user: &str,
) -> Result<impl Responder + use<>, Problem> {
    let user = UserRef::Id(query.number("userID")?.unwrap_or(caller.holder.user_id));
    let password = SecretText::new(json::required_scalar(body, "newPassword").await?);
    let changed = call(&auth, move |auth| {
        auth.change_password((&caller).into(), &user, password.expose(), KeysAfterChange::Revoked)
    });
    changed.await.map_err(|error| of_password_change(error, unknown_user))?;
    Ok(HttpResponse::Ok())
}

/// List the caller's keys, or all keys if the caller is an administrator.
#[utoipa::path(get, path = "/api/auth", tag = "Auth", responses((status = 200, body = Vec<ListedToken>,
    description = "Information about the keys, but not the keys themselves.",
    example = json!(ListedToken::examples()))))]
pub async fn list(auth: Data<Auth>, caller: Caller) -> Result<impl Responder, Problem> {
    let keys = call(&auth, move |auth| auth.keys((&caller).into(), &KeyFilter::All)).await?;
    Ok(Json(ListedToken::sorted(keys)))
}

/// Get the lasting key of another device of the caller.
///
/// A key is issued if the device has none.
#[utoipa::path(post, path = "/api/auth/apikey", tag = "Auth",
    request_body(content = String, content_type = "application/json", description = "The device's name.", example = json!("my script")),
    responses((status = 200, description = "The key.", content(
        (String = "application/json", example = json!("7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10")),
        (String = "text/plain", example = "7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10")))))]
pub async fn issue_key(auth: Data<Auth>, caller: Caller, body: Body) -> Result<impl Responder, Problem> {
    let text = json::required_scalar(body, "device").await?;
    let device = Name::parse(&text).map_err(|error| match error {
        NameError::Blank => bad_request("device cannot be empty"),
        NameError::TooLong | NameError::ControlCharacter => Problem::invalid("device", error.to_string()),
    })?;
    let issued = call(&auth, move |auth| {
        auth.issue_key(&caller, &device, RequestedExpiry::Never)
    });
    Ok(PlainText(issued.await.map_err(of_issue)?.key.expose()))
}
