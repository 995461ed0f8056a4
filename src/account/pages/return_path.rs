//! The page to which a browser returns after signing in.

use crate::settings::BasePath;

/// The maximum length of the path and its query in bytes.
const MAX_BYTES: usize = 1000;

/// A path below this server's base path, with an optional query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnPath(String);

impl ReturnPath {
    /// Returns the path if it is one of this server, and `None` if a browser or a proxy could read it as anything else.
    ///
    /// Browsers read `//host` and `/\host` as another host, and ignore tabs and line breaks. Proxies may decode a path
    /// once more. The paths of this server need none of these characters, so only plain ones are accepted. The query
    /// may contain percent signs.
    #[must_use]
    pub fn parse(text: &str, base: &BasePath) -> Option<Self> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        // Routes match in any case.
        let parts = path.split_at_checked(base.as_str().len());
        let is_below_base =
            parts.is_some_and(|(start, rest)| start.eq_ignore_ascii_case(base.as_str()) && rest.starts_with('/'));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        let is_path = path.chars().all(|c| c == '/' || is_plain(c)) && !path.contains("//");
        let has_no_dots = path.split('/').all(|segment| !segment.starts_with('.'));
        let is_query = query.chars().all(|c| is_plain(c) || "=&%+".contains(c));
        let is_own = is_below_base && is_path && has_no_dots && is_query && text.len() <= MAX_BYTES;
        is_own.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_accepted() {
        let parse = |text: &str, base: &str| ReturnPath::parse(text, &base.parse().unwrap());
        for path in ["/", "/account/", "/account/users?search=b%C3%B6b&page=2", "/swagger/"] {
            assert_eq!(parse(path, "/").map(|path| path.0).as_deref(), Some(path));
        }
        for path in ["/auth/", "/auth/account/password", "/Auth/account"] {
            assert!(parse(path, "/auth").is_some(), "{path}");
        }
        for path in ["/", "/account/", "/authors/", "/auth/../x", "/auth", ""] {
            assert!(parse(path, "/auth").is_none(), "{path}");
        }
        for text in [
            "",
            "account/",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "\\/evil.example",
            "https:evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/%2fevil.example",
            "/%2F%2Fevil.example",
            "/%5cevil.example",
            "%2f%2fevil.example",
            "/\tevil.example",
            "/\t/evil.example",
            "\t//evil.example",
            "/\n/evil.example",
            "/account/\r\nSet-Cookie: a=b",
            " //evil.example",
            "/account//evil.example",
            "/./evil.example",
            "/.//evil.example",
            "/account/../..//evil.example",
            "/@evil.example",
            "/account/?a=//evil.example",
            "/account/#x",
            "/ä",
            "/／evil.example",
            &format!("/{}", "a".repeat(MAX_BYTES)),
        ] {
            assert!(parse(text, "/").is_none(), "{text:?}");
        }
    }
}
