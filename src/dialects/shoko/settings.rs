//! `/api/v3/Settings`: the few settings of Shoko that its web UI needs.

use actix_web::web::Data;
use actix_web::{HttpResponse, Responder};
use json_patch::{Patch, PatchOperation};
use serde::Serialize;
use utoipa::ToSchema;

use super::response::Json;
use super::types::JsonPatchOperation;
use super::{Admin, Caller, json};
use crate::auth::Auth;
use crate::web::body::Body;
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::responses::AdministratorsOnly;

/// The settings that Shoko's web UI needs.
#[derive(Serialize, ToSchema)]
struct Settings {
    /// The settings of the web UI itself, as JSON. Empty until they are first stored.
    #[serde(rename = "WebUI_Settings")]
    web_ui: String,
    /// The settings for `AniDB`. Without them, the settings pages of the web UI crash.
    #[serde(rename = "AniDb")]
    ani_db: AniDbSettings,
}

/// The settings for `AniDB`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct AniDbSettings {
    /// Always empty.
    username: &'static str,
}

impl Settings {
    fn of(web_ui: String) -> Self {
        let ani_db = AniDbSettings { username: "" };
        Self { web_ui, ani_db }
    }
}

/// Get the settings that the web UI needs.
#[utoipa::path(get, path = "/api/v3/Settings", tag = "Settings",
    responses((status = 200, description = "The settings.", body = Settings, example = json!(Settings::of(String::new())))))]
pub async fn read(auth: Data<Auth>, _caller: Caller) -> Result<impl Responder, Problem> {
    let web_ui = call(&auth, Auth::web_ui_settings).await?;
    Ok(Json(Settings::of(web_ui)))
}

/// Store the web UI's settings.
///
/// Send a JSON Patch (RFC 6902) of `/WebUI_Settings`, the only setting that can be changed. The operations are
/// `add` and `replace`. The media type `application/json-patch+json` is accepted too.
#[utoipa::path(patch, path = "/api/v3/Settings", tag = "Settings",
    request_body(content = Vec<JsonPatchOperation>, content_type = "application/json", description = "A JSON Patch.",
        example = json!([{"op": "replace", "path": "/WebUI_Settings", "value": "{}"}])),
    responses((status = 200, description = "The settings are stored."), (status = 403, response = AdministratorsOnly)))]
pub async fn patch(auth: Data<Auth>, admin: Admin, body: Body) -> Result<impl Responder, Problem> {
    let body = body.large(admin.holder.user_id).await?;
    let patch: Patch = json::value(body, "a JSON Patch").await?;
    let values = patch.0.iter().map(web_ui_value).collect::<Result<Vec<_>, _>>()?;
    if let Some(text) = values.last().map(|text| (*text).to_owned()) {
        call(&auth, move |auth| auth.set_web_ui_settings((&admin).into(), &text)).await?;
    }
    Ok(HttpResponse::Ok())
}

/// Returns the web UI's settings that a patch operation stores. Fails if the operation concerns anything else.
fn web_ui_value(operation: &PatchOperation) -> Result<&str, Problem> {
    let (path, value) = match operation {
        PatchOperation::Add(add) => (&add.path, &add.value),
        PatchOperation::Replace(replace) => (&replace.path, &replace.value),
        _ => {
            return Err(Problem::invalid(
                "",
                "Only the operations add and replace are supported.",
            ));
        }
    };
    if !path.as_str().eq_ignore_ascii_case("/WebUI_Settings") {
        return Err(Problem::invalid(
            "",
            format!("The only setting that can be changed is '/WebUI_Settings', not '{path}'."),
        ));
    }
    let text = value.as_str().filter(|text| !text.contains('\0'));
    text.ok_or_else(|| Problem::invalid("WebUI_Settings", "The value must be a string without NUL characters."))
}
