//! `/api/account/users`: users and their keys, for administrators.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};

use super::caller::AccountAdmin;
use super::parameters::{PageParameters, UserParameter};
use super::requests::{Confirmation, UserPatch, UserRequest};
use super::responses::{CreatedUser, KeyList, ListedAccount, ListedKey, UserList};
use super::{AccountUrls, examples, json};
use crate::auth::{Auth, KeySelection};
use crate::error::ManageError;
use crate::model::UserRef;
use crate::web::body::Body;
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::responses::{
    AdministrationForbidden, AdministratorsOnly, BadRequest, TooManyFailures, UnknownKey, UnknownUser,
};

/// List the users, by id.
///
/// Only administrators may do this.
#[utoipa::path(get, path = "/api/account/users", tag = "Account",
    params(("search" = Option<String>, Query, description = "A part of the name or of the e-mail address."),
        PageParameters),
    responses((status = 200, description = "The users.", body = UserList, example = json!(examples::users())), (status = 400, response = BadRequest),
        (status = 403, response = AdministratorsOnly)))]
pub async fn list(auth: Data<Auth>, _admin: AccountAdmin, query: Query) -> Result<HttpResponse, Problem> {
    let page = json::page(&query)?;
    let search = query.one("search")?.unwrap_or_default().to_owned();
    let (users, total) = call(&auth, move |auth| auth.users_page(&search, page)).await?;
    let list = users.into_iter().map(ListedAccount::from).collect();
    Ok(json::respond(StatusCode::OK, &UserList { total, list }))
}

/// Create a user.
///
/// Without a password in the request, the response contains a one-time link with which the user chooses one.
#[utoipa::path(post, path = "/api/account/users", tag = "Account",
    request_body(content = UserRequest, description = "The user."),
    responses((status = 201, description = "The new user.", body = CreatedUser, example = json!(examples::created_user())), (status = 403, response = AdministrationForbidden),
        (status = 429, response = TooManyFailures)))]
pub async fn create(
    auth: Data<Auth>,
    admin: AccountAdmin,
    urls: Data<AccountUrls>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let mut body = json::object::<UserRequest>(body).await?;
    let user = body.check()?;
    let admin = admin
        .confirmed(&auth, body.current_password.take().map(|password| password.0))
        .await?;
    let password = body.password.take().map(|password| password.0);
    let created = call(&auth, move |auth| {
        auth.create_or_invite_user((&admin).into(), &user, password.as_ref())
    })
    .await?;
    Ok(json::respond(StatusCode::CREATED, &CreatedUser::new(created, &urls)))
}

/// Change a user.
///
/// Absent members are not changed. With a session, the current password is required.
#[utoipa::path(patch, path = "/api/account/users/{id}", tag = "Account",
    params(UserParameter),
    request_body(content = UserPatch, description = "The changes."),
    responses((status = 200, description = "The changed user.", body = ListedAccount, example = json!(examples::user())), (status = 403, response = AdministrationForbidden),
        (status = 404, response = UnknownUser), (status = 429, response = TooManyFailures)))]
pub async fn update(
    auth: Data<Auth>,
    admin: AccountAdmin,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let user_id = json::user_id(&id)?;
    let (update, password) = json::object::<UserPatch>(body).await?.check()?;
    let admin = admin.confirmed(&auth, password).await?;
    let user = call(&auth, move |auth| auth.update_user((&admin).into(), user_id, &update)).await?;
    Ok(json::respond(StatusCode::OK, &ListedAccount::from(user)))
}

/// Delete a user and all of their keys.
#[utoipa::path(delete, path = "/api/account/users/{id}", tag = "Account",
    params(UserParameter),
    request_body(content = Option<Confirmation>, content_type = "application/json", description = "The current password, required with a session."),
    responses((status = 204, description = "The user is deleted."), (status = 403, response = AdministrationForbidden),
        (status = 404, response = UnknownUser), (status = 429, response = TooManyFailures)))]
