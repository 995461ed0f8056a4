//! Forward-auth: the routes that reverse proxies call before they pass a request on to a guarded service, and
//! introspection for services that verify keys themselves.
//!
//! | Route | Called by |
//! |---|---|
//! | [`verify`] | every proxy; only keys |
//! | [`forward_auth`] | Caddy `forward_auth`, Traefik `ForwardAuth` |
//! | [`auth_request`] | nginx `auth_request` |
//! | [`ext_authz`] | Envoy's HTTP `ext_authz` |
//! | [`introspect`] | services (RFC 7662) |
//!
//! The three routes of forward-auth differ only in how the proxy describes the original request ([`original`]). Each
//! reads one family of headers, and only from a trusted proxy. [`guard`] then decides, from the key that the request
//! presents ([`credentials`]) and from the options in the proxy's configuration ([`options`]). No rule depends on the
//! path of the original request.

pub mod auth_request;
pub mod credentials;
pub mod ext_authz;
pub mod forward_auth;
pub mod guard;
pub mod introspect;
pub mod navigation;
pub mod options;
pub mod original;
pub mod remote;
pub mod verify;

use actix_web::web::{self, ServiceConfig};
use utoipa::OpenApi;

use crate::web::get_and_head;

/// Registers the routes that are not in [`guard_routes`].
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(get_and_head("/api/auth/verify", verify::verify))
        .service(web::resource("/api/auth/introspect").route(web::post().to(introspect::introspect)));
}

/// The path of the routes of forward-auth, below the base path.
pub const GUARD_PATH: &str = "/api/authz";

/// Registers the routes of forward-auth in a scope for [`GUARD_PATH`]. They serve every method, because some proxies
/// send that of the original request. The CORS middleware must not surround them: it would respond to preflights that
/// are meant for the guarded service.
pub fn guard_routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/forward-auth").to(forward_auth::forward_auth))
        .service(web::resource("/auth-request").to(auth_request::auth_request))
        .service(web::resource(ext_authz::PATTERN).to(ext_authz::ext_authz));
}

#[derive(OpenApi)]
#[openapi(paths(
    verify::verify,
    forward_auth::forward_auth,
    auth_request::auth_request,
    ext_authz::ext_authz,
    introspect::introspect
))]
pub struct Document;
