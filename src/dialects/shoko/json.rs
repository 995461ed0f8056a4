//! JSON bodies as Shoko accepts them. Names of members match in any case. If a member occurs several times, the last
//! one wins. Unknown members are ignored. A number or boolean is accepted where text is expected. Apart from that,
//! bodies must be strictly valid JSON.

use actix_web::mime::{self, Mime};
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::bounded::{MAX_VALUES, count_values};
use crate::web::body::{Body, MAX_BYTES};
use crate::web::problem::Problem;

/// Reads an object.
pub async fn object<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    parse_object(&text(body).await?)
}

/// Reads a value of a standard format, such as a JSON Patch, without this module's leniency. `format` is the name of
/// the format, for the error about a value that does not have it.
pub async fn value<T: DeserializeOwned>(body: Body, format: &str) -> Result<T, Problem> {
    let text = text(body).await?;
    let value = parse(&text)?.ok_or_else(no_body)?;
    from_raw(value).map_err(|_| Problem::invalid("", format!("The body must be {format}.")))
}

/// Reads a string, number or boolean as text. Returns `None` if the body is empty or `null`.
pub async fn scalar(body: Body) -> Result<Option<String>, Problem> {
    let text = text(body).await?;
    let Some(value) = parse(&text)? else { return Ok(None) };
    let scalar: Text = from_raw(value).map_err(|_| Problem::invalid("", "The body must be a JSON string."))?;
    Ok(Some(scalar.0))
}

/// Reads a string, number or boolean as text. If the body is empty or `null`, fails with an error that
/// contains `name`.
pub async fn required_scalar(body: Body, name: &str) -> Result<String, Problem> {
    let text = scalar(body).await?;
    text.ok_or_else(|| Problem::invalid("", format!("The {name} field is required.")))
}

async fn text(body: Body) -> Result<Zeroizing<String>, Problem> {
    let types = "application/json, text/json or application/*+json, in UTF-8";
    body.text(is_json, types).await
}

/// Reads an object from JSON text.
pub fn parse_object<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let value = parse(text)?.ok_or_else(no_body)?;
    let members: RawMembers = from_raw(value).map_err(|_| Problem::invalid("", "The body must be a JSON object."))?;
    serde_path_to_error::deserialize(&members).map_err(|e| {
        let member = e.path().to_string();
        // The message in `e` may quote the value, which may be a password.
        Problem::invalid(&member, "The value has the wrong type.")
    })
}

fn no_body() -> Problem {
    Problem::invalid("", "A non-empty request body is required.")
}

fn is_json(mime: &Mime) -> bool {
    match (mime.type_().as_str(), mime.subtype().as_str(), mime.suffix()) {
        ("application" | "text", "json", None) => true,
        ("application", _, Some(suffix)) => suffix == mime::JSON,
        _ => false,
    }
}

/// Parses exactly one JSON value. Returns `None` if the text is blank or `null`.
fn parse(text: &str) -> Result<Option<&RawValue>, Problem> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    if text.len() > MAX_BYTES {
        check_value_count(text)?;
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) if value.get() == "null" => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(e) => Err(not_json(&e)),
    }
}

/// Fails if a large body has too many values. Only long texts, such as an avatar, make the body of an honest client
/// large.
fn check_value_count(text: &str) -> Result<(), Problem> {
    if count_values(text).map_err(|e| not_json(&e))? > MAX_VALUES {
        let detail = format!("A body of more than {MAX_BYTES} bytes may have at most {MAX_VALUES} values.");
        return Err(Problem::invalid("", detail));
    }
    Ok(())
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::invalid("", format!("The body is not valid JSON: {error}."))
}

fn from_raw<'de, T: Deserialize<'de>>(value: &'de RawValue) -> serde_json::Result<T> {
    serde_json::from_str(value.get())
}

/// Text in a body: a string, or a number or boolean exactly as the client wrote it.
#[derive(Clone)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: &RawValue = Deserialize::deserialize(deserializer)?;
        let json = raw.get();
        match json.as_bytes().first() {
            Some(b'"') => from_raw(raw)
                .map(Self)
                .map_err(|_| D::Error::custom("it is not valid Unicode")),
            Some(b'{' | b'[' | b'n') | None => Err(D::Error::custom("text is expected")),
            Some(_) => Ok(Self(json.to_owned())),
        }
    }
}

/// The members of an object, unparsed and in order.
struct RawMembers<'de>(Vec<(String, &'de RawValue)>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawMembers(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Deserializes a struct. Names match in any case. If several members match, the last one wins.
impl<'de> Deserializer<'de> for &RawMembers<'de> {
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
        let members: RawMembers = from_raw(parse(json).unwrap().unwrap()).unwrap();
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
    fn a_number_or_boolean_is_read_as_it_is_written() {
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
    fn the_path_of_a_wrong_member_is_reported() {
        assert_eq!(read(r#"{"user":{}}"#).err().as_deref(), Some("user"));
        assert_eq!(read(r#"{"user":[1]}"#).err().as_deref(), Some("user"));
        assert_eq!(read(r#"{"user":"\ud800"}"#).err().as_deref(), Some("user"));
        assert_eq!(read(r#"{"revokeAPIkeys":"x"}"#).err().as_deref(), Some("RevokeAPIKeys"));
    }

    #[test]
    fn text_that_is_not_json_is_rejected() {
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
