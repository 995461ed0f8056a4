//! `/api/auth`: log in, list, make and end keys, change the password.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, Responder};

use super::tokens::expiry_refused;
use super::types::{ApikeyResult, CoreAuthUser, ListedToken};
use crate::auth::{Auth, KeyFilter, KeysAfterChange};
use crate::error::AuthError;
use crate::model::{Caller, Name, NameError, RequestContext, RequestedExpiry, SecretText, UserRef};
use crate::web::answer::{Json, Text};
use crate::web::body::Body;
use crate::web::call;
use crate::web::caller::MaybeCaller;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::responses::{Forbidden, TooManyTries, Unauthorized};

/// Log in: the API key of a device.
///
/// The same user and device get the same key, until it is ended.
#[utoipa::path(post, path = "/api/auth", tag = "Auth",
    request_body(content = CoreAuthUser, description = "Who logs in, and on which device.",
        example = json!(CoreAuthUser::example())),
    responses(
        (status = 200, description = "The device's key.", body = ApikeyResult,
            example = json!(ApikeyResult::example())),
        (status = 401, response = Unauthorized),
        (status = 429, response = TooManyTries),
    ), security(()))]
pub async fn log_in(auth: Data<Auth>, context: RequestContext, body: Body) -> Result<impl Responder, Problem> {
    let login = body.json::<CoreAuthUser>().await?.check()?;
    let issued = call(&auth, move |auth| auth.log_in(&login, &context)).await?;
    Ok(Json(ApikeyResult::from(&issued)).no_store())
}

/// End a key.
///
/// With the query `apikey` and no body (or `null`): ends that key; knowing it is proof enough, and the answer is the
/// same when it is unknown. With a JSON string as body: ends the key that it is, or else, for a caller who presents a
/// key, all keys of the caller's device of that name; a key in the query then only tells who calls.
#[utoipa::path(delete, path = "/api/auth", tag = "Auth",
    params(
        ("apikey" = Option<String>, Query, description = "The key to end.",
            example = "7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10"),
    ),
    request_body(content = Option<String>, content_type = "application/json",
        description = "A key, or the name of one of the caller's devices, as a JSON string.", example = json!(null)),
    responses((status = 200, description = "The key is ended.")), security((), ("ApiKey" = []), ("Bearer" = [])))]
pub async fn revoke(
    auth: Data<Auth>,
    caller: MaybeCaller,
    context: RequestContext,
    query: Query,
    body: Body,
) -> Result<impl Responder, Problem> {
    let refuse = |detail| Problem::with_detail(StatusCode::BAD_REQUEST, detail);
    let text = body.scalar().await?;
    let ended = match (text, query.one("apikey")?.map(str::to_owned)) {
        (Some(text), _) if !text.trim().is_empty() => {
            call(&auth, move |auth| {
                auth.revoke_key_or_device(caller.0.as_ref(), &text, &context)
            })
            .await
        }
        // The answer does not tell whether there was such a key.
        (None, Some(key)) => match call(&auth, move |auth| auth.revoke_key(&key, &context)).await {
            Err(AuthError::UnknownKey) => Ok(()),
            ended => ended,
        },
        _ => return Err(refuse("Must provide an apikey or device name to delete")),
    };
    ended.map_err(|error| match error {
        AuthError::UnknownKey => refuse("Could not find apikey or device name to delete"),
        other => other.into(),
    })?;
    Ok(HttpResponse::Ok())
}

/// Change the password, and end all keys of the user: the one used for this call, too.
#[utoipa::path(post, path = "/api/auth/ChangePassword", tag = "Auth",
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
    changed.map_err(|error| change_refused(error, "Could not get user"))?;
    Ok(HttpResponse::Ok())
}

/// What is said when a password is not changed; `unknown_user` is the route's own text.
pub(super) fn change_refused(error: AuthError, unknown_user: &str) -> Problem {
    match error {
        AuthError::UnknownUser => Problem::with_detail(StatusCode::BAD_REQUEST, unknown_user),
        AuthError::BadPassword(fault) => Problem::invalid("newPassword", fault.to_string()),
        other => other.into(),
    }
}

/// The caller's keys; everybody's, when the caller is an administrator.
#[utoipa::path(get, path = "/api/auth", tag = "Auth",
    responses((status = 200, description = "The keys, without what could be used.", body = Vec<ListedToken>,
        example = json!(ListedToken::examples()))))]
pub async fn list(auth: Data<Auth>, caller: Caller) -> Result<impl Responder, Problem> {
    let keys = call(&auth, move |auth| auth.keys((&caller).into(), &KeyFilter::All)).await?;
    Ok(Json(ListedToken::sorted(keys)))
}

/// A lasting key for another device of the caller's: the one it has, or a new one.
#[utoipa::path(post, path = "/api/auth/apikey", tag = "Auth",
    request_body(content = String, content_type = "application/json", description = "The device's name.",
        example = json!("my script")),
    responses((status = 200, description = "The key.", content((String = "text/plain",
        example = "7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10"), (String = "application/json",
        example = json!("7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10")), (String = "text/json",
        example = json!("7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10"))))))]
pub async fn issue_key(auth: Data<Auth>, caller: Caller, body: Body) -> Result<impl Responder, Problem> {
    let text = body.required_scalar("device").await?;
    let device = Name::parse(&text).map_err(|fault| match fault {
        NameError::Blank => Problem::with_detail(StatusCode::BAD_REQUEST, "device cannot be empty"),
        NameError::TooLong | NameError::ControlCharacter => Problem::invalid("device", fault.to_string()),
    })?;
    let issued = call(&auth, move |auth| {
        auth.issue_key(&caller, &device, RequestedExpiry::Never)
    })
    .await;
    Ok(Text(issued.map_err(expiry_refused)?.key.expose()).no_store())
}
