//! `/api/v3/Init` and its older forms: state and version of the server, which clients request before they log in.
//!
//! The state can be requested even while the database is unavailable. Clients then show "starting" instead of logging
//! their users out.

use actix_web::Responder;
use actix_web::web::Data;
use chrono::SecondsFormat;
use serde::Serialize;
use utoipa::ToSchema;

use super::response::Json;
use super::{Caller, MaybeCaller};
use crate::auth::Auth;
use crate::web::ping;
use crate::web::problem::Problem;
use crate::web::process::Process;
use crate::web::responses::InternalError;

/// The version of Shoko that this server stands in for, in the only form that both Shoko's web UI and Shokofin accept.
const SHOKO_VERSION: &str = "6.0.0";

/// The state of the server.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ServerStatus {
    /// `Started`, or `Starting` while the database is unavailable.
    state: &'static str,
    /// Always null.
    startup_message: Option<String>,
    // This is not a doc comment, because a doc comment would wrap the schema in another layer.
    #[serde(flatten)]
    #[schema(inline, value_type = StatusDetails)]
    details: Option<StatusDetails>,
}

/// Details for callers with a valid key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct StatusDetails {
    /// Always false: this API cannot shut the server down.
    #[schema(required = false)]
    can_shutdown: bool,
    /// Always false: this API cannot restart the server.
    #[schema(required = false)]
    can_restart: bool,
    /// When the process started.
    #[schema(required = false)]
    bootstrapped_at: String,
    /// When the process started.
    #[schema(required = false)]
    started_at: String,
    /// How long the process has been running, as hours, minutes and seconds.
    #[schema(required = false)]
    uptime: String,
    /// How long the start took. Always zero.
    #[schema(required = false)]
    startup_time: String,
    /// Always unblocked.
    #[schema(required = false)]
    database_blocked: DatabaseBlocked,
}

/// Whether maintenance blocks the database.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct DatabaseBlocked {
    blocked: bool,
    reason: Option<String>,
}

/// Get the state of the server, with details for callers with a valid key.
#[utoipa::path(get, path = "/api/v3/Init/Status", tag = "Init",
    security((), ("ApiKey" = []), ("ApiKeyQuery" = []), ("Bearer" = [])),
    responses((status = 200, description = "The state.", body = ServerStatus,
        example = json!({"State": "Started", "StartupMessage": null})), (status = 500, response = InternalError)))]
pub async fn status(auth: Data<Auth>, process: Data<Process>, caller: Result<MaybeCaller, Problem>) -> impl Responder {
    // A valid key counts as proof that the database is available, and a failed lookup as proof that it is not. Only
    // requests without a valid key need a ping.
    let (is_signed_in, is_reachable) = match caller.map(|caller| caller.0) {
        Ok(Some(_)) => (true, true),
        Ok(None) => (false, ping(&auth).await.is_ok()),
        Err(_) => (false, false),
    };
    let started_at = process.started_at().to_rfc3339_opts(SecondsFormat::Secs, true);
    Json(ServerStatus {
        state: if is_reachable { "Started" } else { "Starting" },
        startup_message: None,
        details: is_signed_in.then(|| StatusDetails {
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

/// Get the version of Shoko that this server stands in for.
#[utoipa::path(get, path = "/api/v3/Init/Version", tag = "Init",
    responses((status = 200, description = "The version.", body = ComponentVersions, example = json!(VERSIONS))), security(()))]
pub async fn version() -> impl Responder {
    Json(VERSIONS)
}

/// The versions of Shoko's components. There is only `Server`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct ComponentVersions {
    server: ComponentVersion,
}

/// The version of a component of Shoko.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct ComponentVersion {
    version: &'static str,
    /// Always `Stable`.
    release_channel: &'static str,
}

const VERSIONS: ComponentVersions = ComponentVersions {
    server: ComponentVersion {
        version: SHOKO_VERSION,
        release_channel: "Stable",
    },
};

/// Get whether others are using the server, which is always `false`.
#[utoipa::path(get, path = "/api/v3/Init/InUse", tag = "Init",
    responses((status = 200, description = "Always `false`.", body = bool, content_type = "application/json", example = json!(false))), security(()))]
