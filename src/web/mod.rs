//! HTTP pieces that every dialect shares. Knows no dialect.

pub mod answer;
pub mod body;
pub mod caller;
pub mod health;
pub mod problem;
pub mod process;
pub mod query;
pub mod responses;
pub mod surface;
pub mod trace;

use std::time::Duration;

use actix_web::rt::time::timeout;
use actix_web::web::{self, Data, block};
use actix_web::{FromRequest, Handler, Resource, Responder};

use crate::auth::Auth;
use crate::error::{AuthError, Result};

/// How long a call may take before its client is told to try again: a database that hangs says nothing.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls the service on a thread that may block, off the event loop.
pub async fn call<T: Send + 'static>(
    auth: &Data<Auth>,
    deed: impl FnOnce(&Auth) -> Result<T> + Send + 'static,
) -> Result<T> {
    call_within(CALL_TIMEOUT, auth, deed).await
}

/// The same, with less patience.
pub async fn call_within<T: Send + 'static>(
    patience: Duration,
    auth: &Data<Auth>,
    deed: impl FnOnce(&Auth) -> Result<T> + Send + 'static,
) -> Result<T> {
    let auth = auth.clone();
    match timeout(patience, block(move || deed(&auth))).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(AuthError::Internal("the thread that did it panicked".to_owned())),
        Err(_) => Err(AuthError::Unavailable(format!("it took longer than {patience:?}"))),
    }
}

/// A resource that is only read: with GET, and with HEAD where that is asked for.
pub fn readable<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
}
