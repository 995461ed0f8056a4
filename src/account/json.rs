//! JSON bodies of the account's API. In contrast to Shoko's dialect, names match exactly, and unknown members are errors,
//! so that a misspelled member is not ignored.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Path;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use crate::auth::Page;
use crate::model::SecretText;
use crate::web::body::{Body, JSON_TYPES, is_json};
use crate::web::problem::Problem;
use crate::web::query::Query;

/// The number of items on a page if the client requests none.
const DEFAULT_PAGE_SIZE: u32 = 50;
/// The maximum number of items on a page.
const MAX_PAGE_SIZE: u32 = 100;
/// The maximum number of a page.
const MAX_PAGE: u32 = 1_000_000;

/// Reads an object. An empty body counts as an object without members.
pub async fn object<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let text = body.text(is_json, JSON_TYPES).await?;
    let text = if text.trim().is_empty() { "{}" } else { text.as_str() };
    // `serde` would also read an array, as the members in order.
    if text.trim_start().starts_with('[') {
        return Err(Problem::invalid("", "The body must be a JSON object."));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => String::new(),
            path => path,
        };
        Problem::invalid(&path, explain(error.inner(), text))
    })?;
    let end = deserializer.end();
    end.map_err(|_| Problem::invalid("", "There is more text after the JSON value."))?;
    Ok(value)
}

/// Describes an error in a body without its values, which may be passwords.
fn explain(error: &serde_json::Error, body: &str) -> String {
    let text = error.to_string();
    let is_about_names = ["unknown field", "missing field", "duplicate field", "unknown variant"]
        .iter()
        .any(|start| text.starts_with(start));
    // `serde_json` also reports a syntax error if a value of an `enum` has the wrong type.
    if !error.is_data() && serde_json::from_str::<IgnoredAny>(body).is_err() {
        return format!("The body is not valid JSON: {text}.");
    }
    match text.split_once(" at line") {
        Some((reason, _)) if is_about_names && reason.len() < 500 => format!("The body is wrong: {reason}."),
        _ => "The value has the wrong type.".to_owned(),
    }
}

/// A password in a body.
#[derive(Clone, Debug)]
pub struct Password(pub SecretText);

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretText::new(text)))
    }
}

/// Returns a JSON response.
#[must_use]
pub fn respond(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).json(value)
}

/// Returns the page that a query selects with `page`, from 1, and `pageSize`.
pub fn page(query: &Query) -> Result<Page, Problem> {
    let number = |name: &str, default: u32, max: u32| match query.number(name)? {
        None => Ok(default),
        Some(number) => {
            let number = u32::try_from(number).ok().filter(|number| (1..=max).contains(number));
            number.ok_or_else(|| Problem::invalid(name, format!("The value must be between 1 and {max}.")))
        }
    };
    Ok(Page {
        index: number("page", 1, MAX_PAGE)? - 1,
        size: number("pageSize", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)?,
    })
}

/// Parses the id of a user in a path.
pub fn user_id(id: &Path<String>) -> Result<i32, Problem> {
    id.parse().map_err(|_| no_number("id"))
}

/// Parses the id of a key in a path.
pub fn key_id(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| no_number("id"))
}

fn no_number(member: &str) -> Problem {
    Problem::invalid(member, "The value must be a number.")
}
