//! Extractors for the caller of a request. Each extractor stands for a right, so the signature of a handler shows the
//! right that its route requires.
//!
//! Each wire protocol implements [`Dialect`]. Its handlers take a [`Caller`], an [`Admin`] or a [`MaybeCaller`] of that
//! dialect. A cached key is verified without a database query and without waiting.

use std::marker::PhantomData;
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use actix_web::rt::time::timeout;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, ResponseError};
use futures_util::FutureExt;
use futures_util::future::{Either, LocalBoxFuture, Ready, ready};
use smallvec::SmallVec;
use tokio::sync::oneshot::{self, Receiver};

use super::address::request_context;
use super::query::Query;
use super::{CALL_TIMEOUT, timed_out};
use crate::auth::{Auth, LookupResult};
use crate::error::{KeyError, ManageError, ServiceError};
use crate::model::{self, Acceptance, Actor, CookieDomain, RequestContext};
use crate::secret::key::Key;
use crate::secret::token::{GatewaySecret, SessionSecret};

/// The maximum number of keys that are tried for one request. Further keys are ignored.
const MAX_KEYS: usize = 4;

const APIKEY: HeaderName = HeaderName::from_static("apikey");

/// Keys in the order in which they are tried.
pub type Keys = SmallVec<[Key; MAX_KEYS]>;

/// How a wire protocol presents keys and reports errors.
pub trait Dialect: 'static {
    type Error: ResponseError + From<KeyError> + 'static;

    /// Returns the keys that a request presents, or no keys if the request does not try to authenticate. Fails if the
    /// request tries to authenticate but presents nothing that could be a key.
    fn presented_keys(request: &HttpRequest) -> Result<Keys, Self::Error>;

    /// Returns which keys the routes of this protocol accept, at least full keys.
    fn acceptance(request: &HttpRequest) -> Acceptance;

    /// Returns the error for a request whose keys are all invalid.
    #[must_use]
    fn rejection(_auth: &Data<Auth>, _keys: Keys) -> impl Future<Output = Self::Error> {
        async { KeyError::Invalid.into() }
    }
}

/// Returns the keys in the header `apikey`, in `Authorization: Bearer` and in the query `apikey`, in this order. Empty
/// values count as absent. Fails if there are values but none of them could be a key.
pub fn standard_keys(request: &HttpRequest) -> Result<Keys, KeyError> {
    keys_of(request, &Query::of(request))
}

/// Returns the keys in the header `apikey` and in `Authorization: Bearer`, in this order. Empty values count as absent.
/// Fails if there are values but none of them could be a key.
pub fn header_keys(request: &HttpRequest) -> Result<Keys, KeyError> {
    keys_of(request, &Query::default())
}

fn keys_of(request: &HttpRequest, query: &Query) -> Result<Keys, KeyError> {
    let mut keys = Keys::new();
    let mut is_empty = true;
    let mut add = |text: &str| {
        is_empty &= text.trim().is_empty();
        if keys.len() < MAX_KEYS {
            keys.extend(Key::parse(text));
        }
    };
    // A value that is not text counts as an unknown key.
    let text = |value| HeaderValue::to_str(value).unwrap_or("?");
    request.headers().get_all(APIKEY).map(text).for_each(&mut add);
    for value in request.headers().get_all(AUTHORIZATION).map(text) {
        if let Some((scheme, key)) = value.trim_start().split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            add(key);
        }
    }
    query.all("apikey").for_each(&mut add);
    if keys.is_empty() && !is_empty {
        return Err(KeyError::Invalid);
    }
    Ok(keys)
}

/// Returns the caller that presents `keys` if the first of them is a cached full key, which every protocol accepts.
fn cached_caller(request: &HttpRequest, keys: &Keys) -> Option<model::Caller> {
    let context = request_context(request);
    auth(request).cached_caller(keys, &Acceptance::FullKeys, &context)
}

/// Returns the caller that presents `keys`, or `None` if no key is valid. Returns at once if the first key is cached.
async fn find_caller<D: Dialect>(request: &HttpRequest, keys: &Keys) -> Result<Option<model::Caller>, ServiceError> {
    let (auth, context) = (auth(request), request_context(request));
    // Every protocol accepts full keys. Most callers present one, so the acceptance is determined only for the others.
    if let Some(caller) = auth.cached_caller(keys, &Acceptance::FullKeys, &context) {
        return Ok(Some(caller));
    }
    find_accepted(request, keys, D::acceptance(request)).await
}

/// Returns the caller that presents `keys`, or `None` if none of them is valid and accepted.
pub async fn find_accepted(
    request: &HttpRequest,
    keys: &[Key],
    acceptance: Acceptance,
) -> Result<Option<model::Caller>, ServiceError> {
    let (auth, context) = (auth(request), request_context(request));
    if let Some(caller) = auth.cached_caller(keys, &acceptance, &context) {
        return Ok(Some(caller));
    }
    let (sender, receiver) = oneshot::channel();
    auth.look_up(keys, acceptance, move |found| drop(sender.send(found)));
    looked_up(receiver, auth, context).await
}

