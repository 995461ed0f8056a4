//! One-time links, with which users choose a password.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};

use super::caller::AccountAdmin;
use super::parameters::UserParameter;
use super::requests::{Confirmation, LinkRequest};
use super::responses::{Link, LinkUser};
use super::{AccountUrls, examples, json};
use crate::auth::Auth;
use crate::error::LinkError;
use crate::model::UserRef;
use crate::secret::token::LinkToken;
use crate::web::body::Body;
use crate::web::call;
use crate::web::origin::LoginContext;
use crate::web::problem::Problem;
use crate::web::responses::{AdministrationForbidden, ForeignPage, TooManyFailures, UnknownLink, UnknownUser};

/// Issue a one-time link with which a user chooses a password.
///
/// Revokes the user's earlier link.
#[utoipa::path(post, path = "/api/account/users/{id}/link", tag = "Account",
    params(UserParameter),
    request_body(content = Option<Confirmation>, content_type = "application/json", description = "The current password, required with a session."),
    responses((status = 201, description = "The link. It is shown only once.", body = Link, example = json!(examples::link())), (status = 403, response = AdministrationForbidden),
        (status = 404, response = UnknownUser), (status = 429, response = TooManyFailures)))]
pub async fn issue(
    auth: Data<Auth>,
    admin: AccountAdmin,
    urls: Data<AccountUrls>,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let user = UserRef::Id(json::user_id(&id)?);
    let admin = admin.confirmed_by(&auth, body).await?;
    let link = call(&auth, move |auth| auth.issue_link((&admin).into(), &user)).await?;
    Ok(json::respond(StatusCode::CREATED, &Link::new(&link, &urls)))
}

/// Set a password with a one-time link.
///
/// Uses up the link and revokes all keys of the user. A rejected password does not use up the link.
#[utoipa::path(post, path = "/api/account/link", tag = "Account", security(()),
    request_body(content = LinkRequest, description = "The link and the new password."),
    responses((status = 200, description = "The password is set. The user can sign in with it.", body = LinkUser, example = json!({"user": "bob"})),
        (status = 403, response = ForeignPage), (status = 404, response = UnknownLink)))]
pub async fn set_password(
    auth: Data<Auth>,
    context: LoginContext<Problem>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let body = json::object::<LinkRequest>(body).await?;
    let token = LinkToken::parse(&body.token).ok_or(LinkError::Unknown)?;
    let password = body.password.0;
    let set = call(&auth, move |auth| {
        auth.set_password_with_link(&token, &password, &context.into_inner())
    });
    Ok(json::respond(StatusCode::OK, &LinkUser { user: set.await? }))
}
