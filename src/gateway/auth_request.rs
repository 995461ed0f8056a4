//! `/api/authz/auth-request`: forward-auth for nginx.

use actix_web::{HttpRequest, HttpResponse};

use super::guard::{check_request, guard};
use super::options::{OptionParameters, Options};
use super::original::Original;
use super::remote::Allowed;
use crate::web::problem::Problem;
use crate::web::responses::{BadRequest, NotForwarded};

/// Decide about a request to a guarded service, for nginx.
///
/// A trusted proxy describes the original request in `X-Original-URL` and `X-Original-Method`. The key is that of the
/// original request: in the header `apikey`, in `Authorization` (Bearer, or Basic with the key as password), or in
/// `apikey` or `access_token` in the query of `X-Original-URL`.
///
/// If a browser without a key and without a session opens a page, the response is 401, and its `Location` is the sign-in
/// page.
///
/// The names in the response headers are in UTF-8. Percent signs and all bytes that are not printable ASCII are
/// percent-encoded. Every method is served.
#[utoipa::path(get, path = "/api/authz/auth-request", tag = "Gateway", security(("ApiKey" = []), ("Bearer" = [])),
    params(
        OptionParameters,
        ("X-Original-URL" = String, Header, description = "The absolute URL of the original request."),
        ("X-Original-Method" = String, Header, description = "The method of the original request."),
    ),
    responses(Allowed, (status = 400, response = BadRequest), (status = 403, response = NotForwarded)))]
pub async fn auth_request(request: HttpRequest) -> Result<HttpResponse, Problem> {
    check_request(&request)?;
    let original = Original::of_original_url(request.headers())?;
    let options = Options::of(request.query_string(), &original)?;
    guard(&request, &original, options).await
}