/// Returns the caller whose session has this secret, or `None` if the session is not valid.
pub async fn find_session(
    request: &HttpRequest,
    secret: &SessionSecret,
) -> Result<Option<model::Caller>, ServiceError> {
    let (auth, context) = (auth(request), request_context(request));
    if let Some(caller) = auth.cached_session(secret, &context) {
        return Ok(Some(caller));
    }
    let (sender, receiver) = oneshot::channel();
    auth.look_up_session(secret, move |found| drop(sender.send(found)));
    looked_up(receiver, auth, context).await
}

/// Returns the caller whose session has this gateway cookie, or `None` if the session is not valid.
pub async fn find_gateway_cookie(
    request: &HttpRequest,
    secret: &GatewaySecret,
    domain: &CookieDomain,
) -> Result<Option<model::Caller>, ServiceError> {
    let (auth, context) = (auth(request), request_context(request));
    if let Some(caller) = auth.cached_gateway_cookie(secret, domain, &context) {
        return Ok(Some(caller));
    }
    let (sender, receiver) = oneshot::channel();
    auth.look_up_gateway_cookie(secret, domain, move |found| drop(sender.send(found)));
    looked_up(receiver, auth, context).await
}

async fn looked_up(
    receiver: Receiver<LookupResult>,
    auth: &Data<Auth>,
    context: RequestContext,
) -> Result<Option<model::Caller>, ServiceError> {
    let panicked = |_| ServiceError::internal("the lookup of a key panicked");
    let found = timeout(CALL_TIMEOUT, receiver)
        .await
        .map_err(|_| timed_out("key lookup", CALL_TIMEOUT))?
        .map_err(panicked)??;
    Ok(found.map(|holder| auth.looked_up_caller(holder, context)))
}

pub(crate) fn auth(request: &HttpRequest) -> &Data<Auth> {
    request
        .app_data()
        .expect("the server registers the service for every route")
}

/// The caller, on a route that requires a valid key.
pub struct Caller<D>(model::Caller, PhantomData<D>);

impl<D> Caller<D> {
    #[must_use]
    pub fn into_inner(self) -> model::Caller {
        self.0
    }
}

impl<D> Deref for Caller<D> {
    type Target = model::Caller;

    fn deref(&self) -> &model::Caller {
        &self.0
    }
}

impl<'a, D> From<&'a Caller<D>> for Actor<'a> {
    fn from(caller: &'a Caller<D>) -> Self {
        Self::Caller(caller)
    }
}

impl<D: Dialect> FromRequest for Caller<D> {
    type Error = D::Error;
    /// Ready at once if the first key is a cached full key. That is the hot path, so it allocates no future.
    type Future = Either<Ready<Result<Self, D::Error>>, LocalBoxFuture<'static, Result<Self, D::Error>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let keys = D::presented_keys(request);
        if let Some(caller) = keys.as_ref().ok().and_then(|keys| cached_caller(request, keys)) {
            return Either::Left(ready(Ok(Self(caller, PhantomData))));
        }
        let request = request.clone();
        let caller = async move {
            let log_rejected_key = || auth(&request).log_rejected_key(&request_context(&request));
            let keys = keys.inspect_err(|_| log_rejected_key())?;
            if keys.is_empty() {
                return Err(KeyError::Required.into());
            }
            match find_caller::<D>(&request, &keys).await {
                Ok(Some(caller)) => Ok(Self(caller, PhantomData)),
                Ok(None) => {
                    log_rejected_key();
                    Err(D::rejection(auth(&request), keys).await)
                }
                Err(error) => Err(KeyError::from(error).into()),
            }
        };
        Either::Right(caller.boxed_local())
    }
}

/// The caller, on a route that requires a valid key of an administrator.
pub struct Admin<D>(Caller<D>);

impl<D> Admin<D> {
    #[must_use]
    pub fn into_inner(self) -> model::Caller {
        self.0.into_inner()
    }
}

impl<D> Deref for Admin<D> {
    type Target = model::Caller;

    fn deref(&self) -> &model::Caller {
        &self.0
    }
}

impl<'a, D> From<&'a Admin<D>> for Actor<'a> {
    fn from(admin: &'a Admin<D>) -> Self {
        (&admin.0).into()
    }
}

impl<D: Dialect<Error: From<ManageError>>> FromRequest for Admin<D> {
    type Error = D::Error;
    type Future = LocalBoxFuture<'static, Result<Self, D::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = Caller::<D>::from_request(request, payload);
        let auth = auth(request).clone();
        async move {
            let caller = caller.await?;
            auth.require_admin(&caller)?;
            Ok(Self(caller))
        }
        .boxed_local()
    }
}

/// The caller, on a route that works without a key but does more for a caller with a valid key. `None` if the request
/// presents no valid key.
pub struct MaybeCaller<D>(pub Option<model::Caller>, PhantomData<D>);

impl<D: Dialect> FromRequest for MaybeCaller<D> {
    type Error = D::Error;
    type Future = LocalBoxFuture<'static, Result<Self, D::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        async move {
            let keys = D::presented_keys(&request).unwrap_or_default();
            if keys.is_empty() {
                return Ok(Self(None, PhantomData));
            }
            let caller = find_caller::<D>(&request, &keys).await.map_err(KeyError::from)?;
            Ok(Self(caller, PhantomData))
        }
        .boxed_local()
    }
}
