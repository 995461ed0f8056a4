//! `/api/authz/ext-authz/…`: forward-auth for Envoy's HTTP `ext_authz`.

use actix_web::{HttpRequest, HttpResponse};

use super::GUARD_PATH;
use super::guard::{check_request, guard};
use super::options::Options;
use super::original::{Original, OriginalError};
use super::remote::{Allowed, Redirected};
use crate::web::path::sent_uri;
use crate::web::problem::Problem;
use crate::web::responses::{BadRequest, NotForwarded};

/// The pattern of the route. Options follow the name after semicolons, because the query is that of the original
/// request.
pub const PATTERN: &str = "/ext-authz{options:(;[^/]*)?}{path:(/.*)?}";
const NAME: &str = "/ext-authz";

/// Decide about a request to a guarded service, for Envoy.
///
/// Envoy sends the method and the `Host` of the original request, and appends its path and query to `path_prefix`.
/// Configure it to add `X-Forwarded-Proto`. Options are part of the prefix:
/// `/api/authz/ext-authz;require=admin;preflight=allow;challenge=basic`. The key is that of the original request: in
/// the header `apikey`, in `Authorization` (Bearer, or Basic with the key as password), or in `apikey` or
/// `access_token` in the query.
///
/// The names in the response headers are in UTF-8. Percent signs and all bytes that are not printable ASCII are
/// percent-encoded. Every method is served.
#[utoipa::path(get, path = "/api/authz/ext-authz/{path}", tag = "Gateway", security(("ApiKey" = []), ("Bearer" = [])),
    params(
        ("path" = String, Path, description = "The path of the original request, with its query."),
        ("X-Forwarded-Proto" = String, Header, description = "`http`, `https`, `ws` or `wss`."),
    ),
    responses(Allowed, Redirected, (status = 400, response = BadRequest), (status = 403, response = NotForwarded)))]
pub async fn ext_authz(request: HttpRequest) -> Result<HttpResponse, Problem> {
    check_request(&request)?;
    let sent = sent_uri(&request);
    let sent = sent.path_and_query().map_or("", |target| target.as_str());
    let (options, target) = split(sent).ok_or(OriginalError::InvalidPath)?;
    let original = Original::of_ext_authz(request.method().as_str(), request.headers(), target)?;
    let options = Options::of_list(options)?;
    guard(&request, &original, options).await
}

/// Splits the target of a request to this route, below any base path, into the options and the original target. The
/// name of the route matches in any case.
fn split(target: &str) -> Option<(&str, &str)> {
    let route = format!("{GUARD_PATH}{NAME}");
    // The first occurrence is that of the route: the base path is chosen by the operator.
    let start = target.to_ascii_lowercase().find(&route)?;
    let rest = &target[start + route.len()..];
    match rest.find(['/', '?']) {
        Some(end) => Some((rest[..end].trim_start_matches(';'), &rest[end..])),
        None => Some((rest.trim_start_matches(';'), "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_target_keeps_its_case_and_slashes() {
        for (sent, options, target) in [
            ("/api/authz/ext-authz", "", ""),
            ("/api/authz/ext-authz/", "", "/"),
            ("/API/Authz/ext-authz/A/b//?C=d", "", "/A/b//?C=d"),
            ("/base/api/authz/ext-authz/x", "", "/x"),
            ("/api/authz/ext-authz;require=admin/x", "require=admin", "/x"),
            ("/api/authz/ext-authz;a=b;c=d/;e/f", "a=b;c=d", "/;e/f"),
            (
                "/api/authz/ext-authz/api/authz/ext-authz;x/y",
                "",
                "/api/authz/ext-authz;x/y",
            ),
        ] {
            assert_eq!(split(sent), Some((options, target)), "{sent}");
        }
    }
}
