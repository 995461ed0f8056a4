//! The HTTP parts that all dialects share, and the problems that Shoko's dialect, the gateway and the health routes
//! send. This module does not know the routes of any dialect.

pub mod address;
pub mod basic;
pub mod body;
pub mod caller;
pub mod cors;
pub mod gateway_cookie;
pub mod health;
pub mod large_bodies;
pub mod large_responses;
mod measure;
pub mod middleware;
pub mod origin;
pub mod path;
pub mod problem;
pub mod process;
pub mod progress;
pub mod query;
pub mod response_body;
pub mod responses;
pub mod return_url;
pub mod routes;
pub mod security_headers;
pub mod static_file;
pub mod trace;

use std::time::Duration;

use actix_web::rt::time::timeout;
use actix_web::web::{self, Data, block};
use actix_web::{FromRequest, Handler, Resource, Responder};

use crate::auth::Auth;
use crate::error::ServiceError;

/// The longest time that a request waits for an operation or a lookup. The limit is needed because a database that
/// hangs reports no error.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs `operation` on a thread that may block, off the event loop. Fails if it takes longer than `CALL_TIMEOUT`.
pub async fn call<T, E>(
    auth: &Data<Auth>,
    operation: impl FnOnce(&Auth) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<ServiceError> + Send + 'static,
{
    let auth = auth.clone();
    match timeout(CALL_TIMEOUT, block(move || operation(&auth))).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(ServiceError::internal("the operation panicked").into()),
        Err(_) => Err(timed_out("operation", CALL_TIMEOUT).into()),
    }
}

/// Checks that the database responds. The timeout is short, because clients of health checks do not wait long.
pub async fn ping(auth: &Data<Auth>) -> Result<(), ServiceError> {
    timeout(PING_TIMEOUT, call(auth, Auth::ping))
        .await
        .map_err(|_| timed_out("health check", PING_TIMEOUT))?
}

/// Logs that an operation or a lookup has taken too long, and returns the error for the request or task that waited.
fn timed_out(what: &str, limit: Duration) -> ServiceError {
    log::warn!("a request or a task failed, because its {what} took longer than {limit:?}; the {what} continues");
    ServiceError::unavailable(format!("the {what} took longer than {limit:?}"))
}

/// Creates a resource for GET and HEAD. Its name is its path, which the metrics need: they would have to allocate memory
/// for the path of a resource without a name.
pub fn get_and_head<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    // A name must not be empty.
    let name = if path.is_empty() { "/" } else { path };
    web::resource(path)
        .name(name)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
}
