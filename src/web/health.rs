//! Is the process alive, and can it serve?

use std::time::Duration;

use actix_web::Responder;
use actix_web::http::StatusCode;
use actix_web::web::{Data, ServiceConfig};

use super::answer::Json;
use super::problem::Problem;
use super::process::Process;
use super::{call_within, readable};
use crate::auth::Auth;

/// Who asks whether we are ready has not much time.
const PATIENCE: Duration = Duration::from_secs(3);

/// `/health/…`
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(readable("/health/live", live))
        .service(readable("/health/ready", ready));
}

#[derive(serde::Serialize)]
struct Health {
    status: &'static str,
}

async fn live() -> impl Responder {
    Json(Health { status: "live" })
}

async fn ready(auth: Data<Auth>, process: Data<Process>) -> Result<impl Responder, Problem> {
    if process.is_stopping() {
        return Err(Problem::with_detail(
            StatusCode::SERVICE_UNAVAILABLE,
            "The server is stopping.",
        ));
    }
    call_within(PATIENCE, &auth, Auth::ping).await?;
    Ok(Json(Health { status: "ready" }))
}