pub async fn delete(
    auth: Data<Auth>,
    admin: AccountAdmin,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let user = UserRef::Id(json::user_id(&id)?);
    let admin = admin.confirmed_by(&auth, body).await?;
    call(&auth, move |auth| auth.delete_user((&admin).into(), &user)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Clear a user's failed logins.
///
/// The user can then log in at once.
#[utoipa::path(post, path = "/api/account/users/{id}/unlock", tag = "Account",
    params(UserParameter),
    request_body(content = Option<Confirmation>, content_type = "application/json", description = "The current password, required with a session."),
    responses((status = 204, description = "The user can log in at once."), (status = 403, response = AdministrationForbidden),
        (status = 404, response = UnknownUser), (status = 429, response = TooManyFailures)))]
pub async fn unlock(
    auth: Data<Auth>,
    admin: AccountAdmin,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let user = UserRef::Id(json::user_id(&id)?);
    let admin = admin.confirmed_by(&auth, body).await?;
    call(&auth, move |auth| auth.unlock((&admin).into(), &user)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// List a user's keys and sessions.
#[utoipa::path(get, path = "/api/account/users/{id}/keys", tag = "Account",
    params(UserParameter, PageParameters),
    responses((status = 200, description = "The keys, by device. If the caller's own key is one of them, it is the first.", body = KeyList, example = json!(examples::keys())), (status = 400, response = BadRequest),
        (status = 403, response = AdministratorsOnly), (status = 404, response = UnknownUser)))]
pub async fn list_keys(
    auth: Data<Auth>,
    admin: AccountAdmin,
    id: Path<String>,
    query: Query,
) -> Result<HttpResponse, Problem> {
    let (user_id, page, admin) = (json::user_id(&id)?, json::page(&query)?, admin.into_inner());
    let current = admin.holder.key_id;
    let (keys, total) = call(&auth, move |auth| auth.keys_page(&admin, user_id, page)).await?;
    let list = keys.into_iter().map(|key| ListedKey::of(key, current)).collect();
    Ok(json::respond(StatusCode::OK, &KeyList { total, list }))
}

/// Revoke all keys and sessions of a user.
#[utoipa::path(delete, path = "/api/account/users/{id}/keys", tag = "Account",
    params(UserParameter),
    request_body(content = Option<Confirmation>, content_type = "application/json", description = "The current password, required with a session."),
    responses((status = 204, description = "The keys are revoked."), (status = 403, response = AdministrationForbidden),
        (status = 404, response = UnknownUser), (status = 429, response = TooManyFailures)))]
pub async fn revoke_keys(
    auth: Data<Auth>,
    admin: AccountAdmin,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (user, device) = (UserRef::Id(json::user_id(&id)?), None);
    let all = KeySelection::User { user, device };
    let admin = admin.confirmed_by(&auth, body).await?;
    match call(&auth, move |auth| auth.revoke_keys((&admin).into(), &all)).await {
        // A user without keys has none left either.
        Ok(_) | Err(ManageError::UnknownKey) => Ok(HttpResponse::NoContent().finish()),
        Err(error) => Err(error.into()),
    }
}

/// Revoke one key or session of a user.
#[utoipa::path(delete, path = "/api/account/users/{id}/keys/{key}", tag = "Account",
    params(UserParameter,
        ("key" = i64, Path, description = "The id of the key.", example = 1)),
    request_body(content = Option<Confirmation>, content_type = "application/json", description = "The current password, required with a session."),
    responses((status = 204, description = "The key is revoked."), (status = 403, response = AdministrationForbidden),
        (status = 404, response = UnknownKey), (status = 429, response = TooManyFailures)))]
pub async fn revoke_key(
    auth: Data<Auth>,
    admin: AccountAdmin,
    ids: Path<(String, String)>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (user, key) = ids.into_inner();
    let (user_id, key_id) = (json::user_id(&user.into())?, json::key_id(&key)?);
    let admin = admin.confirmed_by(&auth, body).await?;
    call(&auth, move |auth| {
        auth.revoke_key_of_user((&admin).into(), user_id, key_id)
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}
