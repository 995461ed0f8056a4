//! Request and response formats of Zettelstore's API.

use actix_web::body::BoxBody;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Responder};
use chrono::{NaiveDateTime, TimeDelta};
use utoipa::ToSchema;

use super::error::ZettelstoreError;
use crate::model::SecretText;
use crate::secret::key::Key;
use crate::web::basic::Basic;
use crate::web::body::{Body, BodyError};
use crate::web::query::Query;

/// A login, for the OpenAPI document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`credentials` reads the form")]
pub struct LoginForm {
    /// The user's name or e-mail address.
    username: String,
    /// The password.
    password: String,
}

/// A token. It is sent as an S-expression.
pub struct Token(String);

impl Token {
    pub fn new(key: &Key, lifetime: TimeDelta) -> Self {
        let (key, seconds) = (key.expose(), lifetime.num_seconds());
        Self(format!("(\"Bearer\" \"{key}\" {seconds})"))
    }

    /// Returns the placeholder token that a server without login gives to every client. It is never checked. Its
    /// lifetime is about ten years.
    pub fn free_access() -> Self {
        Self("(\"Bearer\" \"freeaccess\" 316224000)".to_owned())
    }
}

impl Responder for Token {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
            .body(self.0)
    }
}

/// Returns how long a key remains valid, rounded to the nearest second.
pub fn remaining(expires_at: NaiveDateTime, now: NaiveDateTime) -> TimeDelta {
    let left = expires_at - now;
    TimeDelta::seconds((left + TimeDelta::milliseconds(500)).num_seconds())
}

/// Returns the name and the password from the form. If the form has no name, returns them from the HTTP Basic
/// credentials.
pub async fn credentials(request: &HttpRequest, body: Body) -> Result<Option<(String, SecretText)>, ZettelstoreError> {
    let form = match body.form_text().await {
        Ok(text) => text.map(|text| Query::parse_strictly(&text)),
        Err(BodyError::NotUtf8) => Some(None),
        Err(
            error @ (BodyError::TooLarge { .. }
            | BodyError::Incomplete
            | BodyError::UnsupportedEncoding
            | BodyError::UnsupportedCharset),
        ) => return Err(error.into()),
    };
    let is_malformed = matches!(form, Some(None));
    let form = form.flatten().unwrap_or_default();
    let value = |name| {
        form.pairs()
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
    };
    let user = value("username").trim();
    if !user.is_empty() {
        return Ok(Some((user.to_owned(), SecretText::new(value("password").to_owned()))));
    }
    match Basic::of(request.headers()) {
        Basic::Decoded(text) => {
            let (user, password) = text.split_once(':').unwrap_or_default();
            Ok((!user.is_empty()).then(|| (user.to_owned(), SecretText::new(password.to_owned()))))
        }
        _ if is_malformed => Err(ZettelstoreError::bad_request()),
        Basic::Missing | Basic::OtherScheme | Basic::Malformed => Ok(None),
    }
}

/// Returns the key in the `Authorization` header. There must be only one such header, and exactly one blank before the
/// token.
pub fn presented_key(request: &HttpRequest) -> Option<Key> {
    let mut headers = request.headers().get_all(AUTHORIZATION).map(HeaderValue::to_str);
    let (header, others) = (headers.next()?.ok()?, headers.next());
    let (scheme, token) = header.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && token.trim() == token && others.is_none();
    Key::parse(token).filter(|_| is_bearer)
}

/// Returns whether a request tries to present a token, even if it cannot be a key.
pub fn presents_token(request: &HttpRequest) -> bool {
    let is_bearer = |value: &HeaderValue| {
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
    };
    request.headers().get_all(AUTHORIZATION).any(is_bearer)
}
