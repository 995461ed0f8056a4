//! Counts requests for the metrics.

use std::borrow::Cow;
use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;

use crate::metrics::{Metrics, RequestRecord};

/// The route of requests that no route matches.
const NO_ROUTE: &str = "none";

/// Counts a request that began at `start`. `prefix` is the base path.
pub fn record_request(metrics: &Metrics, response: &ServiceResponse, prefix: &str, start: Instant) {
    let request = response.request();
    metrics.record_request(&RequestRecord {
        route: &route(request, prefix),
        method: method_label(request.method()),
        status: response.status().as_u16(),
        time: start.elapsed(),
    });
}

/// Returns the pattern of the route, without the base path. Allocates no memory for a resource with a name, such as that
/// of forward-auth.
fn route<'a>(request: &'a HttpRequest, prefix: &str) -> Cow<'a, str> {
    if let Some(name) = request.match_name() {
        return Cow::Borrowed(name);
    }
    let pattern = request.match_pattern().unwrap_or_else(|| NO_ROUTE.to_owned());
    let route = pattern.strip_prefix(prefix);
    Cow::Owned(route.unwrap_or(&pattern).to_owned())
}

/// Returns the method, or `other` for a method that a client may have made up.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [(&Method, &str); 7] = [
        (&Method::GET, "GET"),
        (&Method::HEAD, "HEAD"),
        (&Method::POST, "POST"),
        (&Method::PUT, "PUT"),
        (&Method::PATCH, "PATCH"),
        (&Method::DELETE, "DELETE"),
        (&Method::OPTIONS, "OPTIONS"),
    ];
    let known = KNOWN.iter().find(|(known, _)| *known == method);
    known.map_or("other", |(_, label)| label)
}
