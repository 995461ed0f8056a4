//! `/api/v3/Settings`: of Shoko's settings only what its web UI needs to start and to keep its own.

use actix_web::web::Data;
use actix_web::{HttpResponse, Responder};
use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::model::Caller;
use crate::web::answer::Json;
use crate::web::body::Body;
use crate::web::call;
use crate::web::caller::Admin;
use crate::web::problem::Problem;
use crate::web::responses::Forbidden;

fn settings(web_ui: &str) -> Value {
    // Without an `AniDb` object the web UI's settings pages crash.
    json!({"WebUI_Settings": web_ui, "AniDb": {"Username": ""}})
}

/// The settings that the web UI needs.
#[utoipa::path(get, path = "/api/v3/Settings", tag = "Settings",
    responses((status = 200, description = "The settings.", body = Value, example = json!(settings("")))))]
pub async fn read(auth: Data<Auth>, _caller: Caller) -> Result<impl Responder, Problem> {
    let web_ui = call(&auth, Auth::web_ui_settings).await?;
    Ok(Json(settings(&web_ui)))
}

/// Store the web UI's own settings: a JSON Patch (RFC 6902) of `/WebUI_Settings`, and of nothing else.
#[utoipa::path(patch, path = "/api/v3/Settings", tag = "Settings",
    request_body(content = Vec<Value>, content_type = "application/json", description = "A JSON Patch.",
        example = json!([{"op": "replace", "path": "/WebUI_Settings", "value": "{}"}])),
    responses(
        (status = 200, description = "Stored."),
        (status = 403, response = Forbidden),
    ))]
pub async fn patch(auth: Data<Auth>, admin: Admin, body: Body) -> Result<impl Responder, Problem> {
    let patch: Patch = body.large().value("a JSON Patch").await?;
    let stored = patch.0.iter().map(web_ui_value).collect::<Result<Vec<_>, _>>()?;
    if let Some(text) = stored.last().map(|text| (*text).to_owned()) {
        call(&auth, move |auth| auth.set_web_ui_settings((&admin.0).into(), &text)).await?;
    }
    Ok(HttpResponse::Ok())
}

/// What an operation stores, if it is one that there is.
fn web_ui_value(operation: &PatchOperation) -> Result<&str, Problem> {
    let (path, value) = match operation {
        PatchOperation::Add(add) => (&add.path, &add.value),
        PatchOperation::Replace(replace) => (&replace.path, &replace.value),
        _ => return Err(Problem::invalid("", "Only add and replace are possible here.")),
    };
    if !path.as_str().eq_ignore_ascii_case("/WebUI_Settings") {
        return Err(Problem::invalid(
            "",
            format!("There is no setting '{path}' here; only '/WebUI_Settings'."),
        ));
    }
    let text = value.as_str().filter(|text| !text.contains('\0'));
    text.ok_or_else(|| Problem::invalid("WebUI_Settings", "The value must be a text without NUL characters."))
}
