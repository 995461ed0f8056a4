//! `/api/v3/User`: users, as administrators manage them.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpResponse, Responder};
use json_patch::Patch;

use super::user_types::{ChangePasswordRequest, User, UserBody};
use crate::auth::Auth;
use crate::error::AuthError;
use crate::model::{Attribute, Caller, UserRef};
use crate::web::answer::Json;
use crate::web::body::Body;
use crate::web::call;
use crate::web::caller::Admin;
use crate::web::problem::Problem;
use crate::web::responses::{BadRequest, Forbidden, NotFound};

/// All users.
#[utoipa::path(get, path = "/api/v3/User", tag = "User",
    responses(
        (status = 200, description = "All users, by id.", body = Vec<User>, example = json!([User::example()])),
        (status = 403, response = Forbidden),
    ))]
pub async fn list(auth: Data<Auth>, _admin: Admin) -> Result<impl Responder, Problem> {
    let users = call(&auth, Auth::users).await?;
    Ok(Json(users.into_iter().map(User::from).collect::<Vec<_>>()))
}

/// Make a user.
#[utoipa::path(post, path = "/api/v3/User", tag = "User",
    request_body(content = UserBody, description = "The user; name and password are needed.",
        example = json!(UserBody::new_example())),
    responses(
        (status = 200, description = "The user.", body = User, example = json!(User::example())),
        (status = 403, response = Forbidden),
    ))]
pub async fn create(auth: Data<Auth>, admin: Admin, body: Body) -> Result<impl Responder, Problem> {
    let (user, password) = body.large().json::<UserBody>().await?.check_new()?;
    let made = call(&auth, move |auth| {
        auth.create_user((&admin.0).into(), &user, password.expose())
    })
    .await
    .map_err(refused)?;
    Ok(Json(User::from(made)))
}

/// A user.
#[utoipa::path(get, path = "/api/v3/User/{userID}", tag = "User",
    params(("userID" = i32, Path, description = "The user's id.", minimum = 1, example = 1)),
    responses(
        (status = 200, description = "The user.", body = User, example = json!(User::example())),
        (status = 400, response = BadRequest),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
    ))]
pub async fn read(auth: Data<Auth>, _admin: Admin, id: Path<String>) -> Result<impl Responder, Problem> {
    let id = user_id(&id)?;
    let user = call(&auth, move |auth| auth.user(&UserRef::Id(id)))
        .await
        .map_err(refused)?;
    Ok(Json(User::from(user)))
}

/// Change a user: what is absent stays.
#[utoipa::path(put, path = "/api/v3/User/{userID}", tag = "User",
    params(("userID" = i32, Path, description = "The user's id.", minimum = 1, example = 1)),
    request_body(content = UserBody, description = "What shall be different.", example = json!(UserBody::example())),
    responses(
        (status = 200, description = "The user as it is now.", body = User, example = json!(User::example())),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
    ))]
pub async fn put(auth: Data<Auth>, admin: Admin, id: Path<String>, body: Body) -> Result<impl Responder, Problem> {
    replace(auth, admin.0, user_id(&id)?, body).await
}

/// Change a user by a JSON Patch (RFC 6902).
#[utoipa::path(patch, path = "/api/v3/User/{userID}", tag = "User",
    params(("userID" = i32, Path, description = "The user's id.", minimum = 1, example = 1)),
    request_body(content = Vec<Value>, content_type = "application/json", description = "A JSON Patch.",
        example = json!([{"op": "replace", "path": "/Username", "value": "Rob"}])),
    responses(
        (status = 200, description = "The user as it is now.", body = User, example = json!(User::example())),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
    ))]
pub async fn patch(auth: Data<Auth>, admin: Admin, id: Path<String>, body: Body) -> Result<impl Responder, Problem> {
    patched(auth, admin.0, user_id(&id)?, body).await
}

