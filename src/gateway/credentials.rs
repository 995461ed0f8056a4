//! The key that a request to a guarded service presents.
//!
//! The guarded service may use the same headers and parameters for keys of its own. A value that does not look like a key
//! of this server therefore belongs to the guarded service. A value that does look like one decides: if it does not work,
//! no other value of the request is tried.

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use url::Url;

use crate::model::{KeyHolder, normalize};
use crate::secret::key::Key;
use crate::web::basic::Basic;
use crate::web::query::Query;

const APIKEY: HeaderName = HeaderName::from_static("apikey");

/// The key that a request presents, in headers or in the query of its original URL.
#[derive(Debug, PartialEq, Eq)]
pub enum Presented {
    Nothing,
    Key(PresentedKey),
    /// There are several values where one is expected, so it is unclear which one the guarded service will see.
    Ambiguous,
}

/// A key that a request presents.
#[derive(Debug, PartialEq, Eq)]
pub struct PresentedKey {
    pub key: Key,
    /// The user name that came with the key in HTTP Basic, if it is not empty.
    pub user: Option<String>,
}

impl PresentedKey {
    fn of(text: &str) -> Option<Self> {
        let user = None;
        Key::parse(text).map(|key| Self { key, user })
    }

    /// Returns whether the user name that came with the key, if any, is that of the key's owner.
    #[must_use]
    pub fn is_of(&self, holder: &KeyHolder) -> bool {
        let user = self.user.as_ref();
        user.is_none_or(|user| normalize(user) == normalize(&holder.user))
    }
}

impl Presented {
    /// Returns the first key in this order: the header `apikey`, `Authorization` with the scheme Bearer or Basic, and
    /// `apikey` or `access_token` in the query of the original URL.
    #[must_use]
    pub fn of(headers: &HeaderMap, original: &Url) -> Self {
        let query = Query::parse(original.query().unwrap_or_default());
        let in_query = |name| Self::one(query.all(name));
        Self::in_headers(headers)
            .or_else(|| in_query("apikey"))
            .or_else(|| in_query("access_token"))
    }

    /// Returns the first key in headers.
    #[must_use]
    pub fn in_headers(headers: &HeaderMap) -> Self {
        Self::in_apikey(headers).or_else(|| Self::in_authorization(headers))
    }

    fn or_else(self, next: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Nothing => next(),
            found => found,
        }
    }

    fn in_apikey(headers: &HeaderMap) -> Self {
        Self::one(headers.get_all(APIKEY).filter_map(|value| value.to_str().ok()))
    }

    fn in_authorization(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION);
        let (Some(value), other) = (values.next(), values.next()) else {
            return Self::Nothing;
        };
        if other.is_some() {
            return Self::Ambiguous;
        }
        let found = match Basic::of(headers) {
            Basic::Decoded(text) => text.split_once(':').and_then(|(user, password)| {
                let user = Some(user.to_owned()).filter(|user| !user.is_empty());
                Key::parse(password).map(|key| PresentedKey { key, user })
            }),
            Basic::Missing | Basic::OtherScheme | Basic::Malformed => {
                let bearer = value.to_str().ok().and_then(|text| text.trim().split_once(' '));
                let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
                bearer.and_then(|(_, text)| PresentedKey::of(text))
            }
        };
        found.map_or(Self::Nothing, Self::Key)
    }

    /// Returns the key in the values of one place. Several values are ambiguous if one of them is a key.
    fn one<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let values: Vec<Option<PresentedKey>> = values.map(PresentedKey::of).collect();
        let is_single = values.len() == 1;
        match values.into_iter().flatten().next() {
            None => Self::Nothing,
            Some(key) if is_single => Self::Key(key),
            Some(_) => Self::Ambiguous,
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const KEY: &str = "00112233-4455-4677-8899-aabbccddeeff";
    const OTHER: &str = "ffffffffffff4fffbfffffffffffffff";

    fn presented(headers: &[(&str, &str)], query: &str) -> Presented {
        let request = headers
            .iter()
            .fold(TestRequest::default(), |request, pair| request.append_header(*pair));
        let url = format!("https://a.example/?{query}").parse().unwrap();
        Presented::of(request.to_http_request().headers(), &url)
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    fn key(text: &str) -> Presented {
        Presented::Key(PresentedKey::of(text).unwrap())
    }

    #[test]
    fn the_first_place_with_a_key_decides() {
        let bearer = format!("bearer {OTHER}");
        let (in_apikey, in_bearer) = (("apikey", KEY), ("Authorization", bearer.as_str()));
        assert_eq!(presented(&[in_bearer, in_apikey], ""), key(KEY));
        assert_eq!(presented(&[in_bearer], &format!("apikey={KEY}")), key(OTHER));
        assert_eq!(
            presented(&[], &format!("access_token={KEY}&ApiKey={OTHER}")),
            key(OTHER)
        );
        assert_eq!(presented(&[], &format!("a=b&access_token={KEY}")), key(KEY));
        assert_eq!(presented(&[("apikey", "dead"), in_bearer], ""), key(OTHER));
        assert_eq!(presented(&[], ""), Presented::Nothing);
    }

    #[test]
    fn a_key_can_be_the_password_of_http_basic() {
        for (text, user) in [
            (format!(":{KEY}"), None),
            (format!("bob:{KEY}"), Some("bob")),
            (format!("bob:{}", KEY.replace('-', "")), Some("bob")),
        ] {
            let user = user.map(str::to_owned);
            let expected = Presented::Key(PresentedKey {
                key: Key::parse(KEY).unwrap(),
                user,
            });
            assert_eq!(presented(&[("Authorization", &basic(&text))], ""), expected, "{text}");
        }
    }

    #[test]
    fn a_value_that_is_not_a_key_belongs_to_the_guarded_service() {
        for value in [
            "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x",
            "Digest username=\"bob\"",
            "Basic !!!",
            &basic("bob:hunter22"),
            &basic("no colon"),
            "Negotiate",
            KEY,
        ] {
            assert_eq!(
                presented(&[("Authorization", value)], ""),
                Presented::Nothing,
                "{value}"
            );
        }
        assert_eq!(presented(&[("apikey", "secret")], "apikey=secret"), Presented::Nothing);
    }

    #[test]
    fn several_values_in_one_place_are_ambiguous() {
        let bearer = format!("Bearer {KEY}");
        for headers in [
            &[("apikey", KEY), ("apikey", KEY)][..],
            &[("apikey", "x"), ("apikey", KEY)],
            &[("Authorization", &*bearer), ("Authorization", "Basic eDp5")],
        ] {
            assert_eq!(presented(headers, ""), Presented::Ambiguous, "{headers:?}");
        }
        assert_eq!(presented(&[], &format!("apikey={KEY}&APIKEY=x")), Presented::Ambiguous);
    }
}
