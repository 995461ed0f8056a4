//! HTTP pieces that every dialect shares. Knows no dialect.

pub mod address;
pub mod answer;
pub mod basic;
pub mod body;
pub mod caller;
pub mod cors;
pub mod health;
pub mod problem;
pub mod process;
pub mod query;
pub mod responses;
pub mod routes;
pub mod surface;
pub mod trace;

use std::time::Duration;

use actix_web::rt::time::timeout;
use actix_web::web::{self, Data, block};
use actix_web::{FromRequest, Handler, Resource, Responder};

use crate::auth::Auth;
use crate::error::AuthError;

/// How long a call may take before its client is told to try again: a database that hangs says nothing.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Calls the service on a thread that may block, off the event loop.
pub async fn call<T, E>(
    auth: &Data<Auth>,
    operation: impl FnOnce(&Auth) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<AuthError> + Send + 'static,
{
    let auth = auth.clone();
    match timeout(CALL_TIMEOUT, block(move || operation(&auth))).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(AuthError::internal("the thread that did it panicked").into()),
        Err(_) => Err(AuthError::unavailable(format!("it took longer than {CALL_TIMEOUT:?}")).into()),
    }
}

/// Whether the database answers, for somebody who has not much time.
pub async fn ping(auth: &Data<Auth>) -> Result<(), AuthError> {
    let late = |_| AuthError::unavailable(format!("it took longer than {PING_TIMEOUT:?}"));
    timeout(PING_TIMEOUT, call(auth, Auth::ping)).await.map_err(late)?
}

/// A resource that is only read: with GET, and with HEAD where that is asked for.
pub fn get_and_head<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
}
