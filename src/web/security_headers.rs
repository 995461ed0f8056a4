//! Headers that restrict what browsers and caches do with a response.
//!
//! The restrictions are the default. A handler lifts some of them by marking its response as a [`Page`].

use std::borrow::Cow;

use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// Marks a response as a page or a file for browsers. The value is its `Content-Security-Policy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// It is the same for every client and needs no key, so caches may store it.
    Public(&'static str),
    /// It depends on a session, so caches must not store it.
    Private(Cow<'static, str>),
}

impl Page {
    pub fn mark<B>(self, response: &mut HttpResponse<B>) {
        response.extensions_mut().insert(self);
    }
}

/// Adds the headers to a response. A response that is not a [`Page`] may depend on a key or contain one, so caches must
/// not store it.
pub fn add_security_headers<B: MessageBody>(response: &mut HttpResponse<B>) {
    // Constants are validated by the compiler. Otherwise, each response would validate them.
    const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
    const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
    const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
    const DEFAULT_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
    // With `no-referrer`, browsers send `Origin: null` with forms, and then nothing shows that the form is one of this
    // server. With this policy, a `Referer` never contains a path.
    const ORIGIN_ONLY: HeaderValue = HeaderValue::from_static("strict-origin");
    const DENY: HeaderValue = HeaderValue::from_static("DENY");

    let page = response.extensions_mut().remove::<Page>();
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, SAME_ORIGIN);
    match page {
        Some(Page::Public(policy)) => {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        Some(Page::Private(policy)) => {
            let policy = HeaderValue::try_from(&*policy).unwrap_or(DEFAULT_POLICY);
            headers.insert(CONTENT_SECURITY_POLICY, policy);
            headers.insert(CACHE_CONTROL, NO_STORE);
            headers.insert(REFERRER_POLICY, ORIGIN_ONLY);
            headers.insert(X_FRAME_OPTIONS, DENY);
        }
        None => {
            headers.insert(CONTENT_SECURITY_POLICY, DEFAULT_POLICY);
            headers.insert(CACHE_CONTROL, NO_STORE);
        }
    }
}
