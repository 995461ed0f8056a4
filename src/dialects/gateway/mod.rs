//! For other services: one line in a proxy's configuration lets this service guard them (nginx `auth_request`,
//! Traefik `ForwardAuth`, Caddy `forward_auth`).

use std::borrow::Cow;

use actix_web::web::ServiceConfig;
use actix_web::{HttpResponse, Responder};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::model::Caller;
use crate::web::problem::Problem;
use crate::web::readable;
use crate::web::responses::{Failed, Unauthorized};

/// What a header must not hold as it is; and the percent sign, so that the encoding can be undone.
const NOT_PLAIN: &AsciiSet = &CONTROLS.add(b'%');

/// All of it.
pub fn routes(config: &mut ServiceConfig) {
    config.service(readable("/api/auth/verify", verify));
}

/// Does this key work, and whose is it?
///
/// For a reverse proxy that asks before it lets a request through. Names are UTF-8, percent-encoded where they are
/// not printable ASCII.
#[utoipa::path(
    get,
    path = "/api/auth/verify",
    operation_id = "apiAuthVerifyGet",
    tag = "Gateway",
    responses(
        (status = 200, description = "The key works.", headers(
            ("Remote-User" = String, description = "The user's name."),
            ("Remote-User-Id" = i32, description = "The user's id."),
            ("Remote-Groups" = String, description = "`admin,user` or `user`."),
            ("Remote-Device" = String, description = "The device the key was made for."),
        )),
        (status = 401, response = Unauthorized),
        Failed,
    ),
    security(("ApiKey" = []), ("ApiKeyQuery" = []), ("Bearer" = [])),
)]
pub async fn verify(caller: Caller) -> Result<impl Responder, Problem> {
    let plain = |text| Cow::from(utf8_percent_encode(text, NOT_PLAIN));
    Ok(HttpResponse::Ok()
        .insert_header(("Remote-User", &*plain(&caller.holder.user)))
        .insert_header(("Remote-User-Id", caller.holder.user_id))
        .insert_header((
            "Remote-Groups",
            if caller.holder.is_admin { "admin,user" } else { "user" },
        ))
        .insert_header(("Remote-Device", &*plain(&caller.holder.device)))
        .finish())
}
