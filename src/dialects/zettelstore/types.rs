//! What travels on Zettelstore's wire.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use chrono::{NaiveDateTime, TimeDelta};
use utoipa::ToSchema;

use super::error::Refusal;
use crate::model::SecretText;
use crate::secret::key::Key;
use crate::web::basic::Basic;
use crate::web::body::{Body, BodyFault};
use crate::web::query::Query;

/// Who wants to log in, for the document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`credentials` reads the form")]
pub struct LoginForm {
    /// The user's name or e-mail address.
    username: String,
    /// The password.
    password: String,
}

/// What a token is that nobody checks.
pub const FREE_ACCESS: &str = "(\"Bearer\" \"freeaccess\" 316224000)";

/// A token, as a list in symbolic-expression form.
pub fn token(key: &str, lifetime: TimeDelta) -> String {
    format!("(\"Bearer\" \"{key}\" {})", lifetime.num_seconds())
}

/// How long a key works from now on, to the second that is nearest.
pub fn remaining(expires_at: NaiveDateTime, now: NaiveDateTime) -> TimeDelta {
    let left = expires_at - now;
    TimeDelta::seconds((left + TimeDelta::milliseconds(500)).num_seconds())
}

/// Who wants to log in: the form's name and password or, where the form has no name, HTTP Basic's. `None`: nobody.
pub async fn credentials(request: &HttpRequest, body: Body) -> Result<Option<(String, SecretText)>, Refusal> {
    let form = match body.form_text().await {
        Ok(text) => text.map(|text| Query::parse_strictly(&text)),
        Err(BodyFault::NotUtf8) => Some(None),
        Err(fault @ (BodyFault::TooLarge { .. } | BodyFault::Incomplete)) => return Err(fault.into()),
    };
    let is_unreadable = matches!(form, Some(None));
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
        _ if is_unreadable => Err(Refusal::unreadable()),
        Basic::Missing | Basic::OtherScheme | Basic::Unreadable => Ok(None),
    }
}

/// The token of a request: of its one `Authorization` header, with one blank.
pub fn presented(request: &HttpRequest) -> Option<Key> {
    let mut headers = request.headers().get_all(AUTHORIZATION).map(HeaderValue::to_str);
    let (header, others) = (headers.next()?.ok()?, headers.next());
    let (scheme, token) = header.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && token.trim() == token && others.is_none();
    Key::parse(token).filter(|_| is_bearer)
}
