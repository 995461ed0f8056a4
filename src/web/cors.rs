//! Lets pages of other origins call the server from a browser. `Access-Control-Allow-Credentials` is never sent. It
//! concerns only credentials that the browser adds, such as cookies, but here the page itself sends the key.

use actix_cors::Cors;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::middleware::Condition;

use crate::settings::CorsOrigins;

/// How long browsers may cache the response to a preflight, in seconds.
const MAX_AGE: usize = 600;

/// Returns the middleware, which does nothing if no origin is allowed.
#[must_use]
pub fn cors(origins: &CorsOrigins) -> Condition<Cors> {
    let cors = Cors::default()
        .block_on_origin_mismatch(false)
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
        .allow_any_header()
        .expose_headers([RETRY_AFTER, WWW_AUTHENTICATE])
        .expose_headers(["ratelimit", "ratelimit-policy"])
        .max_age(MAX_AGE);
    match origins {
        CorsOrigins::None => Condition::new(false, cors),
        CorsOrigins::Any => Condition::new(true, cors.allow_any_origin().send_wildcard().disable_vary_header()),
        CorsOrigins::Listed(listed) => Condition::new(
            true,
            listed.iter().fold(cors, |cors, origin| cors.allowed_origin(origin)),
        ),
    }
}
