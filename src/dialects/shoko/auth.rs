//! `/api/auth`: log in, end a key, change the password.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, Responder};

use super::types::{ApikeyResult, CoreAuthUser};
use crate::auth::Auth;
use crate::error::AuthError;
use crate::model::{Caller, SecretText};
use crate::web::answer::Json;
use crate::web::body::Body;
use crate::web::call;
use crate::web::caller::MaybeCaller;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::responses::{
    BadRequest, Forbidden, InternalError, TooLarge, Unauthorized, Unavailable, UnsupportedType,
};

/// Log in: the API key of a device.
///
/// The same user and device get the same key, until it is ended.
#[utoipa::path(
    post,
    path = "/api/auth",
    operation_id = "apiAuthPost",
    tag = "Auth",
    request_body(
        content = CoreAuthUser,
        description = "Who logs in, and on which device.",
        example = json!(CoreAuthUser::example()),
    ),
    responses(
        (status = 200, description = "The device's key.", content(
            (ApikeyResult = "application/json", example = json!(ApikeyResult::example())),
            (ApikeyResult = "text/json", example = json!(ApikeyResult::example())),
        )),
        (status = 400, response = BadRequest),
        (status = 401, response = Unauthorized),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 500, response = InternalError),
        (status = 503, response = Unavailable),
    ),
)]
pub async fn log_in(auth: Data<Auth>, body: Body) -> Result<impl Responder, Problem> {
    let login = body.json::<CoreAuthUser>().await?.check()?;
    let key = call(&auth, move |auth| auth.log_in(&login)).await?;
    Ok(Json(ApikeyResult::from(&key)).no_store())
}

/// End a key.
///
/// With the query `apikey` and no body (or `null`): ends that key; knowing it is proof enough, and the answer is the
/// same when it is unknown. With a JSON string as body: ends the key that it is, or else, for a caller who presents a
/// key, all keys of the caller's device of that name; a key in the query then only tells who calls.
#[utoipa::path(
    delete,
    path = "/api/auth",
    operation_id = "apiAuthDelete",
    tag = "Auth",
    params(("apikey" = Option<String>, Query, description = "The key to end.",
        example = "7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10")),
    request_body(
        content = Option<String>,
        content_type = "application/json",
        description = "A key, or the name of one of the caller's devices.",
        example = json!("web-ui"),
    ),
    responses(
        (status = 200, description = "The key is ended."),
        (status = 400, response = BadRequest),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 500, response = InternalError),
        (status = 503, response = Unavailable),
    ),
    security((), ("ApiKey" = []), ("Bearer" = [])),
)]
pub async fn revoke(
    auth: Data<Auth>,
    caller: MaybeCaller,
    query: Query,
    body: Body,
) -> Result<impl Responder, Problem> {
    let refuse = |detail| Problem::with_detail(StatusCode::BAD_REQUEST, detail);
    let text = body.scalar().await?;
    let ended = match (text, query.one("apikey")?.map(str::to_owned)) {
        (Some(text), _) if !text.trim().is_empty() => {
            call(&auth, move |auth| auth.revoke(caller.0.as_ref(), &text)).await
        }
        (None, Some(key)) => call(&auth, move |auth| auth.revoke_key(&key)).await,
        _ => return Err(refuse("Must provide an apikey or device name to delete")),
    };
    ended.map_err(|error| match error {
        AuthError::UnknownKey => refuse("Could not find apikey or device name to delete"),
        other => other.into(),
    })?;
    Ok(HttpResponse::Ok())
}

/// Change the password, and end all keys of the user: the one used for this call, too.
#[utoipa::path(
    post,
    path = "/api/auth/ChangePassword",
    operation_id = "apiAuthChangePasswordPost",
    tag = "Auth",
    params(("userID" = Option<i32>, Query, description = "Whose password; other users' only for administrators. \
        The caller's own when absent.", example = 1)),
    request_body(
        content = String,
        content_type = "application/json",
        description = "The new password.",
        example = json!("correct horse battery"),
    ),
    responses(
        (status = 200, description = "The password is changed, and all keys of the user are ended."),
        (status = 400, response = BadRequest),
        (status = 401, response = Unauthorized),
        (status = 403, response = Forbidden),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 500, response = InternalError),
        (status = 503, response = Unavailable),
    ),
    security(("ApiKey" = []), ("ApiKeyQuery" = []), ("Bearer" = [])),
)]
pub async fn change_password(
    auth: Data<Auth>,
    caller: Caller,
    query: Query,
    body: Body,
) -> Result<impl Responder, Problem> {
    let target = query.number("userID")?;
    let password = SecretText::new(body.required_scalar("newPassword").await?);
    call(&auth, move |auth| {
        auth.change_password(&caller, target, password.expose())
    })
    .await
    .map_err(|error| match error {
        AuthError::UnknownUser => Problem::with_detail(StatusCode::BAD_REQUEST, "Could not get user"),
        AuthError::BadPassword(fault) => Problem::invalid("newPassword", fault.to_string()),
        other => other.into(),
    })?;
    Ok(HttpResponse::Ok())
}
