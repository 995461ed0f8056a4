//! Request bodies, read only when a handler needs them.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::mem;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use actix_web::mime::{self, Mime, Name};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::StreamExt;
use zeroize::Zeroizing;

use super::large_bodies::LargeBodies;
use super::problem::Problem;
use super::progress::Progress;
use crate::error::{Result, ServiceError};

/// The longest body, in bytes. Only bodies that may hold an avatar or the web UI's settings may be larger.
pub const MAX_BYTES: usize = 16 * 1024;
/// The longest body that may hold an avatar or the web UI's settings, in bytes.
const MAX_LARGE_BYTES: usize = 2 * 1024 * 1024;

/// The media type that [`is_form`] accepts, for errors.
pub const FORM_TYPE: &str = "application/x-www-form-urlencoded, in UTF-8";
/// The media types that [`is_json`] accepts, for errors.
pub const JSON_TYPES: &str = "application/json, text/json or application/*+json, in UTF-8";
/// The `Accept-Encoding` of a response to a body with another encoding (RFC 9110, section 12.5.3).
pub const ACCEPTED_ENCODING: &str = "identity";
/// The charsets whose text is UTF-8. The media type compares them in any case.
const UTF_8_CHARSETS: [&str; 4] = ["utf-8", "utf8", "us-ascii", "ascii"];

/// A body that has not been read yet. This allows rejecting a caller without permission before reading anything.
pub struct Body {
    request: HttpRequest,
    payload: Payload,
    limit: usize,
}

impl FromRequest for Body {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(Ok(Self {
            request: request.clone(),
            payload: payload.take(),
            limit: MAX_BYTES,
        }))
    }
}

impl Body {
    /// Raises the limit to 2 MiB, after waiting until only a few such requests are in progress. Call it only after the
    /// caller has been authenticated, with their user id. Fails with [`ServiceError::Busy`] if the wait is too long.
    pub async fn large(self, user_id: i32) -> Result<Self> {
        let Some(bodies) = self.request.app_data::<LargeBodies>().cloned() else {
            return Err(ServiceError::internal("the server has no limit for large bodies"));
        };
        let permit = bodies.admit(user_id).await?;
        // The permit is freed with the request.
        self.request.extensions_mut().insert(permit);
        Ok(Self {
            limit: MAX_LARGE_BYTES,
            ..self
        })
    }

    /// Reads the body as text. Fails if `is_accepted` rejects its media type. The error then contains `types`, the list
    /// of the accepted types. An empty body may have any type, charset and encoding.
    pub async fn text(self, is_accepted: fn(&Mime) -> bool, types: &str) -> Result<Zeroizing<String>, Problem> {
        let is_supported = self.content_type().is_some_and(|mime| is_accepted(&mime));
        let bytes = self.supported_bytes().await;
        match bytes {
            // The type is wrong whatever the length is.
            Ok(bytes) if is_supported || bytes.is_empty() => Ok(decode(bytes)?),
            Ok(_) | Err(BodyError::TooLarge { .. }) if !is_supported => Err(Problem::with_detail(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("The Content-Type must be {types}."),
            )),
            other => Ok(decode(other?)?),
        }
    }

    /// Reads the text of a form, or returns `None` if the body is of another type.
    pub async fn form_text(self) -> Result<Option<Zeroizing<String>>, BodyError> {
        let is_form = self.content_type().is_some_and(|mime| is_form(&mime));
        let bytes = self.supported_bytes().await?;
        is_form.then(|| decode(bytes)).transpose()
    }

    /// Reads the body. Fails if it is not empty and has an encoding or a charset that is not supported, even if it is
    /// also too large.
    async fn supported_bytes(self) -> Result<Zeroizing<Vec<u8>>, BodyError> {
        let unsupported = self.unsupported();
        match (self.bytes().await, unsupported) {
            (Ok(bytes), Some(error)) if !bytes.is_empty() => Err(error),
            (Err(BodyError::TooLarge { .. }), Some(error)) => Err(error),
            (result, _) => result,
        }
    }

    /// Returns why a body with these headers cannot be read, if it is not empty.
    fn unsupported(&self) -> Option<BodyError> {
        let mut encodings = self.request.headers().get_all(CONTENT_ENCODING);
        if !encodings.all(is_identity) {
            return Some(BodyError::UnsupportedEncoding);
        }
        let mime = self.content_type()?;
        let mut charsets = mime.params().filter(|(name, _)| *name == mime::CHARSET);
        let is_utf8 = |charset: Name<'_>| UTF_8_CHARSETS.iter().any(|name| charset == *name);
        (!charsets.all(|(_, charset)| is_utf8(charset))).then_some(BodyError::UnsupportedCharset)
    }

