//! `/api/v3/User/Current`: what everybody may do about the own user.

use actix_web::Responder;
use actix_web::web::Data;

use super::user_types::{ChangePasswordRequest, User, UserBody};
use super::users::{change_password_of, patched, replace};
use crate::auth::Auth;
use crate::model::Caller;
use crate::web::answer::Json;
use crate::web::body::Body;
use crate::web::call;
use crate::web::problem::Problem;

/// Who am I?
#[utoipa::path(get, path = "/api/v3/User/Current", tag = "User",
    responses((status = 200, description = "The caller's user.", body = User, example = json!(User::example()))))]
pub async fn read(auth: Data<Auth>, caller: Caller) -> Result<impl Responder, Problem> {
    let user = call(&auth, move |auth| auth.own_user(&caller)).await?;
    Ok(Json(User::from(user)))
}

/// Change my own user: what is absent stays. Name and rights are an administrator's to change.
#[utoipa::path(put, path = "/api/v3/User/Current", tag = "User",
    request_body(content = UserBody, description = "What shall be different.", example = json!(UserBody::example())),
    responses((status = 200, description = "The user as it is now.", body = User, example = json!(User::example()))))]
pub async fn put(auth: Data<Auth>, caller: Caller, body: Body) -> Result<impl Responder, Problem> {
    let id = caller.holder.user_id;
    replace(auth, caller, id, body).await
}

/// Change my own user by a JSON Patch (RFC 6902).
#[utoipa::path(patch, path = "/api/v3/User/Current", tag = "User",
    request_body(content = Vec<Value>, content_type = "application/json", description = "A JSON Patch.",
        example = json!([{"op": "replace", "path": "/PlexUsernames", "value": "me"}])),
    responses((status = 200, description = "The user as it is now.", body = User, example = json!(User::example()))))]
pub async fn patch(auth: Data<Auth>, caller: Caller, body: Body) -> Result<impl Responder, Problem> {
    let id = caller.holder.user_id;
    patched(auth, caller, id, body).await
}

/// Change my own password, and end all my keys unless `RevokeAPIKeys` is false.
#[utoipa::path(post, path = "/api/v3/User/Current/ChangePassword", tag = "User",
    request_body(content = ChangePasswordRequest, description = "The new password.",
        example = json!(ChangePasswordRequest::example())),
    responses((status = 200, description = "The password is changed.")))]
pub async fn change_password(auth: Data<Auth>, caller: Caller, body: Body) -> Result<impl Responder, Problem> {
    let id = caller.holder.user_id;
    change_password_of(auth, caller, id, body).await
}
