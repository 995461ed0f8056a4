//! Normalizes the paths of requests, so that routes match regardless of case and of one trailing slash, as in Shoko.

use actix_web::dev::ServiceRequest;
use actix_web::http::uri::{PathAndQuery, Uri};
use actix_web::{HttpMessage, HttpRequest};

/// The path below which the web UI's files are. Their names are case-sensitive.
const FILES: &str = "/webui/";

/// The target of a request as the client sent it. Only requests with another normalized path have this extension.
struct SentUri(Uri);

/// Returns the target of a request as the client sent it, before its path was normalized.
#[must_use]
pub fn sent_uri(request: &HttpRequest) -> Uri {
    let sent = request.extensions().get::<SentUri>().map(|sent| sent.0.clone());
    sent.unwrap_or_else(|| request.uri().clone())
}

/// Rewrites the path of the request to its normalized form.
pub fn normalize_path(request: &mut ServiceRequest) {
    let Some(path) = normalized(request.path()) else { return };
    if path == request.path() {
        return;
    }
    let query = request
        .uri()
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let Ok(target) = format!("{path}{query}").parse::<PathAndQuery>() else {
        return;
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(target);
    if let Ok(uri) = Uri::from_parts(parts) {
        request.match_info_mut().get_mut().update(&uri);
        let sent = std::mem::replace(&mut request.head_mut().uri, uri);
        request.extensions_mut().insert(SentUri(sent));
    }
}

/// Returns the path in lower case and without a trailing slash. The names of the web UI's files keep their case, and
/// `/swagger/` keeps its slash. A second slash at the end stays, so that no route matches. Returns `None` if the path is already normalized.
fn normalized(path: &str) -> Option<String> {
    if !path.ends_with('/') && !path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    if let Some((start, file)) = path.split_at_checked(FILES.len())
        && start.eq_ignore_ascii_case(FILES)
    {
        return Some(format!("{FILES}{file}"));
    }
    let mut path = path.to_ascii_lowercase();
    if path.len() > 1 && path.ends_with('/') && !path.ends_with("//") && !path.ends_with("/swagger/") {
        path.pop();
    }
    Some(path)
}
