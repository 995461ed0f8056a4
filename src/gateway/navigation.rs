//! Distinguishes navigations of browsers, which can be redirected to the sign-in page, from all other requests.

use actix_web::http::header::{ACCEPT, HeaderMap, HeaderName, UPGRADE};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");

/// Returns whether a browser has requested a page, rather than a part of a page or data.
///
/// Browsers say so in `Sec-Fetch-Mode`, but only over https. Without this header, a client that names `text/html` in
/// `Accept` counts as a browser.
#[must_use]
pub fn is_navigation(headers: &HeaderMap) -> bool {
    if [UPGRADE, SEC_WEBSOCKET_KEY]
        .iter()
        .any(|name| headers.contains_key(name))
    {
        return false;
    }
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => !headers.contains_key(X_REQUESTED_WITH) && accepts_html(headers),
    }
}

/// Returns whether `Accept` names `text/html`. A wildcard does not count, because programs send it.
fn accepts_html(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("text/html"));
        is_html && !parts.any(|parameter| ["q=0", "q=0.0", "q=0.00", "q=0.000"].contains(&parameter))
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn navigates(pairs: &[(&'static str, &'static str)]) -> bool {
        let request = pairs
            .iter()
            .fold(TestRequest::default(), |request, pair| request.append_header(*pair));
        is_navigation(request.to_http_request().headers())
    }

    #[test]
    fn only_the_navigation_of_a_browser_counts() {
        let html = ("Accept", "application/xhtml+xml, Text/HTML;q=0.9, */*;q=0.8");
        assert!(navigates(&[html]));
        assert!(navigates(&[("Sec-Fetch-Mode", "navigate"), ("Accept", "*/*")]));
        for headers in [
            &[][..],
            &[("Accept", "*/*")],
            &[("Accept", "application/json, text/*")],
            &[("Accept", "text/html;q=0")],
            &[html, ("X-Requested-With", "XMLHttpRequest")],
            &[html, ("Sec-Fetch-Mode", "cors")],
            &[html, ("Sec-Fetch-Mode", "websocket")],
            &[html, ("Upgrade", "websocket")],
            &[("Sec-Fetch-Mode", "navigate"), ("Sec-WebSocket-Key", "x")],
        ] {
            assert!(!navigates(headers), "{headers:?}");
        }
    }
}
