//! Headers that restrict what browsers and caches do with a response.
//!
//! The restrictions are the default. A handler lifts some of them by marking its response as a [`Page`].

use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};

/// Marks a response as a file for browsers that is the same for every client and needs no key, so caches may store it.
/// The value is the `Content-Security-Policy` of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page(pub &'static str);

impl Page {
    pub fn mark<B>(self, response: &mut HttpResponse<B>) {
        response.extensions_mut().insert(self);
    }
}

/// The policy of responses that are not pages.
const DEFAULT_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Adds the headers to a response. A response that is not a [`Page`] may depend on a key or contain one, so caches must
/// not store it.
pub fn add_security_headers<B: MessageBody>(response: &mut HttpResponse<B>) {
    let page = response.extensions().get::<Page>().copied();
    let headers = response.headers_mut();
    let mut insert = |name, value| headers.insert(name, HeaderValue::from_static(value));
    insert(X_CONTENT_TYPE_OPTIONS, "nosniff");
    insert(REFERRER_POLICY, "no-referrer");
    insert(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin");
    insert(CONTENT_SECURITY_POLICY, page.map_or(DEFAULT_POLICY, |page| page.0));
    if page.is_none() {
        insert(CACHE_CONTROL, "no-store");
    }
}
