//! The route that reverse proxies call to protect other services (nginx `auth_request`, Traefik `ForwardAuth`, Caddy
//! `forward_auth`).

use std::borrow::Cow;

use actix_web::http::header::HeaderName;
use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse, Responder};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use utoipa::OpenApi;

use crate::model::Acceptance;
use crate::web::caller::{Caller, Dialect, Keys, standard_keys};
use crate::web::get_and_head;
use crate::web::origin::forwarded_host;
use crate::web::problem::Problem;

/// The ASCII characters to encode in a header value. They include the percent sign, so that the encoding can be
/// reversed.
const ENCODED_CHARACTERS: &AsciiSet = &CONTROLS.add(b'%');

const REMOTE_USER: HeaderName = HeaderName::from_static("remote-user");
const REMOTE_USER_ID: HeaderName = HeaderName::from_static("remote-user-id");
const REMOTE_GROUPS: HeaderName = HeaderName::from_static("remote-groups");
const REMOTE_DEVICE: HeaderName = HeaderName::from_static("remote-device");

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

pub fn routes(config: &mut ServiceConfig) {
    config.service(get_and_head("/api/auth/verify", verify));
}

#[derive(OpenApi)]
#[openapi(paths(verify))]
pub struct Document;

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
    let encoded = |text| Cow::from(utf8_percent_encode(text, ENCODED_CHARACTERS));
    Ok(HttpResponse::Ok()
        .insert_header((REMOTE_USER, &*encoded(&holder.user)))
        .insert_header((REMOTE_USER_ID, holder.user_id))
        .insert_header((REMOTE_GROUPS, if holder.is_admin { "admin,user" } else { "user" }))
        .insert_header((REMOTE_DEVICE, &*encoded(&holder.device)))
        .finish())
}
