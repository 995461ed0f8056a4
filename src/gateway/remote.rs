//! The headers that describe a user to the guarded service.

use std::borrow::Cow;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use utoipa::IntoResponses;

use crate::model::KeyHolder;

/// The ASCII characters to encode in a header value. They include the percent sign, so that the encoding can be
/// reversed.
const ENCODED_CHARACTERS: &AsciiSet = &CONTROLS.add(b'%');

pub const USER: HeaderName = HeaderName::from_static("remote-user");
pub const USER_ID: HeaderName = HeaderName::from_static("remote-user-id");
pub const GROUPS: HeaderName = HeaderName::from_static("remote-groups");
pub const DEVICE: HeaderName = HeaderName::from_static("remote-device");
const NAME: HeaderName = HeaderName::from_static("remote-name");
const EMAIL: HeaderName = HeaderName::from_static("remote-email");

/// Returns a text for a header value: UTF-8, in which percent signs and all bytes that are not printable ASCII are
/// percent-encoded.
#[must_use]
pub fn encoded(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, ENCODED_CHARACTERS).into()
}

/// Returns the value of `Remote-Groups`.
#[must_use]
pub fn groups(holder: &KeyHolder) -> &'static str {
    if holder.is_admin { "admin,user" } else { "user" }
}

/// The response that lets a request pass, in the document.
#[derive(IntoResponses)]
#[response(status = 200, description = "The request may pass. Headers without a value are empty.", headers(
    ("Remote-User" = String, description = "The user's name."),
    ("Remote-Groups" = String, description = "`admin,user` or `user`."),
    ("Remote-Name" = String, description = "The user's name."),
    ("Remote-Email" = String, description = "The user's e-mail address."),
    ("Remote-User-Id" = String, description = "The user's id."),
    ("Remote-Device" = String, description = "The name of the device that has the key."),
))]
pub struct Allowed;

/// The response that makes a browser sign in, in the document.
#[derive(IntoResponses)]
#[response(
    status = 302,
    description = "A browser without a key and without a session opens a page, so it is redirected. The status is 303 \
                   if the method of the original request is neither GET nor HEAD.",
    headers(("Location" = String, description = "The sign-in page."))
)]
pub struct Redirected;

/// Returns the response that lets a request pass, with all headers about the user. A header without a value is empty
/// instead of absent, because some proxies otherwise keep the header that the client has sent. A preflight has no
/// user.
#[must_use]
pub fn allowed(holder: Option<&KeyHolder>) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    let text = |of: fn(&KeyHolder) -> &str| holder.map_or(Cow::Borrowed(""), |holder| encoded(of(holder)));
    let id = holder.map_or_else(String::new, |holder| holder.user_id.to_string());
    insert(&mut response, USER, &text(|holder| &holder.user));
    insert(&mut response, GROUPS, holder.map_or("", groups));
    insert(&mut response, NAME, &text(|holder| &holder.user));
    insert(
        &mut response,
        EMAIL,
        &text(|holder| holder.email.as_deref().unwrap_or_default()),
    );
    insert(&mut response, USER_ID, &id);
    insert(&mut response, DEVICE, &text(|holder| &holder.device));
    response.finish()
}

fn insert(response: &mut HttpResponseBuilder, name: HeaderName, value: &str) {
    // The text is encoded, so this is always a valid value.
    response.insert_header((
        name,
        HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("")),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::model::{KeyKind, Scope};

    fn holder(user: &str, email: Option<&str>) -> KeyHolder {
        KeyHolder {
            key_id: 1,
            user_id: 7,
            user: user.to_owned(),
            email: email.map(str::to_owned),
            is_admin: false,
            device: "fön".to_owned(),
            kind: KeyKind::Device(Scope::Full),
            created_at: Clock::system().now(),
            expiration: None,
        }
    }

    fn sent(holder: Option<&KeyHolder>) -> Vec<(String, String)> {
        let response = allowed(holder);
        let headers = response.headers().iter();
        let mut sent: Vec<_> = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        sent.sort();
        sent
    }

    #[test]
    fn every_header_is_sent_even_if_it_is_empty() {
        let names = ["device", "email", "groups", "name", "user", "user-id"];
        let empty: Vec<_> = names.map(|name| (format!("remote-{name}"), String::new())).into();
        assert_eq!(sent(None), empty);
        let values = ["f%C3%B6n", "", "user", "bob", "bob", "7"];
        let expected: Vec<_> = names
            .iter()
            .zip(values)
            .map(|(name, value)| (format!("remote-{name}"), value.to_owned()))
            .collect();
        assert_eq!(sent(Some(&holder("bob", None))), expected);
    }

    #[test]
    fn no_name_can_add_a_header() {
        let holder = holder("a\r\nRemote-Groups: admin\0ü%", Some("x@y\nz"));
        let values: Vec<String> = sent(Some(&holder)).into_iter().map(|(_, value)| value).collect();
        assert_eq!(values[1], "x@y%0Az");
        assert_eq!(values[3], "a%0D%0ARemote-Groups: admin%00%C3%BC%25");
    }
}
