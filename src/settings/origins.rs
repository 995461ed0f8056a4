//! The origins of web pages that may call the server from a browser.

use std::str::FromStr;

use url::Url;

use super::check_host;

/// The origins of other web pages that may call this server from a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CorsOrigins {
    #[default]
    None,
    Any,
    /// Scheme, host and port as browsers send them.
    Listed(Vec<String>),
}

impl FromStr for CorsOrigins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let origins: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty())
            .collect();
        match origins[..] {
            [] => return Ok(Self::None),
            ["*"] => return Ok(Self::Any),
            _ => {}
        }
        let listed: Result<Vec<String>, String> = origins.iter().map(|origin| parse_origin(origin)).collect();
        listed.map(Self::Listed)
    }
}

/// Returns an origin as browsers send it, or the reason why `text` is not one.
fn parse_origin(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "expected `*` alone, or origins such as https://example.org, separated by commas. An origin \
                            has no path, no user name and no `*`";
    let url = Url::parse(text).map_err(|_| EXPECTED)?;
    let is_plain = ["", "/"].contains(&url.path()) && url.query().is_none() && url.fragment().is_none();
    let has_user = !url.username().is_empty() || url.password().is_some();
    // Origins are compared literally.
    let has_pattern = url.host_str().is_some_and(|host| host.contains('*'));
    if !is_plain || has_user || has_pattern {
        return Err(EXPECTED.to_owned());
    }
    let origin = url.origin();
    if origin.is_tuple() {
        check_host(&url).map_err(|error| error.to_string())?;
        return Ok(origin.ascii_serialization());
    }
    // Apps have schemes of their own, such as `capacitor`. The standard gives their pages no origin, but browser
    // engines send one of this form.
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(EXPECTED)?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    if url.scheme() == "file" {
        return Err(EXPECTED.to_owned());
    }
    Ok(format!("{}://{host}{port}", url.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_any_or_a_list_as_browsers_send_them() {
        assert_eq!("".parse(), Ok(CorsOrigins::None));
        assert_eq!(" * ".parse(), Ok(CorsOrigins::Any));
        let listed = vec!["https://example.org".to_owned(), "http://localhost:5173".to_owned()];
        assert_eq!(
            "https://Example.org/, http://localhost:5173".parse(),
            Ok(CorsOrigins::Listed(listed))
        );
        let app = vec!["capacitor://localhost".to_owned()];
        assert_eq!("capacitor://localhost".parse(), Ok(CorsOrigins::Listed(app)));
        for text in [
            "example.org",
            "https://a,*",
            "file:///x",
            "null",
            "data:text/html,x",
            "app://a/b",
            "app://*",
            "app://me:secret@a",
            "https://a..example.org",
            "https://*.example.org",
            "https://%2a.example.org",
            "https://example.org/path",
            "https://example.org/?query",
            "https://example.org/#fragment",
            "https://me@example.org",
            "https://me:secret@example.org",
            "blob:https://example.org/x",
        ] {
            assert!(text.parse::<CorsOrigins>().is_err(), "{text}");
        }
    }
}
