//! `/api/auth/verify`: forward-auth for keys alone. It ignores the headers in which a proxy describes the original
//! request, except for the host.

use actix_web::{HttpRequest, HttpResponse, Responder};

use super::remote::{self, encoded};
use crate::model::Acceptance;
use crate::web::caller::{Caller, Dialect, Keys, standard_keys};
use crate::web::origin::forwarded_host;
use crate::web::problem::Problem;

/// The protocol of reverse proxies. They pass on the keys of their clients.
pub struct Gateway;

impl Dialect for Gateway {
    type Error = Problem;

    fn presented_keys(request: &HttpRequest) -> Result<Keys, Problem> {
        Ok(standard_keys(request)?)
    }

    fn acceptance(request: &HttpRequest) -> Acceptance {
        Acceptance::GatewayKeys {
            host: forwarded_host(request),
        }
    }
}

/// Verify a key and return its owner.
///
/// A reverse proxy calls this before it passes a request on. The names in the response headers are in UTF-8. Percent
/// signs and all bytes that are not printable ASCII are percent-encoded.
#[utoipa::path(get, path = "/api/auth/verify", tag = "Gateway",
    responses((status = 200, description = "The key is valid.", headers(
        ("Remote-User" = String, description = "The user's name."),
        ("Remote-User-Id" = i32, description = "The user's id."),
        ("Remote-Groups" = String, description = "`admin,user` or `user`."),
        ("Remote-Device" = String, description = "The name of the device that has the key."),
    ))))]
pub async fn verify(caller: Caller<Gateway>) -> Result<impl Responder, Problem> {
    let holder = &caller.holder;
    Ok(HttpResponse::Ok()
        .insert_header((remote::USER, &*encoded(&holder.user)))
        .insert_header((remote::USER_ID, holder.user_id))
        .insert_header((remote::GROUPS, remote::groups(holder)))
        .insert_header((remote::DEVICE, &*encoded(&holder.device)))
        .finish())
}
