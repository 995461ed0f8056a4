//! Lets reverse proxies guard other services with one line of configuration (nginx `auth_request`, Traefik
//! `ForwardAuth`, Caddy `forward_auth`).

use std::borrow::Cow;

use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse, Responder};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use utoipa::OpenApi;

use crate::web::caller::{Caller, Dialect, Keys, standard_keys};
use crate::web::get_and_head;
use crate::web::problem::Problem;

/// The characters to encode in a header value. The percent sign is one of them, so that the encoding can be reversed.
const ENCODED_CHARACTERS: &AsciiSet = &CONTROLS.add(b'%');

/// The protocol of reverse proxies, which pass on the keys of their clients.
pub struct Gateway;

impl Dialect for Gateway {
    type Error = Problem;

    fn presented_keys(request: &HttpRequest) -> Result<Keys, Problem> {
        Ok(standard_keys(request)?)
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
/// A reverse proxy calls this before it passes a request on. Names are in UTF-8, percent-encoded where they are not
/// printable ASCII.
#[utoipa::path(get, path = "/api/auth/verify", tag = "Gateway",
    responses((status = 200, description = "The key is valid.", headers(
        ("Remote-User" = String, description = "The user's name."),
        ("Remote-User-Id" = i32, description = "The user's id."),
        ("Remote-Groups" = String, description = "`admin,user` or `user`."),
        ("Remote-Device" = String, description = "The device that the key was issued for."),
    ))))]
pub async fn verify(caller: Caller<Gateway>) -> Result<impl Responder, Problem> {
    let holder = &caller.holder;
    let encoded = |text| Cow::from(utf8_percent_encode(text, ENCODED_CHARACTERS));
    Ok(HttpResponse::Ok()
        .insert_header(("Remote-User", &*encoded(&holder.user)))
        .insert_header(("Remote-User-Id", holder.user_id))
        .insert_header(("Remote-Groups", if holder.is_admin { "admin,user" } else { "user" }))
        .insert_header(("Remote-Device", &*encoded(&holder.device)))
        .finish())
}
