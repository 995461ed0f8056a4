//! The middleware around every request: path normalization, problem bodies, security headers, slices of large bodies,
//! the request log.

use std::time::{Duration, Instant};

use actix_cors::CorsError;
use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_METHODS, CONTENT_TYPE};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use log::Level;

use super::address::request_context;
use super::large_responses::{LargeResponses, ReservedMemory};
use super::measure::record_request;
use super::path::normalize_path;
use super::problem::Problem;
use super::process::Process;
use super::progress::Progress;
use super::response_body::{SharedBody, in_slices, is_large};
use super::security_headers::add_security_headers;
use super::trace::trace_id;
use crate::error::{Cause, ServiceError};
use crate::model::{Network, TraceId};

/// The log target of requests.
const LOG: &str = "shoko_auth::web::request";

/// How long a client should wait before it requests a large response again.
const UNREAD_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The cause of an internal error. It is logged but not shown to the client. An error response carries it in its
/// extensions.
pub struct InternalCause(pub Cause);

/// Normalizes the path, calls the route, completes problems, adds the security headers, slices large bodies and logs
/// the request once.
pub async fn request_middleware(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let start = Instant::now();
    normalize_path(&mut request);
    let progress = request.conn_data::<Progress>().cloned().unwrap_or_default();
    let handling = progress.handle();
    let mut response = next.call(request).await?.map_into_boxed_body();
    drop(handling);
    let memory = match reserve_memory(&response) {
        Ok(memory) => memory,
        Err(problem) => {
            response = response.error_response(problem).map_into_boxed_body();
            None
        }
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        let trace = trace_id(response.request());
        log_request(&response, start, trace);
        response = with_problem(response, trace);
    } else if log::log_enabled!(target: LOG, Level::Debug) {
        log_request(&response, start, trace_id(response.request()));
    }
    // The CORS middleware responds to preflights with 200. Its response has no body, so the right status is 204.
    let is_options = response.request().method() == Method::OPTIONS && response.status() == StatusCode::OK;
    if is_options && response.headers().contains_key(ACCESS_CONTROL_ALLOW_METHODS) {
        *response.response_mut().status_mut() = StatusCode::NO_CONTENT;
    }
    let process = response.request().app_data::<Data<Process>>();
    let is_stopping = process.is_some_and(|process| process.is_stopping());
    if let Some(process) = process
        && let Some(metrics) = process.metrics()
    {
        record_request(metrics, &response, process.prefix(), start);
    }
    add_security_headers(response.response_mut());
    if is_stopping {
        response
            .response_mut()
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    if is_large(response.response().body()) {
        response = response.map_body(|_, body| in_slices(body, progress, memory));
    }
    Ok(response)
}

/// Reserves memory for a large response, unless it needs none of its own. Fails if the client's network has not read
/// other large responses yet.
fn reserve_memory(response: &ServiceResponse<BoxBody>) -> Result<Option<ReservedMemory>, Problem> {
    let body = response.response().body();
    if !is_large(body) || response.response().extensions().contains::<SharedBody>() {
        return Ok(None);
    }
    let request = response.request();
    let responses = request.app_data::<LargeResponses>();
    let (Some(responses), BodySize::Sized(size), Some(address)) =
        (responses, body.size(), request_context(request).address)
    else {
        return Ok(None);
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let retry_after = UNREAD_RETRY_AFTER;
    match responses.reserve(Network::of(address), size) {
        Some(memory) => Ok(Some(memory)),
        None => Err(ServiceError::Busy { retry_after }.into()),
    }
}

/// Logs a line for a request, with the trace id that its problem shows. If there was an internal error, logs its cause
/// first. Never logs the query, which may contain a key.
fn log_request(response: &ServiceResponse, start: Instant, trace: TraceId) {
    let request = response.request();
    if let Some(InternalCause(cause)) = response.response().extensions().get() {
        log::error!(trace:%; "internal error: {cause}");
    }
    log::debug!(
        target: LOG,
        method = request.method().as_str(),
        route = request.match_pattern().as_deref().unwrap_or("none"),
        status = response.status().as_u16(),
        seconds = start.elapsed().as_secs_f64(),
        trace:%;
        "responded"
    );
}

/// Adds a body to problems, and to error responses that no handler created (no such route, wrong method). The error
/// responses of other dialects already have their bodies.
fn with_problem(response: ServiceResponse, trace: TraceId) -> ServiceResponse {
    let problem = match response.response().error() {
        None if response.headers().contains_key(CONTENT_TYPE) => None,
        None => Some(Problem::new(response.status())),
        Some(error) => {
            let from_cors = |error: &CorsError| Problem::with_detail(response.status(), error.to_string());
            error.as_error().cloned().or_else(|| error.as_error().map(from_cors))
        }
    };
    match problem {
        Some(problem) => problem.complete(response, trace),
        None => response,
    }
}
