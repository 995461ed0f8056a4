//! `/api/authz/forward-auth`: forward-auth for Caddy and Traefik.

use actix_web::{HttpRequest, HttpResponse};

use super::guard::{check_request, guard};
use super::options::{OptionParameters, Options};
use super::original::Original;
use super::remote::{Allowed, Redirected};
use crate::web::problem::Problem;
use crate::web::responses::{BadRequest, NotForwarded};

/// Decide about a request to a guarded service, for Caddy and Traefik.
///
/// A trusted proxy describes the original request in `X-Forwarded-Method`, `X-Forwarded-Proto`, `X-Forwarded-Host` and
/// `X-Forwarded-Uri`. The key is that of the original request: in the header `apikey`, in `Authorization` (Bearer, or
/// Basic with the key as password), or in `apikey` or `access_token` in the query of `X-Forwarded-Uri`.
///
/// The names in the response headers are in UTF-8. Percent signs and all bytes that are not printable ASCII are
/// percent-encoded. Every method is served.
#[utoipa::path(get, path = "/api/authz/forward-auth", tag = "Gateway", security(("ApiKey" = []), ("Bearer" = [])),
    params(
        OptionParameters,
        ("X-Forwarded-Method" = String, Header, description = "The method of the original request."),
        ("X-Forwarded-Proto" = String, Header, description = "`http`, `https`, `ws` or `wss`."),
        ("X-Forwarded-Host" = String, Header, description = "The host of the original request, with an optional port."),
        ("X-Forwarded-Uri" = String, Header, description = "The path of the original request with its query."),
    ),
    responses(Allowed, Redirected, (status = 400, response = BadRequest), (status = 403, response = NotForwarded)))]
pub async fn forward_auth(request: HttpRequest) -> Result<HttpResponse, Problem> {
    check_request(&request)?;
    let original = Original::of_forwarded(request.headers())?;
    let options = Options::of(request.query_string(), &original)?;
    guard(&request, &original, options).await
}
