//! JSON bodies as Shoko's clients send them: member names in any case, the last of several wins, unknown ones are
//! ignored, and a number or a boolean where a text is due is taken as it stands. Otherwise JSON is strict. Shoko Desktop
//! sends a form, as clients of other dialects do.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::mime::{self, Mime};
use actix_web::web::BytesMut;
use actix_web::{FromRequest, HttpRequest};

use futures_util::StreamExt;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::value::RawValue;

use super::problem::Problem;
use super::query::Query;

/// The longest body, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// The longest body where avatars and the web UI's settings travel.
const MAX_LARGE_BYTES: usize = 2 * 1024 * 1024;

/// A body that has not been read yet: who may not call a route is told so before what he sends is looked at.
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
    /// The same with room for more.
    #[must_use]
    pub fn large(self) -> Self {
        Self {
            limit: MAX_LARGE_BYTES,
            ..self
        }
    }

    /// An object.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Problem> {
        read_object(&self.read().await?)
    }

    /// Any value, as it must be to the letter; `what` it is, for the error.
    pub async fn value<T: DeserializeOwned>(self, what: &str) -> Result<T, Problem> {
        let text = self.read().await?;
        let value = parse(&text)?.ok_or_else(no_body)?;
        from_raw(value).map_err(|_| Problem::invalid("", format!("The body must be {what}.")))
    }

    /// A text, or another scalar taken as text; `None` when there is no body, or a `null`.
    pub async fn scalar(self) -> Result<Option<String>, Problem> {
        let text = self.read().await?;
        let Some(value) = parse(&text)? else { return Ok(None) };
        let scalar: Text = from_raw(value).map_err(|_| Problem::invalid("", "The body must be a JSON string."))?;
        Ok(Some(scalar.0))
    }

    /// The same, where it must be there.
    pub async fn required_scalar(self, name: &str) -> Result<String, Problem> {
        let text = self.scalar().await?;
        text.ok_or_else(|| Problem::invalid("", format!("The {name} field is required.")))
    }

    /// The fields of a form.
    pub async fn form(self) -> Result<Query, Problem> {
        let text = self.read_as(is_form, "application/x-www-form-urlencoded").await?;
        Ok(Query::parse(&text))
    }

    async fn read(self) -> Result<String, Problem> {
        let types = "application/json, text/json or application/*+json, in UTF-8";
        self.read_as(is_json, types).await
    }

    async fn read_as(self, accepted: fn(&Mime) -> bool, types: &str) -> Result<String, Problem> {
        let mime = content_type(&self.request);
        let text = self.text().await?;
        if !text.is_empty() && !mime.is_some_and(|mime| accepted(&mime)) {
            return Err(Problem::with_detail(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("The Content-Type must be {types}."),
            ));
        }
        Ok(text)
    }

    /// The text of a form; `None` when the body is of another type.
    pub async fn form_text(self) -> Result<Option<String>, BodyFault> {
        let is_form = content_type(&self.request).is_some_and(|mime| is_form(&mime));
        let bytes = self.bytes().await?;
        is_form.then(|| decode(bytes)).transpose()
    }

    async fn text(self) -> Result<String, BodyFault> {
        decode(self.bytes().await?)
    }

    async fn bytes(mut self) -> Result<BytesMut, BodyFault> {
        let mut bytes = BytesMut::new();
        if announced_length(&self.request) > self.limit {
            return Err(BodyFault::TooLarge { limit: self.limit });
        }
        while let Some(chunk) = self.payload.next().await {
            let chunk = chunk.map_err(|_| BodyFault::Incomplete)?;
            if bytes.len() + chunk.len() > self.limit {
                return Err(BodyFault::TooLarge { limit: self.limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn decode(bytes: BytesMut) -> Result<String, BodyFault> {
    String::from_utf8(bytes.into()).map_err(|_| BodyFault::NotUtf8)
}

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug)]
pub enum BodyFault {
    /// It is longer than it may be.
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// The connection ended, or was no sound HTTP.
    Incomplete,
    /// It is no text.
    NotUtf8,
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge { limit } => {
                let detail = format!("The body may have at most {limit} bytes.");
                Self::with_detail(StatusCode::PAYLOAD_TOO_LARGE, detail)
            }
            BodyFault::Incomplete => Self::with_detail(StatusCode::BAD_REQUEST, "The body did not come whole."),
            BodyFault::NotUtf8 => Self::invalid("", "The body is not valid UTF-8."),
        }
    }
}

/// Reads an object from JSON text, as the module's head says.
pub fn read_object<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let value = parse(text)?.ok_or_else(no_body)?;
    let members: Members = from_raw(value).map_err(|_| Problem::invalid("", "The body must be a JSON object."))?;
    serde_path_to_error::deserialize(&members).map_err(|e| {
        let member = e.path().to_string();
        // Not what the library says: it may quote the value.
        Problem::invalid(&member, "The value is of another type than it must be.")
    })
}

