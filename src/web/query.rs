//! Queries and forms. Methods that look up a name match it in any case. [`Query::pairs`] returns the names as the
//! client sent them.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::problem::Problem;

/// The decoded pairs of a query, or of a form, in order. The values are overwritten in memory when dropped, because a
/// form may contain a password.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, Zeroizing<String>)>);

impl Query {
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        match request.query_string() {
            "" => Self::default(),
            text => Self::parse(text),
        }
    }

    /// Parses `application/x-www-form-urlencoded` text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text);
        let pairs = pairs.map(web::Query::into_inner).unwrap_or_default();
        Self(pairs.into_iter().map(|(name, value)| (name, value.into())).collect())
    }

    /// Parses `application/x-www-form-urlencoded` text, or returns `None` if a percent sign does not start an encoded
    /// byte or the decoded bytes are not UTF-8.
    #[must_use]
    pub fn parse_strictly(text: &str) -> Option<Self> {
        let is_valid = |text: &str| {
            let codes = text.split('%').skip(1);
            codes
                .map(str::as_bytes)
                .all(|code| code.len() >= 2 && code[..2].iter().all(u8::is_ascii_hexdigit))
                && percent_decode_str(text).decode_utf8().is_ok()
        };
        is_valid(text).then(|| Self::parse(text))
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the value of `name`. A blank value counts as absent. Fails if there are several values.
    pub fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Problem> {
        let mut values = self.all(name);
        let value = values.next().filter(|value| !value.trim().is_empty());
        match values.next() {
            None => Ok(value),
            Some(_) => Err(Problem::invalid(
                name,
                format!("The parameter '{name}' may occur only once."),
            )),
        }
    }

    /// Returns the value of `name` as a number.
    pub fn number(&self, name: &str) -> Result<Option<i32>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let number = text.trim().parse();
        number
            .map(Some)
            .map_err(|_| Problem::invalid(name, format!("The value '{text}' is not valid.")))
    }

    /// Returns the value of `name` as a boolean.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let boolean = text.trim().to_ascii_lowercase().parse();
        boolean
            .map(Some)
            .map_err(|_| Problem::invalid(name, format!("The value '{text}' is not valid.")))
    }
}

impl FromRequest for Query {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}
