//! `/api/account/keys`: the caller's own keys and sessions.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::caller::AccountCaller;
use super::parameters::PageParameters;
use super::requests::KeyRequest;
use super::responses::{IssuedKey, KeyList, ListedKey};
use super::session::signed_out;
use super::{examples, json};
use crate::auth::{Auth, KeySelection};
use crate::model::{Actor, UserRef};
use crate::web::body::Body;
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::responses::{BadRequest, Conflict, ForeignPageWithSession, OwnChangeForbidden, UnknownKey};

/// List the caller's keys and sessions.
#[utoipa::path(get, path = "/api/account/keys", tag = "Account",
    params(PageParameters),
    responses((status = 200, description = "The keys, by device. The caller's own key is the first.", body = KeyList, example = json!(examples::keys())), (status = 400, response = BadRequest)))]
pub async fn list(auth: Data<Auth>, caller: AccountCaller, query: Query) -> Result<HttpResponse, Problem> {
    let (page, caller) = (json::page(&query)?, caller.into_inner());
    let (user_id, current) = (caller.holder.user_id, caller.holder.key_id);
    let (keys, total) = call(&auth, move |auth| auth.keys_page(&caller, user_id, page)).await?;
    let list = keys.into_iter().map(|key| ListedKey::of(key, current)).collect();
    Ok(json::respond(StatusCode::OK, &KeyList { total, list }))
}

/// Issue a key for a device of the caller.
///
/// The response is the only one that contains the key. If the device already has a lasting full key, the response is
/// 409. Keys that expire, and gateway keys, can share the name of a device with such a key.
#[utoipa::path(post, path = "/api/account/keys", tag = "Account",
    request_body(content = KeyRequest, description = "The device, the expiry and the scope."),
    responses((status = 201, description = "The new key.", body = IssuedKey, example = json!(examples::issued_key())), (status = 403, response = OwnChangeForbidden),
        (status = 409, response = Conflict)))]
pub async fn issue(auth: Data<Auth>, caller: AccountCaller, body: Body) -> Result<HttpResponse, Problem> {
    let (new, password) = json::object::<KeyRequest>(body).await?.check()?;
    let caller = caller.confirmed(&auth, password).await?;
    let current = caller.holder.key_id;
    let (key, info) = call(&auth, move |auth| auth.issue_new_key(&caller, &new)).await?;
    let (key, info) = (key.expose(), ListedKey::of(info, current));
    Ok(json::respond(StatusCode::CREATED, &IssuedKey { key, info }))
}

/// Revoke one of the caller's keys or sessions.
#[utoipa::path(delete, path = "/api/account/keys/{id}", tag = "Account",
    params(("id" = i64, Path, description = "The id of the key.", example = 1)),
    responses((status = 204, description = "The key is revoked."), (status = 400, response = BadRequest),
        (status = 403, response = ForeignPageWithSession), (status = 404, response = UnknownKey)))]
pub async fn revoke(auth: Data<Auth>, caller: AccountCaller, id: Path<String>) -> Result<HttpResponse, Problem> {
    let (key_id, caller) = (json::key_id(&id)?, caller.into_inner());
    let user_id = caller.holder.user_id;
    call(&auth, move |auth| {
        auth.revoke_key_of_user((&caller).into(), user_id, key_id)
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Revoke all of the caller's keys and sessions.
///
/// With `except=current`, the key or session that the request presents stays valid.
#[utoipa::path(delete, path = "/api/account/keys", tag = "Account",
    params(("except" = Option<String>, Query, description = "`current`: the key or session that the request presents stays valid.")),
    responses((status = 204, description = "The keys are revoked."), (status = 400, response = BadRequest),
        (status = 403, response = ForeignPageWithSession)))]
pub async fn revoke_all(
    auth: Data<Auth>,
    caller: AccountCaller,
    query: Query,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = caller.into_inner();
    match query.one("except")? {
        Some("current") => {
            call(&auth, move |auth| auth.revoke_other_keys(&caller)).await?;
            Ok(HttpResponse::NoContent().finish())
        }
        Some(_) => Err(Problem::invalid("except", "The value must be 'current'.")),
        None => {
            let (user, device) = (UserRef::Id(caller.holder.user_id), None);
            let all = KeySelection::User { user, device };
            call(&auth, move |auth| auth.revoke_keys(Actor::Caller(&caller), &all)).await?;
            Ok(signed_out(&request))
        }
    }
}
