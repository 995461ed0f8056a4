//! What happens to every request before it is routed and to every answer before it is sent.

use std::time::Instant;

use actix_cors::CorsError;
use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::http::uri::{PathAndQuery, Uri};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use log::Level;

use super::answer::Verbatim;
use super::problem::Problem;
use super::process::Process;
use super::trace::trace_id;
use crate::model::TraceId;

/// What requests are logged under.
const LOG: &str = "shoko_auth::web::request";

/// Routes match without regard to case and to one slash at the end, every error is a problem, and each request is
/// logged once.
pub async fn surface(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let start = Instant::now();
    normalise_path(&mut request);
    let mut answer = next.call(request).await?.map_into_boxed_body();
    if answer.status().is_client_error() || answer.status().is_server_error() {
        let trace = trace_id(answer.request());
        log_request(&answer, start, trace);
        answer = with_problem(answer, trace);
    } else if log::log_enabled!(target: LOG, Level::Debug) {
        log_request(&answer, start, trace_id(answer.request()));
    }
    // Only a preflight is answered so, by what handles CORS; it has nothing to say.
    if answer.request().method() == Method::OPTIONS && answer.status() == StatusCode::OK {
        *answer.response_mut().status_mut() = StatusCode::NO_CONTENT;
    }
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    let process = answer.request().app_data::<Data<Process>>();
    if process.is_some_and(|process| process.is_stopping()) {
        answer
            .response_mut()
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    Ok(answer)
}

/// One line for a request, under the trace id that a problem shows: never the query, which may hold a key. Where it is
/// our fault, why, in another.
fn log_request(answer: &ServiceResponse, start: Instant, trace: TraceId) {
    let request = answer.request();
    let of_problem = answer
        .response()
        .error()
        .and_then(|error| error.as_error::<Problem>())
        .and_then(Problem::cause);
    let extensions = answer.response().extensions();
    let of_dialect = extensions
        .get::<Verbatim>()
        .and_then(|verbatim| verbatim.cause.as_deref());
    if let Some(cause) = of_problem.or(of_dialect) {
        log::error!(trace:%; "{cause}");
    }
    log::debug!(
        target: LOG,
        method = request.method().as_str(),
        route = request.match_pattern().as_deref().unwrap_or("none"),
        status = answer.status().as_u16(),
        seconds = start.elapsed().as_secs_f64(),
        trace:%;
        "answered"
    );
}

/// What a handler refuses, it refuses with a [`Problem`]. What never reached one (no such route, wrong method)
/// has an empty body up to here. A dialect with errors of its own has marked them as `Verbatim`.
fn with_problem(answer: ServiceResponse, trace: TraceId) -> ServiceResponse {
    if answer.response().extensions().contains::<Verbatim>() {
        return answer;
    }
    let error = answer.response().error();
    let problem = error.and_then(|error| {
        let refused = |error: &CorsError| Problem::with_detail(answer.status(), error.to_string());
        error.as_error().cloned().or_else(|| error.as_error().map(refused))
    });
    match problem {
        Some(problem) => problem.fill_in(answer, trace),
        None if answer.headers().contains_key(CONTENT_TYPE) => answer,
        None => Problem::new(answer.status()).fill_in(answer, trace),
    }
}

/// Below this path are files, whose names have a case.
const FILES: &str = "/webui/";

/// Lower case, and without a slash at the end: but not what names a file, nor the page `/swagger/`. `None`: it is so.
fn normalised(path: &str) -> Option<String> {
    if !path.ends_with('/') && !path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    if let Some((start, file)) = path.split_at_checked(FILES.len())
        && start.eq_ignore_ascii_case(FILES)
    {
        return Some(format!("{FILES}{file}"));
    }
    let mut path = path.to_ascii_lowercase();
    if path.len() > 1 && path.ends_with('/') && !path.ends_with("/swagger/") {
        path.pop();
    }
    Some(path)
}

fn normalise_path(request: &mut ServiceRequest) {
    let Some(path) = normalised(request.path()) else { return };
    if path == request.path() {
        return;
    }
    let query = request
        .uri()
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let Ok(target) = format!("{path}{query}").parse::<PathAndQuery>() else {
        return;
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(target);
    if let Ok(uri) = Uri::from_parts(parts) {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
}
