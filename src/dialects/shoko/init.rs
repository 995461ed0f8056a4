//! `/api/v3/Init`, and what older clients ask before and after they log in: is somebody there, and which version?
//!
//! These answer also while the database is away, so that a client shows "starting" instead of logging people out.

use actix_web::Responder;
use actix_web::web::Data;
use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::auth::Auth;
use crate::model::Caller;
use crate::web::answer::Json;
use crate::web::caller::MaybeCaller;
use crate::web::ping;
use crate::web::problem::Problem;
use crate::web::process::Process;
use crate::web::responses::InternalError;

/// What we say to be: the only spelling that both Shoko's web UI and Shokofin accept.
const SHOKO_VERSION: &str = "6.0.0";

/// Whether the server can serve.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ServerStatus {
    /// `Started`, or `Starting` while the database is away.
    state: &'static str,
    /// Always null.
    startup_message: Option<String>,
    // A comment of the document would wrap it in one more layer.
    #[serde(flatten)]
    #[schema(inline, value_type = StatusDetails)]
    details: Option<StatusDetails>,
}

/// What is shown only to who is signed in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct StatusDetails {
    /// Nobody can, over this API.
    #[schema(required = false)]
    can_shutdown: bool,
    /// Likewise.
    #[schema(required = false)]
    can_restart: bool,
    /// When the process was started.
    #[schema(required = false)]
    bootstrapped_at: String,
    /// The same.
    #[schema(required = false)]
    started_at: String,
    /// Since then, as hours, minutes and seconds.
    #[schema(required = false)]
    uptime: String,
    /// What starting took.
    #[schema(required = false)]
    startup_time: String,
    /// Never, here.
    #[schema(required = false)]
    database_blocked: DatabaseBlocked,
}

/// Whether the database is busy with itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct DatabaseBlocked {
    blocked: bool,
    reason: Option<String>,
}

/// Whether the server can serve.
#[utoipa::path(get, path = "/api/v3/Init/Status", tag = "Init",
    responses(
        (status = 200, description = "Whether it can; more, for who is signed in.", body = ServerStatus,
            example = json!({"State": "Started", "StartupMessage": null})),
        (status = 500, response = InternalError),
    ), security((), ("ApiKey" = []), ("ApiKeyQuery" = []), ("Bearer" = [])))]
pub async fn status(auth: Data<Auth>, process: Data<Process>, caller: Result<MaybeCaller, Problem>) -> impl Responder {
    // Whose key could be looked up has shown that the database is there; whose key could not, that it is not.
    let (signed_in, reachable) = match caller {
        Ok(MaybeCaller(Some(_))) => (true, true),
        Ok(MaybeCaller(None)) => (false, ping(&auth).await.is_ok()),
        Err(_) => (false, false),
    };
    let started_at = process.started_at().to_rfc3339_opts(SecondsFormat::Secs, true);
    Json(ServerStatus {
        state: if reachable { "Started" } else { "Starting" },
        startup_message: None,
        details: signed_in.then(|| StatusDetails {
            can_shutdown: false,
            can_restart: false,
            bootstrapped_at: started_at.clone(),
            started_at,
            uptime: uptime(&process),
            startup_time: "00:00:00".to_owned(),
            database_blocked: DatabaseBlocked {
                blocked: false,
                reason: None,
            },
        }),
    })
}

/// Which versions: Shoko's that this server stands in for, and its own.
#[utoipa::path(get, path = "/api/v3/Init/Version", tag = "Init",
    responses((status = 200, description = "The versions.", body = Value, example = json!(versions()))), security(()))]
pub async fn version() -> impl Responder {
    Json(versions())
}

fn versions() -> Value {
    json!({
        "Server": {"Version": SHOKO_VERSION, "ReleaseChannel": "Stable"},
        "ShokoAuth": {"Version": env!("CARGO_PKG_VERSION")},
    })
}

/// Whether somebody else uses the server right now: never.
#[utoipa::path(get, path = "/api/v3/Init/InUse", tag = "Init",
    responses((status = 200, description = "Always `false`.", body = bool, content_type = "application/json", example = json!(false))), security(()))]
pub async fn in_use() -> impl Responder {
    Json(false)
}

/// `Init/Status`, as Kodi's client knows it.
#[utoipa::path(get, path = "/api/init/status", tag = "Init",
    responses((status = 200, description = "Whether the server can serve.", body = Value,
        example = json!(old_status(true, "00:01:00")))), security(()))]
pub async fn status_v2(auth: Data<Auth>, process: Data<Process>) -> impl Responder {
    Json(old_status(ping(&auth).await.is_ok(), &uptime(&process)))
}

fn old_status(started: bool, uptime: &str) -> Value {
    json!({
        "startup_state": if started { "Complete!" } else { "Starting" },
        "server_started": started,
        "server_uptime": uptime,
        "first_run": false,
        "startup_failed": false,
        "startup_failed_error_message": "",
    })
}

/// `Init/Version`, as Kodi's client knows it.
#[utoipa::path(get, path = "/api/version", tag = "Init",
    responses((status = 200, description = "The versions.", body = Value, example = json!(old_versions()))),
        security(()))]
pub async fn version_v2() -> impl Responder {
    Json(old_versions())
}

fn old_versions() -> Value {
    json!([
        {"name": "server", "version": SHOKO_VERSION},
        {"name": "servercommit", "version": null},
        {"name": "commons", "version": SHOKO_VERSION},
        {"name": "models", "version": SHOKO_VERSION},
        {"name": "MediaInfo", "version": null},
        {"name": "shoko-auth", "version": env!("CARGO_PKG_VERSION")},
    ])
}

/// Does this key work?
#[utoipa::path(get, path = "/api/ping", tag = "Init",
    responses((status = 200, description = "It does.", body = Value, example = json!({"response": "pong"}))))]
pub async fn check_key(_caller: Caller) -> impl Responder {
    Json(json!({"response": "pong"}))
}

/// Whose is this key?
#[utoipa::path(get, path = "/api/myid/get", tag = "Init",
    responses((status = 200, description = "The user's id.", body = Value, example = json!({"userid": 1}))))]
pub async fn my_id(caller: Caller) -> impl Responder {
    Json(json!({"userid": caller.holder.user_id}))
}

/// As .NET writes a time span, without days: nobody reads it but people.
fn uptime(process: &Process) -> String {
    let seconds = (Utc::now() - process.started_at()).num_seconds().max(0);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
