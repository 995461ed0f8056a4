//! `/api/v3/User`: users, for administrators.

use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, Responder};
use json_patch::Patch;

use super::problems::of_user;
use super::response::Json;
use super::types::JsonPatchOperation;
use super::user_types::{ChangePasswordRequest, CreateUserBody, User, UserBody};
use super::{Admin, json};
use crate::auth::Auth;
use crate::model::{Caller, UserRef};
use crate::web::body::Body;
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::responses::{AdministratorsOnly, BadRequest, Forbidden, NotFound};

/// List all users, by id.
#[utoipa::path(get, path = "/api/v3/User", tag = "User", responses((status = 200, description = "The users.",
    body = Vec<User>, example = json!([User::example()])), (status = 403, response = AdministratorsOnly)))]
pub async fn list(auth: Data<Auth>, _admin: Admin) -> Result<impl Responder, Problem> {
    let users = call(&auth, Auth::users).await?;
    Ok(Json(users.into_iter().map(User::from).collect::<Vec<_>>()))
}

/// Create a user with a password.
#[utoipa::path(post, path = "/api/v3/User", tag = "User",
    request_body(content = CreateUserBody, description = "The user.", example = json!(CreateUserBody::example())),
    responses((status = 200, description = "The new user.", body = User, example = json!(User::example())),
        (status = 403, response = Forbidden)))]
pub async fn create(auth: Data<Auth>, admin: Admin, body: Body) -> Result<impl Responder, Problem> {
    let body = body.large(admin.holder.user_id).await?;
    let (user, password) = json::object::<CreateUserBody>(body).await?.check()?;
    let created = call(&auth, move |auth| {
        auth.create_user((&admin).into(), &user, password.expose())
    });
    Ok(Json(User::from(created.await.map_err(of_user)?)))
}

/// Get a user.
#[utoipa::path(get, path = "/api/v3/User/{userID}", tag = "User",
    params(("userID" = i32, Path, description = "The user's id.", minimum = 1, example = 1)),
    responses((status = 200, description = "The user.", body = User, example = json!(User::example())),
        (status = 400, response = BadRequest), (status = 403, response = AdministratorsOnly),
        (status = 404, response = NotFound)))]
pub async fn read(auth: Data<Auth>, _admin: Admin, id: Path<String>) -> Result<impl Responder, Problem> {
    let user = UserRef::Id(user_id(&id)?);
    let user = call(&auth, move |auth| auth.user(&user)).await.map_err(of_user)?;
    Ok(Json(User::from(user)))
}

/// Change a user.
///
/// Absent members are not changed. To change the password, use `ChangePassword`.
#[utoipa::path(put, path = "/api/v3/User/{userID}", tag = "User",
    params(("userID" = i32, Path, description = "The user's id.", minimum = 1, example = 1)),
    request_body(content = UserBody, description = "The fields to change.", example = json!(UserBody::example())),
    responses((status = 200, description = "The changed user.", body = User, example = json!(User::example())),
        (status = 403, response = Forbidden), (status = 404, response = NotFound)))]
pub async fn put(auth: Data<Auth>, admin: Admin, id: Path<String>, body: Body) -> Result<impl Responder, Problem> {
    change(auth, admin.into_inner(), user_id(&id)?, body).await
}

/// Change a user with a JSON Patch (RFC 6902).
///
/// The path of an operation names a member of the user, or an item of one. The media type `application/json-patch+json` is
/// accepted too.
#[utoipa::path(patch, path = "/api/v3/User/{userID}", tag = "User",
    params(("userID" = i32, Path, description = "The user's id.", minimum = 1, example = 1)),
    request_body(content = Vec<JsonPatchOperation>, content_type = "application/json", description = "A JSON Patch.",
        example = json!([{"op": "replace", "path": "/Username", "value": "Rob"}])),
    responses((status = 200, description = "The changed user.", body = User, example = json!(User::example())),
        (status = 403, response = Forbidden), (status = 404, response = NotFound)))]
pub async fn patch(auth: Data<Auth>, admin: Admin, id: Path<String>, body: Body) -> Result<impl Responder, Problem> {
    patch_user(auth, admin.into_inner(), user_id(&id)?, body).await
}

/// Delete a user and all of the user's keys.
#[utoipa::path(delete, path = "/api/v3/User/{userID}", tag = "User",
    params(("userID" = i32, Path, description = "The user's id.", minimum = 1, example = 2)),
    responses((status = 200, description = "The user is deleted."), (status = 400, response = BadRequest),
        (status = 403, response = AdministratorsOnly), (status = 404, response = NotFound)))]
pub async fn delete(auth: Data<Auth>, admin: Admin, id: Path<String>) -> Result<impl Responder, Problem> {
    let user = UserRef::Id(user_id(&id)?);
    let deleted = call(&auth, move |auth| auth.delete_user((&admin).into(), &user));
    deleted.await.map_err(of_user)?;
    Ok(HttpResponse::Ok())
}

/// Change a user's password.
///
/// Also revokes all of the user's keys. To keep them, set `RevokeAPIKeys` to false.
#[utoipa::path(post, path = "/api/v3/User/{userID}/ChangePassword", tag = "User",
    params(("userID" = i32, Path, description = "The user's id.", minimum = 1, example = 1)),
    request_body(content = ChangePasswordRequest, description = "The new password.", example = json!(ChangePasswordRequest::example())),
    responses((status = 200, description = "The password is changed."),
        (status = 403, response = Forbidden), (status = 404, response = NotFound)))]
pub async fn change_password(
    auth: Data<Auth>,
    admin: Admin,
    id: Path<String>,
    body: Body,
) -> Result<impl Responder, Problem> {
    change_password_of(auth, admin.into_inner(), user_id(&id)?, body).await
}

pub(super) async fn change(auth: Data<Auth>, caller: Caller, id: i32, body: Body) -> Result<impl Responder, Problem> {
    let body = body.large(caller.holder.user_id).await?;
    let change = json::object::<UserBody>(body).await?;
    let changed = call(&auth, move |auth| {
        auth.change_user((&caller).into(), id, |user| change.clone().check_change(user))
    });
    Ok(Json(User::from(changed.await.map_err(of_user)??)))
}

pub(super) async fn patch_user(
    auth: Data<Auth>,
    caller: Caller,
    id: i32,
    body: Body,
) -> Result<impl Responder, Problem> {
    let body = body.large(caller.holder.user_id).await?;
    let patch: Patch = json::value(body, "a JSON Patch").await?;
    let changed = call(&auth, move |auth| {
        auth.change_user((&caller).into(), id, |user| {
            UserBody::patched(user, &patch)?.check_change(user)
        })
    });
    Ok(Json(User::from(changed.await.map_err(of_user)??)))
}

pub(super) async fn change_password_of(
    auth: Data<Auth>,
    caller: Caller,
    id: i32,
    body: Body,
) -> Result<impl Responder, Problem> {
    let (password, keys) = json::object::<ChangePasswordRequest>(body).await?.check()?;
    let changed = call(&auth, move |auth| {
        auth.change_password((&caller).into(), &UserRef::Id(id), password.expose(), keys)
    });
    changed.await.map_err(of_user)?;
    Ok(HttpResponse::Ok())
}

/// Parses the id in a path.
fn user_id(text: &str) -> Result<i32, Problem> {
    match text.parse() {
        Ok(id) if id > 0 => Ok(id),
        Ok(_) => Err(Problem::invalid(
            "userID",
            "The field userID must be between 1 and 2147483647.",
        )),
        Err(_) => Err(Problem::invalid("userID", format!("The value '{text}' is not valid."))),
    }
}
