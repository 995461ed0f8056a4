//! `/v1/User`: the login of Shoko Desktop, which does not use keys. These routes show the names of all users to
//! everyone, so they are off by default. The rest of Shoko's v1 API is not supported.

use actix_web::web::{Data, Path};
use actix_web::{Either, HttpResponse, Responder};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::response::Json;
use super::{DIALECT, LoginContext};
use crate::auth::Auth;
use crate::error::LoginError;
use crate::model::{Name, SecretText, UserSummary};
use crate::web::body::{Body, is_form};
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::responses::{ForeignPage, SwitchedOff, TooManyFailures};
use crate::web::routes::routes;

routes! {
    pub fn routes, Document {
        "/v1/user" => get list;
        "/v1/user/{name}" => post log_in;
    }
}

/// A user, in the form that Shoko Desktop expects. Flags are 0 or 1.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct JMMUser {
    /// The user's id.
    #[serde(rename = "JMMUserID")]
    id: i32,
    /// The user's name.
    username: String,
    /// Always empty.
    password: &'static str,
    /// 1 if the user is an administrator, otherwise 0.
    is_admin: u8,
    /// Always 0: `AniDB` is not supported.
    #[serde(rename = "IsAniDBUser")]
    is_anidb_user: u8,
    /// Always 0: Trakt is not supported.
    is_trakt_user: u8,
    /// Always empty.
    hide_categories: &'static str,
    /// 1 if the user is an administrator, otherwise 0, like `IsAdmin`.
    can_edit_server_settings: u8,
    /// Always empty.
    plex_users: &'static str,
    /// Always empty.
    plex_token: &'static str,
}

impl JMMUser {
    fn example() -> Value {
        json!({"JMMUserID": 1, "Username": "Default", "Password": "", "IsAdmin": 1, "IsAniDBUser": 0,
            "IsTraktUser": 0, "HideCategories": "", "CanEditServerSettings": 1, "PlexUsers": "", "PlexToken": ""})
    }
}

impl From<UserSummary> for JMMUser {
    fn from(user: UserSummary) -> Self {
        Self {
            id: user.user_id,
            username: user.name,
            password: "",
            is_admin: user.is_admin.into(),
            is_anidb_user: 0,
            is_trakt_user: 0,
            hide_categories: "",
            can_edit_server_settings: user.is_admin.into(),
            plex_users: "",
            plex_token: "",
        }
    }
}

/// List the users who can log in.
///
/// Available only with `SHOKO_AUTH_V1_LOGIN=on`.
#[utoipa::path(get, path = "/v1/User", tag = "Desktop",
    responses((status = 200, description = "The users who are not disabled.", body = Vec<JMMUser>,
        example = json!([JMMUser::example()])), (status = 404, response = SwitchedOff)), security(()))]
pub async fn list(auth: Data<Auth>) -> Result<impl Responder, Problem> {
    let users = call(&auth, Auth::user_summaries).await?.into_iter();
    Ok(Json(users.map(JMMUser::from).collect::<Vec<_>>()))
}

/// Check a user's password.
///
/// Available only with `SHOKO_AUTH_V1_LOGIN=on`. The response has a body only if the password is correct.
#[utoipa::path(post, path = "/v1/User/{name}", tag = "Desktop",
    params(("name" = String, Path, description = "The user's name, with `+` for a blank.", example = "Default")),
    request_body(content = DesktopLogin, content_type = "application/x-www-form-urlencoded", description = "The password."),
    responses((status = 200, description = "The password is correct.", body = JMMUser, example = json!(JMMUser::example())),
        (status = 204, description = "The password or the user name is wrong."), (status = 403, response = ForeignPage),
        (status = 404, response = SwitchedOff), (status = 429, response = TooManyFailures)), security(()))]
pub async fn log_in(
    auth: Data<Auth>,
    context: LoginContext,
    name: Path<String>,
    body: Body,
) -> Result<impl Responder, Problem> {
    let rejected = || Either::Right(HttpResponse::NoContent());
    let form = Query::parse(&body.text(is_form, "application/x-www-form-urlencoded").await?);
    let password = SecretText::new(form.all("password").last().unwrap_or_default().to_owned());
    // In Shoko, and so in Shoko Desktop, `+` stands for a blank. A user with a `+` in the name cannot log in here.
    let Ok(name) = Name::parse(&name.replace('+', " ")) else {
        return Ok(rejected());
    };
    match call(&auth, move |auth| {
        auth.check_login(DIALECT, &name, &password, &context.into_inner())
    })
    .await
    {
        Ok(user) => Ok(Either::Left(Json(JMMUser::from(user)))),
        Err(LoginError::WrongCredentials | LoginError::Disabled) => Ok(rejected()),
        Err(other) => Err(other.into()),
    }
}

/// The form that Shoko Desktop sends.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the OpenAPI document only")]
pub struct DesktopLogin {
    /// The password, exactly as the user types it.
    password: String,
}
