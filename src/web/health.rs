//! Health checks for load balancers and orchestrators.

use actix_web::http::StatusCode;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpResponse, Responder};

use super::problem::Problem;
use super::process::Process;
use super::{get_and_head, ping};
use crate::auth::{Auth, FeedState};

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(get_and_head("/health/live", live))
        .service(get_and_head("/health/ready", ready));
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: &'static str,
    /// The state of the change feed: `up`, `idle` or `down`.
    #[serde(skip_serializing_if = "Option::is_none")]
    change_feed: Option<&'static str>,
}

fn healthy(status: &'static str, change_feed: Option<&'static str>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json; charset=utf-8")
        .json(Health { status, change_feed })
}

async fn live() -> impl Responder {
    healthy("live", None)
}

async fn ready(auth: Data<Auth>, process: Data<Process>) -> Result<impl Responder, Problem> {
    if process.is_stopping() {
        return Err(Problem::with_detail(
            StatusCode::SERVICE_UNAVAILABLE,
            "The server is stopping.",
        ));
    }
    ping(&auth).await?;
    let change_feed = match auth.feed_state() {
        FeedState::Up => "up",
        FeedState::Idle => "idle",
        FeedState::Down => "down",
    };
    Ok(healthy("ready", Some(change_feed)))
}
