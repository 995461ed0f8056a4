//! Is the process alive, and can it serve?

use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::Responder;
use actix_web::http::StatusCode;
use actix_web::web::{Data, ServiceConfig};

use super::answer::Json;
use super::problem::Problem;
use super::{call, readable};
use crate::auth::Auth;

/// `/health/…`
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(readable("/health/live", live))
        .service(readable("/health/ready", ready));
}

/// Whether the server was told to stop: a proxy in front sees it as not ready and sends no more.
#[derive(Default)]
pub struct Stopping(AtomicBool);

impl Stopping {
    /// From now on the server is not ready.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to stop.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(serde::Serialize)]
struct Health {
    status: &'static str,
}

async fn live() -> impl Responder {
    Json(Health { status: "live" })
}

async fn ready(auth: Data<Auth>, stopping: Data<Stopping>) -> Result<impl Responder, Problem> {
    if stopping.has_begun() {
        return Err(Problem::with_detail(
            StatusCode::SERVICE_UNAVAILABLE,
            "The server is stopping.",
        ));
    }
    call(&auth, Auth::ping).await?;
    Ok(Json(Health { status: "ready" }))
}