fn no_body() -> Problem {
    Problem::invalid("", "A non-empty request body is required.")
}

/// What the Content-Length says; 0 when it says nothing.
fn announced_length(request: &HttpRequest) -> usize {
    let header = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    header.and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn content_type(request: &HttpRequest) -> Option<Mime> {
    request.headers().get(CONTENT_TYPE)?.to_str().ok()?.parse().ok()
}

fn is_form(mime: &Mime) -> bool {
    mime.essence_str() == mime::APPLICATION_WWW_FORM_URLENCODED
}

/// Whether it is JSON in UTF-8.
fn is_json(mime: &Mime) -> bool {
    let charset = mime.get_param(mime::CHARSET);
    let json = match (mime.type_().as_str(), mime.subtype().as_str(), mime.suffix()) {
        ("application" | "text", "json", None) => true,
        ("application", _, Some(suffix)) => suffix == mime::JSON,
        _ => false,
    };
    json && charset.is_none_or(|name| name == mime::UTF_8 || name == "utf8")
}

/// One JSON value and nothing behind it; `None` when there is nothing, or a `null`.
fn parse(text: &str) -> Result<Option<&RawValue>, Problem> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) if value.get() == "null" => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(e) => Err(Problem::invalid("", format!("The body is not valid JSON: {e}."))),
    }
}

fn from_raw<'de, T: Deserialize<'de>>(value: &'de RawValue) -> serde_json::Result<T> {
    serde_json::from_str(value.get())
}

/// A text on the wire: a string, or a number or boolean as it stands in the JSON.
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: &RawValue = Deserialize::deserialize(deserializer)?;
        let json = raw.get();
        match json.as_bytes().first() {
            Some(b'"') => from_raw(raw)
                .map(Self)
                .map_err(|_| D::Error::custom("it is not valid Unicode")),
            Some(b'{' | b'[' | b'n') | None => Err(D::Error::custom("a text is needed")),
            Some(_) => Ok(Self(json.to_owned())),
        }
    }
}

/// The members of an object as they stand in the JSON, in order.
struct Members<'de>(Vec<(String, &'de RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Gives a struct its fields by their names without regard to case, the last of several.
impl<'de> Deserializer<'de> for &Members<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("only a struct can be read from a body"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let found = fields.iter().filter_map(|field| {
            let same_name = |(name, _): &&(String, &RawValue)| name.eq_ignore_ascii_case(field);
            let (_, value) = self.0.iter().rev().find(same_name)?;
            Some((*field, *value))
        });
        visitor.visit_map(MapDeserializer::new(found))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Sample {
        user: Option<Text>,
        #[serde(rename = "RevokeAPIKeys")]
        revoke: Option<bool>,
    }

    fn read(json: &str) -> Result<Sample, String> {
        let members: Members = from_raw(parse(json).unwrap().unwrap()).unwrap();
        serde_path_to_error::deserialize(&members).map_err(|e| e.path().to_string())
    }

    fn user(json: &str) -> Option<String> {
        read(json).unwrap().user.map(|text| text.0)
    }

    #[test]
    fn members_match_in_any_case_and_the_last_wins() {
        assert_eq!(user(r#"{"user":"a","USER":"b","more":[{}]}"#).as_deref(), Some("b"));
        assert_eq!(read(r#"{"revokeapikeys":false}"#).unwrap().revoke, Some(false));
        assert_eq!(user(r#"{"user":"a","user":null}"#), None);
    }

    #[test]
    fn a_scalar_is_taken_as_it_stands() {
        for (json, text) in [
            ("123", "123"),
            ("1.50", "1.50"),
            ("1e5", "1e5"),
            ("true", "true"),
            (r#""\u00e4\"""#, "ä\""),
        ] {
            assert_eq!(user(&format!(r#"{{"user": {json} }}"#)).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_wrong_member_is_named() {
        assert_eq!(read(r#"{"user":{}}"#).err().as_deref(), Some("user"));
        assert_eq!(read(r#"{"user":[1]}"#).err().as_deref(), Some("user"));
        assert_eq!(read(r#"{"user":"\ud800"}"#).err().as_deref(), Some("user"));
        assert_eq!(read(r#"{"revokeAPIkeys":"x"}"#).err().as_deref(), Some("RevokeAPIKeys"));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "{",
            "{} x",
            "{'user':1}",
            "{/**/}",
            "\u{feff}{}",
            r#"{"user":1,}"#,
            "plain",
            "\"a\0b\"",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(" ").unwrap().is_none() && parse(" null\n").unwrap().is_none());
    }
}
