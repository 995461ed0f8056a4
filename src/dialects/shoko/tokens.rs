//! `/api/v3/Auth`: keys that may expire. On this wire a key is called a token.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, Responder};

use super::auth::change_refused;
use super::types::{AuthToken, GenerateTokenRequest, ListedToken, SignInRequest};
use crate::auth::{Auth, KeyFilter, KeysAfterChange};
use crate::error::AuthError;
use crate::model::{Caller, RequestContext, SecretText, UserRef};
use crate::web::answer::Json;
use crate::web::body::Body;
use crate::web::call;
use crate::web::caller::MaybeCaller;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::responses::{BadRequest, Forbidden, TooManyTries, Unauthorized};

/// Log in: a key that may expire.
///
/// Without `Expires` it is the device's lasting key, the same every time; with it, a new key for each call.
#[utoipa::path(post, path = "/api/v3/Auth/SignIn", tag = "Auth",
    request_body(content = SignInRequest, description = "Who logs in, on which device, and for how long.",
        example = json!(SignInRequest::example())),
    responses(
        (status = 200, description = "The key.", body = AuthToken, example = json!(AuthToken::example())),
        (status = 401, response = Unauthorized),
        (status = 429, response = TooManyTries),
    ), security(()))]
pub async fn sign_in(auth: Data<Auth>, context: RequestContext, body: Body) -> Result<impl Responder, Problem> {
    let login = body.json::<SignInRequest>().await?.check()?;
    let issued = call(&auth, move |auth| auth.log_in(&login, &context))
        .await
        .map_err(expiry_refused)?;
    Ok(Json(AuthToken::from(issued)).no_store())
}

/// A key for another device of the caller's.
#[utoipa::path(post, path = "/api/v3/Auth/GenerateToken", tag = "Auth",
    request_body(content = GenerateTokenRequest, description = "For which device, and for how long.",
        example = json!(GenerateTokenRequest::example())),
    responses((status = 200, description = "The key.", body = AuthToken, example = json!(AuthToken::example()))))]
pub async fn generate(auth: Data<Auth>, caller: Caller, body: Body) -> Result<impl Responder, Problem> {
    let (device, expiry) = body.json::<GenerateTokenRequest>().await?.check()?;
    let issued = call(&auth, move |auth| auth.issue_key(&caller, &device, expiry))
        .await
        .map_err(expiry_refused)?;
    Ok(Json(AuthToken::from(issued)).no_store())
}

/// The caller's keys; everybody's, when an administrator asks for that.
#[utoipa::path(get, path = "/api/v3/Auth/ListTokens", tag = "Auth",
    params(("showAll" = Option<bool>, Query, description = "Everybody's; for administrators.", example = false)),
    responses(
        (status = 200, description = "The keys, without what could be used.", body = Vec<ListedToken>,
            example = json!(ListedToken::examples())),
        (status = 400, response = BadRequest),
    ))]
pub async fn list(auth: Data<Auth>, caller: Caller, query: Query) -> Result<impl Responder, Problem> {
    let all = query.truth("showAll")?.unwrap_or(false);
    let keys = call(&auth, move |auth| {
        let filter = if all {
            KeyFilter::All
        } else {
            KeyFilter::User(UserRef::Id(caller.holder.user_id))
        };
        auth.keys((&caller).into(), &filter)
    })
    .await?;
    Ok(Json(ListedToken::sorted(keys)))
}

/// End a key: the one given, else the one presented.
#[utoipa::path(delete, path = "/api/v3/Auth/InvalidateToken", tag = "Auth",
    params(
        ("token" = Option<String>, Query, description = "The key to end.",
            example = "7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10"),
    ),
    responses(
        (status = 200, description = "The key is ended."),
        (status = 400, response = BadRequest),
    ), security((), ("ApiKey" = []), ("ApiKeyQuery" = []), ("Bearer" = [])))]
pub async fn invalidate(
    auth: Data<Auth>,
    caller: MaybeCaller,
    context: RequestContext,
    query: Query,
) -> Result<impl Responder, Problem> {
    let refuse = |detail| Problem::with_detail(StatusCode::BAD_REQUEST, detail);
    let ended = match (query.one("token")?.map(str::to_owned), caller.0) {
        (Some(token), _) => call(&auth, move |auth| auth.revoke_key(&token, &context)).await,
        (None, Some(caller)) => call(&auth, move |auth| auth.revoke_own_key(&caller)).await,
        (None, None) => return Err(refuse("An API token must be provided if not signed in.")),
    };
    ended.map_err(|error| match error {
        AuthError::UnknownKey => refuse("Unable to invalidate token."),
        other => other.into(),
    })?;
    Ok(HttpResponse::Ok())
}

/// Change the password, and end all keys of the user: the one used for this call, too.
#[utoipa::path(post, path = "/api/v3/Auth/ChangePassword", tag = "Auth",
    params(
        ("userID" = Option<i32>, Query,
            description = "Whose password; other users' only for administrators. The caller's own when absent.",
            example = 1),
    ),
    request_body(content = String, content_type = "application/json", description = "The new password.",
        example = json!("correct horse battery")),
    responses(
        (status = 200, description = "The password is changed, and all keys of the user are ended."),
        (status = 403, response = Forbidden),
    ))]
pub async fn change_password(
    auth: Data<Auth>,
    caller: Caller,
    query: Query,
    body: Body,
) -> Result<impl Responder, Problem> {
    let target = query.number("userID")?;
    let password = SecretText::new(body.required_scalar("newPassword").await?);
    let changed = call(&auth, move |auth| {
        let user = UserRef::Id(target.unwrap_or(caller.holder.user_id));
        auth.change_password((&caller).into(), &user, password.expose(), KeysAfterChange::Revoked)
    })
    .await;
    changed.map_err(|error| change_refused(error, "Unable to find user."))?;
    Ok(HttpResponse::Ok())
}

/// What this wire says to a time that cannot be.
pub(super) fn expiry_refused(error: AuthError) -> Problem {
    let refuse = |detail| Problem::with_detail(StatusCode::BAD_REQUEST, detail);
    match error {
        AuthError::BadExpiry => Problem::invalid("Expires", "Invalid expires value"),
        AuthError::SessionExpires => refuse("Cannot create a non-expiring token from an expiring session."),
        AuthError::BeyondSession => refuse("Requested expiration extends beyond the current session's expiration."),
        other => other.into(),
    }
}
