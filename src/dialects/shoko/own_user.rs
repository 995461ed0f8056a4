//! `/api/v3/User/Current`: the routes for the caller's own user.

use actix_web::Responder;
use actix_web::web::Data;

use super::Caller;
use super::response::Json;
use super::types::JsonPatchOperation;
use super::user_types::{ChangePasswordRequest, User, UserBody};
use super::users::{change, change_password_of, patch_user};
use crate::auth::Auth;
use crate::web::body::Body;
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::responses::ExpiringKey;

/// Get the caller's user.
#[utoipa::path(get, path = "/api/v3/User/Current", tag = "User",
    responses((status = 200, description = "The caller's user.", body = User, example = json!(User::example()))))]
pub async fn read(auth: Data<Auth>, caller: Caller) -> Result<impl Responder, Problem> {
    let user = call(&auth, move |auth| auth.own_user(&caller)).await?;
    Ok(Json(User::from(user)))
}

/// Change the caller's user.
///
/// Absent members are not changed. Only administrators may change `Username`, `IsAdmin`, `CommunitySites` and
/// `RestrictedTags`.
#[utoipa::path(put, path = "/api/v3/User/Current", tag = "User",
    request_body(content = UserBody, description = "The fields to change.", example = json!(UserBody::example())),
    responses((status = 200, description = "The changed user.", body = User, example = json!(User::example())),
        (status = 403, response = ExpiringKey)))]
pub async fn put(auth: Data<Auth>, caller: Caller, body: Body) -> Result<impl Responder, Problem> {
    let id = caller.holder.user_id;
    change(auth, caller.into_inner(), id, body).await
}

/// Change the caller's user with a JSON Patch (RFC 6902).
///
/// The path of an operation names a member of the user, or an item of one. Only administrators may change `Username`,
/// `IsAdmin`, `CommunitySites` and `RestrictedTags`. The media type `application/json-patch+json` is accepted too.
#[utoipa::path(patch, path = "/api/v3/User/Current", tag = "User",
    request_body(content = Vec<JsonPatchOperation>, content_type = "application/json", description = "A JSON Patch.",
        example = json!([{"op": "replace", "path": "/PlexUsernames", "value": "me"}])),
    responses((status = 200, description = "The changed user.", body = User, example = json!(User::example())),
        (status = 403, response = ExpiringKey)))]
pub async fn patch(auth: Data<Auth>, caller: Caller, body: Body) -> Result<impl Responder, Problem> {
    let id = caller.holder.user_id;
    patch_user(auth, caller.into_inner(), id, body).await
}

/// Change the caller's password.
///
/// Also revokes all of the caller's keys. To keep them, set `RevokeAPIKeys` to false.
#[utoipa::path(post, path = "/api/v3/User/Current/ChangePassword", tag = "User",
    request_body(content = ChangePasswordRequest, description = "The new password.", example = json!(ChangePasswordRequest::example())),
    responses((status = 200, description = "The password is changed."), (status = 403, response = ExpiringKey)))]
pub async fn change_password(auth: Data<Auth>, caller: Caller, body: Body) -> Result<impl Responder, Problem> {
    let id = caller.holder.user_id;
    change_password_of(auth, caller.into_inner(), id, body).await
}