pub async fn in_use() -> impl Responder {
    Json(false)
}

/// Get the state of the server, in the form that Kodi's client expects.
#[utoipa::path(get, path = "/api/init/status", tag = "Init",
    responses((status = 200, description = "The state.", body = StartupStatus,
        example = json!(StartupStatus::of(true)))), security(()))]
pub async fn status_v2(auth: Data<Auth>) -> impl Responder {
    Json(StartupStatus::of(ping(&auth).await.is_ok()))
}

/// The state of the server, in the form that Kodi's client expects.
#[derive(Serialize, ToSchema)]
struct StartupStatus {
    /// `Complete!`, or `Starting` while the database is unavailable.
    startup_state: &'static str,
    /// Whether the database is available.
    server_started: bool,
    /// Always `00:00:00`.
    server_uptime: &'static str,
    /// Always false.
    first_run: bool,
    /// Always false.
    startup_failed: bool,
    /// Always empty.
    startup_failed_error_message: &'static str,
}

impl StartupStatus {
    fn of(server_started: bool) -> Self {
        Self {
            startup_state: if server_started { "Complete!" } else { "Starting" },
            server_started,
            // This route needs no key, and the uptime would show strangers how long ago the server was last updated.
            server_uptime: "00:00:00",
            first_run: false,
            startup_failed: false,
            startup_failed_error_message: "",
        }
    }
}

/// Get the versions, in the form that Kodi's client expects.
#[utoipa::path(get, path = "/api/version", tag = "Init",
    responses((status = 200, description = "The versions.", body = [NamedVersion], example = json!(NAMED_VERSIONS))), security(()))]
pub async fn version_v2() -> impl Responder {
    Json(NAMED_VERSIONS)
}

/// The version of a component, in the form that Kodi's client expects.
#[derive(Serialize, ToSchema)]
struct NamedVersion {
    name: &'static str,
    version: Option<&'static str>,
}

const NAMED_VERSIONS: [NamedVersion; 5] = [
    NamedVersion::new("server", Some(SHOKO_VERSION)),
    NamedVersion::new("servercommit", None),
    NamedVersion::new("commons", Some(SHOKO_VERSION)),
    NamedVersion::new("models", Some(SHOKO_VERSION)),
    NamedVersion::new("MediaInfo", None),
];

impl NamedVersion {
    const fn new(name: &'static str, version: Option<&'static str>) -> Self {
        Self { name, version }
    }
}

/// Check a key.
#[utoipa::path(get, path = "/api/ping", tag = "Init",
    responses((status = 200, description = "The key is valid.", body = Pong, example = json!(PONG))))]
pub async fn check_key(_caller: Caller) -> impl Responder {
    Json(PONG)
}

/// The response to a request with a valid key.
#[derive(Serialize, ToSchema)]
struct Pong {
    /// Always `pong`.
    response: &'static str,
}

const PONG: Pong = Pong { response: "pong" };

/// Get the id of the key's owner.
#[utoipa::path(get, path = "/api/myid/get", tag = "Init",
    responses((status = 200, description = "The user's id.", body = OwnerId, example = json!(OwnerId { userid: 1 }))))]
pub async fn my_id(caller: Caller) -> impl Responder {
    let userid = caller.holder.user_id;
    Json(OwnerId { userid })
}

/// The id of a key's owner.
#[derive(Serialize, ToSchema)]
struct OwnerId {
    userid: i32,
}

/// Formats the uptime like a .NET time span, but without days: 50 hours are `50:00:00`. Only people read the result.
fn uptime(process: &Process) -> String {
    let seconds = process.uptime().as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
