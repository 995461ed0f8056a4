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

use actix_web::web::{self, Data, block};
use actix_web::{FromRequest, Handler, Resource, Responder};

use crate::auth::Auth;
use crate::error::{AuthError, Result};

/// Calls the service on a thread that may block, off the event loop.
pub async fn call<T: Send + 'static>(
    auth: &Data<Auth>,
    deed: impl FnOnce(&Auth) -> Result<T> + Send + 'static,
) -> Result<T> {
    let auth = auth.clone();
    block(move || deed(&auth))
        .await
        .unwrap_or_else(|_| Err(AuthError::Internal("the thread that did it panicked".to_owned())))
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
