//! Request bodies. An input is a body, which is read as JSON and as a form.

use actix_web::FromRequest;
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::test::TestRequest;
use actix_web::web::Bytes;
use chrono::NaiveDateTime;
use futures_util::{FutureExt, stream};
use serde::Deserialize;
use serde_json::json;
use shoko_auth::dialects::shoko::json::{self as shoko_json, Text, parse_object};
use shoko_auth::dialects::shoko::types::{CoreAuthUser, SignInRequest};
use shoko_auth::web::body::{Body, is_form};
use shoko_auth::web::query::Query;
use url::form_urlencoded::Serializer;

/// Checks one body.
pub fn check(input: &[u8]) {
    let object = read_in_two(input, input.len());
    assert_eq!(
        object,
        read_in_two(input, input.len() / 2),
        "a body in two pieces is read in the same way"
    );
    let Ok(text) = str::from_utf8(input) else {
        assert_eq!(object, None, "bytes that are not UTF-8 are not an object");
        return;
    };
    assert_eq!(object, read(text));
    if let Some(object) = object {
        check_object(text, &object);
    }
    check_login(text);
    check_scalar(text);
    check_form(text);
}

/// The JSON members whose values the checks compare.
#[derive(Debug, PartialEq)]
struct Object {
    user: Option<String>,
    revoke: Option<bool>,
}

#[derive(Deserialize)]
struct Wire {
    user: Option<Text>,
    #[serde(rename = "RevokeAPIKeys")]
    revoke: Option<bool>,
}

impl From<Wire> for Object {
    fn from(wire: Wire) -> Self {
        Self {
            user: wire.user.map(|text| text.0),
            revoke: wire.revoke,
        }
    }
}

fn read(text: &str) -> Option<Object> {
    parse_object::<Wire>(text).ok().map(Object::from)
}

/// Returns a request body that arrives in two pieces. The first piece has `first` bytes.
fn body(content_type: &str, bytes: &[u8], first: usize) -> Body {
    let request = TestRequest::default()
        .insert_header((CONTENT_TYPE, content_type))
        .to_http_request();
    let (first, second) = bytes.split_at(first);
    let pieces = [first, second].map(|piece| Ok::<_, PayloadError>(Bytes::copy_from_slice(piece)));
    let mut payload: Payload = Payload::Stream {
        payload: Box::pin(stream::iter(pieces)),
    };
    let Ok(body) = Body::from_request(&request, &mut payload).into_inner();
    body
}

fn read_in_two(bytes: &[u8], first: usize) -> Option<Object> {
    let read = shoko_json::object::<Wire>(body("application/json", bytes, first)).now_or_never();
    read.expect("the whole body is there").ok().map(Object::from)
}

/// Checks that member names match in any case, that unknown members are ignored, and that the last of several members
/// with the same name counts.
fn check_object(text: &str, object: &Object) {
    let is_strict = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    assert!(is_strict);
    let members = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let members = members.expect("an object has braces").trim();
    let comma = if members.is_empty() { "" } else { "," };

    let last = read(&format!(r#"{{{members}{comma}"uSeR":"last"}}"#)).expect("one more member is allowed");
    assert_eq!((last.user.as_deref(), last.revoke), (Some("last"), object.revoke));
    if object.user.is_some() {
        let first = format!(r#"{{"USER":{{}}{comma}{members}}}"#);
        assert_eq!(
            read(&first).as_ref(),
            Some(object),
            "of several members with one name, the last counts"
        );
    }
    let unknown = format!(r#"{{"user\u0000":{text},"ſuser":1{comma}{members},"userr":{text}}}"#);
    assert_eq!(read(&unknown).as_ref(), Some(object), "unknown members are ignored");

    let written = json!({"User": object.user, "revokeapikeys": object.revoke}).to_string();
    assert_eq!(
        read(&written).as_ref(),
        Some(object),
        "serializing and reading again changes nothing"
    );
}

/// Checks that a password stays as it was sent, and that the user name is trimmed.
fn check_login(text: &str) {
    #[derive(Deserialize)]
    struct Pass {
        pass: Option<Text>,
    }
    let login = parse_object::<CoreAuthUser>(text).and_then(CoreAuthUser::check);
    if let Ok(login) = login {
        let pass = parse_object::<Pass>(text).ok().and_then(|wire| wire.pass);
        assert_eq!(Some(login.password.expose()), pass.as_ref().map(|pass| pass.0.as_str()));
        assert_eq!(login.user.as_typed(), login.user.as_typed().trim());
    }
    let _ = parse_object::<SignInRequest>(text).and_then(|request| request.check(NaiveDateTime::default()));
}

/// Checks that a single JSON value is read as the same text whether it is the whole body or the value of a member, and
/// that serializing this text and reading it again does not change it.
fn check_scalar(text: &str) {
    let scalar = |text: &str| {
        let body = body("text/json; charset=utf-8", text.as_bytes(), 0);
        shoko_json::scalar(body)
            .now_or_never()
            .expect("the whole body is there")
            .ok()
    };
    let Some(Some(found)) = scalar(text) else { return };
    let member = read(&format!(r#"{{"user":{text}}}"#)).and_then(|object| object.user);
    assert_eq!(member.as_ref(), Some(&found));
    assert_eq!(
        scalar(&json!(found).to_string()),
        Some(Some(found)),
        "serializing and reading again changes nothing"
    );
}

/// Checks that the fields of a form do not change when they are serialized and read again.
fn check_form(text: &str) {
    let form = body("application/x-www-form-urlencoded", text.as_bytes(), 0).text(is_form, "a form");
    let form = form.now_or_never().expect("the whole body is there");
    let pairs = |query: &Query| {
        query
            .pairs()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let found: Vec<(String, String)> = pairs(&Query::parse(&form.unwrap_or_default()));
    if let Some(strict) = Query::parse_strictly(text) {
        assert_eq!(found, pairs(&strict));
    }
    let written = Serializer::new(String::new()).extend_pairs(&found).finish();
    let again = Query::parse_strictly(&written).expect("a serialized form is valid");
    assert_eq!(found, pairs(&again), "serializing and reading again changes nothing");
}
