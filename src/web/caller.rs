//! Who makes the request: extractors, so that the right a route needs stands in its signature.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};

use super::address::origin;
use super::call;
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
struct Presented {
    anything: bool,
    keys: Vec<Key>,
}

impl Presented {
    fn by(request: &HttpRequest) -> Self {
        let query = Query::of(request);
        let headers = header_values(request.headers());
        let texts = headers
            .into_iter()
            .chain(query.all("apikey"))
            .filter(|text| !text.trim().is_empty());
        let texts: Vec<&str> = texts.collect();
        Self {
            anything: !texts.is_empty(),
            keys: texts.into_iter().filter_map(Key::parse).take(MAX_KEYS).collect(),
        }
    }
}

fn header_values(headers: &HeaderMap) -> Vec<&str> {
    // What is no text is no key; it counts as one that is unknown.
    let keys = headers.get_all("apikey").map(|value| value.to_str().unwrap_or("?"));
    let bearers = headers.get_all(AUTHORIZATION).filter_map(|value| {
        let (scheme, key) = value.to_str().ok()?.trim_start().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key)
    });
    keys.chain(bearers).collect()
}

async fn caller(request: HttpRequest) -> Result<Option<Caller>> {
    let Presented { anything, keys } = Presented::by(&request);
    if keys.is_empty() {
        return if anything { Err(AuthError::InvalidKey) } else { Ok(None) };
    }
    let auth = request
        .app_data::<Data<Auth>>()
        .expect("the server gives every route the service");
    let origin = origin(&request);
    call(auth, move |auth| auth.verify(&keys, &origin))
        .await?
        .map(Some)
        .ok_or(AuthError::InvalidKey)
}

/// For routes that need a working key.
impl FromRequest for Caller {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = caller(request.clone());
        Box::pin(async { Ok(caller.await?.ok_or(AuthError::KeyRequired)?) })
    }
}

/// For routes that need a working key of an administrator.
pub struct Admin(pub Caller);

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = Caller::from_request(request, payload);
        Box::pin(async {
            let caller = caller.await?;
            if caller.is_admin {
                Ok(Self(caller))
            } else {
                Err(AuthError::Forbidden.into())
            }
        })
    }
}

/// For routes that anybody may call and that do more for somebody known. A key that does not work counts as none.
pub struct MaybeCaller(pub Option<Caller>);

impl FromRequest for MaybeCaller {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = caller(request.clone());
        Box::pin(async {
            match caller.await {
                Err(AuthError::InvalidKey) => Ok(Self(None)),
                found => Ok(Self(found?)),
            }
        })
    }
}
