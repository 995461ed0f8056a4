//! Is the process alive, and can it serve?

use actix_web::Responder;
use actix_web::http::StatusCode;
use actix_web::web::{Data, ServiceConfig};

use super::answer::Json;
use super::problem::Problem;
use super::process::Process;
use super::{get_and_head, ping};
use crate::auth::Auth;

/// `/health/…`
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(get_and_head("/health/live", live))
        .service(get_and_head("/health/ready", ready));
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: &'static str,
    /// Whether keys that were looked up before are remembered, because their end would be heard of.
    #[serde(skip_serializing_if = "Option::is_none")]
    change_feed: Option<&'static str>,
}

async fn live() -> impl Responder {
    Json(Health {
        status: "live",
        change_feed: None,
    })
}

async fn ready(auth: Data<Auth>, process: Data<Process>) -> Result<impl Responder, Problem> {
    if process.is_stopping() {
        return Err(Problem::with_detail(
            StatusCode::SERVICE_UNAVAILABLE,
            "The server is stopping.",
        ));
    }
    ping(&auth).await?;
    let change_feed = if auth.follows_changes() { "up" } else { "down" };
    Ok(Json(Health {
        status: "ready",
        change_feed: Some(change_feed),
    }))
}