    async fn bytes(mut self) -> Result<Zeroizing<Vec<u8>>, BodyError> {
        let too_large = BodyError::TooLarge { limit: self.limit };
        let mut bytes = Zeroizing::new(Vec::new());
        if self.content_length().is_some_and(|length| length > self.limit) {
            return Err(too_large);
        }
        let progress = self.request.conn_data::<Progress>().cloned().unwrap_or_default();
        let _reading = progress.read_body();
        while let Some(chunk) = self.payload.next().await {
            let chunk = chunk.map_err(|_| BodyError::Incomplete)?;
            if bytes.len() + chunk.len() > self.limit {
                return Err(too_large);
            }
            append(&mut bytes, &chunk);
        }
        Ok(bytes)
    }

    /// Returns the header `Content-Length`, or `None` without one.
    fn content_length(&self) -> Option<usize> {
        let header = self.request.headers().get(CONTENT_LENGTH)?;
        header.to_str().ok()?.parse().ok()
    }

    /// Returns the header `Content-Type`, or `None` if there is not exactly one or it is malformed.
    fn content_type(&self) -> Option<Mime> {
        let mut values = self.request.headers().get_all(CONTENT_TYPE);
        let (value, others) = (values.next()?, values.next());
        value.to_str().ok()?.parse().ok().filter(|_| others.is_none())
    }
}

/// Returns whether `mime` is JSON.
#[must_use]
pub fn is_json(mime: &Mime) -> bool {
    match (mime.type_().as_str(), mime.subtype().as_str(), mime.suffix()) {
        ("application" | "text", "json", None) => true,
        ("application", _, Some(suffix)) => suffix == mime::JSON,
        _ => false,
    }
}

/// Returns whether a `Content-Encoding` leaves the body as it is.
fn is_identity(value: &HeaderValue) -> bool {
    let is_identity = |coding: &str| matches!(coding.trim(), "") || coding.trim().eq_ignore_ascii_case("identity");
    value.to_str().is_ok_and(|codings| codings.split(',').all(is_identity))
}

/// Returns whether `mime` is the type of a URL-encoded form.
#[must_use]
pub fn is_form(mime: &Mime) -> bool {
    mime.essence_str() == mime::APPLICATION_WWW_FORM_URLENCODED
}

/// Appends a chunk of a body. If the memory has to grow, overwrites the old memory, because a body may contain a
/// password.
fn append(bytes: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let length = bytes.len() + chunk.len();
    if length > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * bytes.capacity())));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(chunk);
}

fn decode(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, BodyError> {
    match String::from_utf8(mem::take(&mut *bytes)) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(BodyError::NotUtf8)
        }
    }
}

/// The reason why a body cannot be read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum BodyError {
    #[error("The body may have at most {limit} bytes.")]
    TooLarge { limit: usize },
    /// The connection was closed, or the transfer encoding is wrong.
    #[error("The body is incomplete.")]
    Incomplete,
    #[error("The body is not valid UTF-8.")]
    NotUtf8,
    #[error("The body must not be compressed: send it without a Content-Encoding.")]
    UnsupportedEncoding,
    #[error("The charset in the Content-Type must be utf-8 or us-ascii.")]
    UnsupportedCharset,
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::with_detail(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            BodyError::Incomplete => Self::with_detail(StatusCode::BAD_REQUEST, error.to_string()),
            BodyError::NotUtf8 => Self::invalid("", error.to_string()),
            BodyError::UnsupportedEncoding => Self::unsupported_encoding(error.to_string()),
            BodyError::UnsupportedCharset => Self::with_detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_whatever_their_sizes() {
        let mut bytes = Zeroizing::new(Vec::new());
        let chunks = [1, 0, 7, 8, 100, 3, 5000].map(|length| "ü".repeat(length));
        for chunk in &chunks {
            append(&mut bytes, chunk.as_bytes());
        }
        assert_eq!(*decode(bytes).unwrap(), chunks.concat());
        assert!(matches!(decode(vec![b'a', 0xff].into()), Err(BodyError::NotUtf8)));
    }
}
