//! Is the process alive, and can it serve?

use actix_web::Responder;
use actix_web::web::{self, Data, ServiceConfig};

use super::answer::Json;
use super::call;
use super::problem::Problem;
use crate::auth::Auth;

/// `/health/…`
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            web::resource("/health/live")
                .route(web::get().to(live))
                .route(web::head().to(live)),
        )
        .service(
            web::resource("/health/ready")
                .route(web::get().to(ready))
                .route(web::head().to(ready)),
        );
}

#[derive(serde::Serialize)]
struct Health {
    status: &'static str,
}

async fn live() -> impl Responder {
    Json(Health { status: "live" })
}

async fn ready(auth: Data<Auth>) -> Result<impl Responder, Problem> {
    call(&auth, Auth::ping).await?;
    Ok(Json(Health { status: "ready" }))
}
