//! `/v1/User`: the login of Shoko Desktop, which knows no keys. It shows the names of the users to anybody, so it is
//! there only where it was asked for; the rest of v1 is not there at all.

use actix_web::web::{Data, Path};
use actix_web::{Either, HttpResponse, Responder};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::auth::Auth;
use crate::error::AuthError;
use crate::model::{Name, RequestContext, SecretText, UserSummary};
use crate::web::answer::Json;
use crate::web::body::Body;
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::responses::{NotFound, TooManyTries};
use crate::web::routes::routes;

routes! {
    pub fn routes, Document {
        "/v1/user" => get list;
        "/v1/user/{name}" => post log_in;
    }
}

/// A user, as Shoko Desktop knows it. Flags are 0 or 1.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct JMMUser {
    /// The id.
    #[serde(rename = "JMMUserID")]
    id: i32,
    /// The name.
    username: String,
    /// Always empty.
    password: &'static str,
    /// May manage others.
    is_admin: u8,
    /// Always 0: there is no `AniDB` here.
    #[serde(rename = "IsAniDBUser")]
    is_anidb_user: u8,
    /// Always 0: there is no Trakt here.
    is_trakt_user: u8,
    /// Always empty.
    hide_categories: &'static str,
    /// The same as `IsAdmin`.
    can_edit_server_settings: u8,
    /// Always empty.
    plex_users: &'static str,
    /// Always empty.
    plex_token: &'static str,
}

impl JMMUser {
    /// For the document.
    #[must_use]
    pub fn example() -> Value {
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

/// Who can log in. Only with `SHOKO_AUTH_V1_LOGIN=on`.
#[utoipa::path(get, path = "/v1/User", tag = "Desktop",
    responses(
        (status = 200, description = "The users who are not disabled.", body = Vec<JMMUser>,
            example = json!([JMMUser::example()])),
        (status = 404, response = NotFound),
    ), security(()))]
pub async fn list(auth: Data<Auth>) -> Result<impl Responder, Problem> {
    let users = call(&auth, Auth::user_summaries).await?.into_iter();
    Ok(Json(users.map(JMMUser::from).collect::<Vec<_>>()))
}

/// Is this the user's password? Only with `SHOKO_AUTH_V1_LOGIN=on`.
#[utoipa::path(post, path = "/v1/User/{name}", tag = "Desktop",
    params(("name" = String, Path, description = "The user's name; a `+` in it is a blank.", example = "Default")),
    request_body(content = DesktopLogin, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "It is: the user.", body = JMMUser, example = json!(JMMUser::example())),
        (status = 204, description = "It is not, or there is no such user."),
        (status = 404, response = NotFound),
        (status = 429, response = TooManyTries),
    ), security(()))]
pub async fn log_in(
    auth: Data<Auth>,
    context: RequestContext,
    name: Path<String>,
    body: Body,
) -> Result<impl Responder, Problem> {
    let refused = || Either::Right(HttpResponse::NoContent());
    let form = body.form().await?;
    let password = SecretText::new(form.all("password").last().unwrap_or_default().to_owned());
    // By a `+` Shoko, and so Desktop, means a blank: who has a real one in the name cannot log in here.
    let Ok(name) = Name::parse(&name.replace('+', " ")) else {
        return Ok(refused());
    };
    match call(&auth, move |auth| auth.check_login(&name, &password, &context)).await {
        Ok(user) => Ok(Either::Left(Json(JMMUser::from(user)))),
        Err(AuthError::WrongCredentials | AuthError::Disabled) => Ok(refused()),
        Err(other) => Err(other.into()),
    }
}

/// The form that Shoko Desktop sends.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only for the document")]
pub struct DesktopLogin {
    /// The password, exactly.
    password: String,
}
