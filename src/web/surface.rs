//! What happens to every request before it is routed and to every answer before it is sent.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::CONTENT_TYPE;
use actix_web::http::uri::{PathAndQuery, Uri};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse};

use super::problem::Problem;
use super::trace::TraceId;

/// Routes match without regard to case and to one slash at the end; every error is a problem.
///
/// What a handler refuses, it refuses with a [`Problem`]. What never reached one (no such route, wrong method)
/// has an empty body up to here. A dialect with errors of its own has given them a body and a type.
pub async fn surface(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let trace = TraceId::of(request.request());
    normalise_path(&mut request);
    let answer = next.call(request).await?.map_into_boxed_body();
    let status = answer.status();
    let problem = answer.response().error().and_then(|error| error.as_error::<Problem>());
    let rendered = match problem {
        Some(problem) => problem.answer(answer.request(), &trace),
        None if !(status.is_client_error() || status.is_server_error()) => return Ok(answer),
        None if answer.headers().contains_key(CONTENT_TYPE) => return Ok(answer),
        None => {
            let mut rendered = Problem::new(status).answer(answer.request(), &trace);
            keep_headers(&answer, &mut rendered);
            rendered
        }
    };
    Ok(answer.into_response(rendered))
}

/// `Allow` and the like.
fn keep_headers(from: &ServiceResponse, to: &mut HttpResponse) {
    for (name, value) in from.headers() {
        to.headers_mut().append(name.clone(), value.clone());
    }
}

/// Lower case, and without a slash at the end; below `/swagger/` that slash is a page of its own.
fn normalise_path(request: &mut ServiceRequest) {
    let mut path = request.path().to_ascii_lowercase();
    if path.len() > 1 && path.ends_with('/') && !path.ends_with("/swagger/") {
        path.pop();
    }
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
