//! Who makes the request: extractors, so that the right a route needs stands in its signature.
//!
//! A key that was looked up before costs no query and no wait.

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use actix_web::rt::time::timeout;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::CALL_TIMEOUT;
use super::address::request_context;
use super::problem::Problem;
use super::query::Query;
use crate::auth::Auth;
use crate::error::{AuthError, Result};
use crate::model::Caller;
use crate::secret::key::Key;

/// More keys than this in one request are not looked at.
const MAX_KEYS: usize = 4;
/// What a request presents to be known by: the header `apikey`, `Authorization: Bearer`, the query `apikey`, in this
/// order. Empty values count as absent.
pub struct Presented {
    /// Whether it presents anything, be it a key or not.
    pub anything: bool,
    /// The keys among it.
    pub keys: SmallVec<[Key; MAX_KEYS]>,
}

impl Presented {
    /// By this request.
    #[must_use]
    pub fn by(request: &HttpRequest) -> Self {
        let mut presented = Self {
            anything: false,
            keys: SmallVec::new(),
        };
        for value in request.headers().get_all("apikey") {
            presented.add(text(value));
        }
        for value in request.headers().get_all(AUTHORIZATION) {
            if let Some((scheme, key)) = text(value).trim_start().split_once(' ')
                && scheme.eq_ignore_ascii_case("bearer")
            {
                presented.add(key);
            }
        }
        if !request.query_string().is_empty() {
            for key in Query::of(request).all("apikey") {
                presented.add(key);
            }
        }
        presented
    }

    fn add(&mut self, text: &str) {
        self.anything |= !text.trim().is_empty();
        if self.keys.len() < MAX_KEYS {
            self.keys.extend(Key::parse(text));
        }
    }
}

/// What is no text is no key; it counts as one that is unknown.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("?")
}

/// At once when the key is remembered.
async fn caller(request: HttpRequest) -> Result<Option<Caller>> {
    let Presented { anything, keys } = Presented::by(&request);
    if keys.is_empty() {
        return if anything { Err(AuthError::InvalidKey) } else { Ok(None) };
    }
    let auth = request
        .app_data::<Data<Auth>>()
        .expect("the server gives every route the service");
    let context = request_context(&request);
    if let Some(caller) = auth.cached_caller(&keys, &context) {
        return Ok(Some(caller));
    }
    let (sender, receiver) = oneshot::channel();
    auth.look_up(&keys, move |found| drop(sender.send(found)));
    let late = |_| AuthError::unavailable(format!("it took longer than {CALL_TIMEOUT:?}"));
    let nothing = |_| AuthError::internal("the thread that looked a key up panicked");
    let found = timeout(CALL_TIMEOUT, receiver)
        .await
        .map_err(late)?
        .map_err(nothing)??;
    let holder = found.ok_or(AuthError::InvalidKey)?;
    Ok(Some(auth.looked_up_caller(holder, context)))
}

/// For routes that need a working key.
impl FromRequest for Caller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, std::result::Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = caller(request.clone());
        async { Ok(caller.await?.ok_or(AuthError::KeyRequired)?) }.boxed_local()
    }
}

/// For routes that need a working key of an administrator.
pub struct Admin(pub Caller);

impl FromRequest for Admin {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, std::result::Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = Caller::from_request(request, payload);
        async {
            let caller = caller.await?;
            if caller.holder.is_admin {
                Ok(Self(caller))
            } else {
                Err(AuthError::Forbidden.into())
            }
        }
        .boxed_local()
    }
}

/// For routes that anybody may call and that do more for somebody known. A key that does not work counts as none.
pub struct MaybeCaller(pub Option<Caller>);

impl FromRequest for MaybeCaller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, std::result::Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = caller(request.clone());
        async {
            match caller.await {
                Err(AuthError::InvalidKey) => Ok(Self(None)),
                found => Ok(Self(found?)),
            }
        }
        .boxed_local()
    }
}