/// Delete a user and all of the user's keys.
#[utoipa::path(delete, path = "/api/v3/User/{userID}", tag = "User",
    params(("userID" = i32, Path, description = "The user's id.", minimum = 1, example = 2)),
    responses(
        (status = 200, description = "The user is deleted."),
        (status = 400, response = BadRequest),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
    ))]
pub async fn delete(auth: Data<Auth>, admin: Admin, id: Path<String>) -> Result<impl Responder, Problem> {
    let id = user_id(&id)?;
    call(&auth, move |auth| auth.delete_user((&admin.0).into(), &UserRef::Id(id)))
        .await
        .map_err(refused)?;
    Ok(HttpResponse::Ok())
}

/// Change a user's password, and end all of the user's keys unless `RevokeAPIKeys` is false.
#[utoipa::path(post, path = "/api/v3/User/{userID}/ChangePassword", tag = "User",
    params(("userID" = i32, Path, description = "The user's id.", minimum = 1, example = 1)),
    request_body(content = ChangePasswordRequest, description = "The new password.",
        example = json!(ChangePasswordRequest::example())),
    responses(
        (status = 200, description = "The password is changed."),
        (status = 403, response = Forbidden),
        (status = 404, response = NotFound),
    ))]
pub async fn change_password(
    auth: Data<Auth>,
    admin: Admin,
    id: Path<String>,
    body: Body,
) -> Result<impl Responder, Problem> {
    change_password_of(auth, admin.0, user_id(&id)?, body).await
}

pub(super) async fn replace(auth: Data<Auth>, caller: Caller, id: i32, body: Body) -> Result<impl Responder, Problem> {
    let change = body.large().json::<UserBody>().await?.check_change()?;
    let user = call(&auth, move |auth| {
        auth.change_user((&caller).into(), id, |_| Ok::<_, Problem>(change))
    })
    .await
    .map_err(refused)?;
    Ok(Json(User::from(user?)))
}

pub(super) async fn patched(auth: Data<Auth>, caller: Caller, id: i32, body: Body) -> Result<impl Responder, Problem> {
    let patch: Patch = body.large().value("a JSON Patch").await?;
    let user = call(&auth, move |auth| {
        auth.change_user((&caller).into(), id, |user| {
            UserBody::patched(user, patch)?.check_change()
        })
    })
    .await
    .map_err(refused)?;
    Ok(Json(User::from(user?)))
}

pub(super) async fn change_password_of(
    auth: Data<Auth>,
    caller: Caller,
    id: i32,
    body: Body,
) -> Result<impl Responder, Problem> {
    let (password, keys) = body.json::<ChangePasswordRequest>().await?.check()?;
    call(&auth, move |auth| {
        auth.change_password((&caller).into(), &UserRef::Id(id), password.expose(), keys)
    })
    .await
    .map_err(refused)?;
    Ok(HttpResponse::Ok())
}

/// The id in a path.
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

/// What these routes say to what the service refuses.
fn refused(error: AuthError) -> Problem {
    const UNKNOWN: &str = "An user by the given `userID` doesn't exist.";
    match error {
        AuthError::UnknownUser => Problem::with_detail(StatusCode::NOT_FOUND, UNKNOWN),
        AuthError::NameTaken => Problem::invalid("Username", "The username is unavailable."),
        AuthError::LastAdmin => Problem::invalid("IsAdmin", "There must be at least one admin user."),
        AuthError::BadPassword(fault) => Problem::invalid("Password", fault.to_string()),
        AuthError::AdminOnly(attribute) => match attribute {
            Attribute::Name => Problem::invalid("Username", "Only admins are allowed to change the username."),
            Attribute::Admin => Problem::invalid(
                "IsAdmin",
                "Only admins are allowed to change the admin status of users.",
            ),
            Attribute::CommunitySites => Problem::invalid(
                "CommunitySites",
                "Only admins are allowed to change the community sites of users.",
            ),
            Attribute::RestrictedTags => Problem::invalid(
                "RestrictedTags",
                "Only admins are allowed to change the restricted tags of users.",
            ),
        },
        other => other.into(),
    }
}
