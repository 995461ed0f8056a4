//! `/api/v3/Auth`: keys that may expire. This API calls a key a token.

use actix_web::web::Data;
use actix_web::{HttpResponse, Responder};

use super::auth::change_queried_password;
use super::problems::{bad_request, of_issue, of_login, of_revocation};
use super::response::Json;
use super::types::{AuthToken, GenerateTokenRequest, ListedToken, SignInRequest};
use super::{Caller, LoginContext, MaybeCaller, json};
use crate::auth::{Auth, KeyFilter};
use crate::model::{RequestContext, UserRef};
use crate::web::body::Body;
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::responses::{BadRequest, Forbidden, ForeignPage, TooManyFailures, Unauthorized, WrongCredentials};

/// Log in and get a key that may expire.
///
/// With `Expires`, issues a new key. Without it, returns the device's lasting key, which is the same at every login.
#[utoipa::path(post, path = "/api/v3/Auth/SignIn", tag = "Auth", security(()),
    request_body(content = SignInRequest, description = "The user, the password, the device and the expiry.",
        example = json!(SignInRequest::example())),
    responses((status = 200, description = "The key.", body = AuthToken, example = json!(AuthToken::example())),
        (status = 401, response = WrongCredentials), (status = 403, response = ForeignPage),
        (status = 429, response = TooManyFailures)))]
pub async fn sign_in(auth: Data<Auth>, context: LoginContext, body: Body) -> Result<impl Responder, Problem> {
    let login = json::object::<SignInRequest>(body).await?.check(auth.now())?;
    let issued = call(&auth, move |auth| auth.log_in(&login, &context.into_inner())).await;
    Ok(Json(AuthToken::from(issued.map_err(of_login)?)))
}

/// Get a key for another device of the caller.
///
/// With `Expires`, issues a new key. Without it, returns the device's lasting key.
#[utoipa::path(post, path = "/api/v3/Auth/GenerateToken", tag = "Auth",
    request_body(content = GenerateTokenRequest, description = "The device and the expiry.", example = json!(GenerateTokenRequest::example())),
    responses((status = 200, description = "The key.", body = AuthToken, example = json!(AuthToken::example()))))]
pub async fn generate(auth: Data<Auth>, caller: Caller, body: Body) -> Result<impl Responder, Problem> {
    let (device, expiry) = json::object::<GenerateTokenRequest>(body).await?.check(auth.now())?;
    let issued = call(&auth, move |auth| auth.issue_key(&caller, &device, expiry)).await;
    Ok(Json(AuthToken::from(issued.map_err(of_issue)?)))
}

/// List the caller's keys, or with `showAll`, the keys of all users.
#[utoipa::path(get, path = "/api/v3/Auth/ListTokens", tag = "Auth",
    params(("showAll" = Option<bool>, Query,
        description = "Whether to list the keys of all users. Has no effect if the caller is not an administrator.")),
    responses((status = 200, description = "Information about the keys, but not the keys themselves.",
        body = Vec<ListedToken>, example = json!(ListedToken::examples())), (status = 400, response = BadRequest)))]
pub async fn list(auth: Data<Auth>, caller: Caller, query: Query) -> Result<impl Responder, Problem> {
    let filter = match query.boolean("showAll")? {
        Some(true) => KeyFilter::All,
        None | Some(false) => KeyFilter::User(UserRef::Id(caller.holder.user_id)),
    };
    let keys = call(&auth, move |auth| auth.keys((&caller).into(), &filter)).await?;
    Ok(Json(ListedToken::sorted(keys)))
}

/// Revoke a key.
///
/// Revokes the key in the parameter `token`, or the presented key if there is no such parameter.
#[utoipa::path(delete, path = "/api/v3/Auth/InvalidateToken", tag = "Auth",
    security((), ("ApiKey" = []), ("ApiKeyQuery" = []), ("Bearer" = [])),
    params(("token" = Option<String>, Query, description = "The key to revoke.")),
    responses((status = 200, description = "The key is revoked."), (status = 400, response = BadRequest),
        (status = 401, response = Unauthorized)))]
pub async fn invalidate(
    auth: Data<Auth>,
    caller: MaybeCaller,
    context: RequestContext,
    query: Query,
) -> Result<impl Responder, Problem> {
    match (query.one("token")?.map(str::to_owned), caller.0) {
        (Some(token), caller) => call(&auth, move |auth| auth.revoke_key(caller.as_ref(), &token, &context))
            .await
            .map_err(|error| of_revocation(error, "Unable to invalidate token."))?,
        (None, Some(caller)) => call(&auth, move |auth| auth.revoke_own_key(&caller)).await?,
        (None, None) => return Err(bad_request("An API token must be provided if not signed in.")),
    }
    Ok(HttpResponse::Ok())
}

/// Change a password and revoke all keys of the user.
///
/// If callers change their own password, the presented key is revoked too.
#[utoipa::path(post, path = "/api/v3/Auth/ChangePassword", tag = "Auth",
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
    change_queried_password(auth, caller, query, body, "Unable to find user.").await
}
