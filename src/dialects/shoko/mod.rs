//! Shoko's v3 API. Find a route by its URL here; the handlers are in one file for each resource.
//!
//! The modules `v1` and `web_ui` list their own routes, because these routes are served only if a setting enables them.

pub mod auth;
mod bounded;
pub mod expiry;
pub mod init;
pub mod json;
pub mod own_user;
mod problems;
mod response;
pub mod settings;
pub mod tokens;
pub mod types;
mod user_types;
pub mod users;
pub mod v1;
pub mod web_ui;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, ServiceConfig};
use actix_web::{Error, HttpRequest};
use utoipa::OpenApi;

use crate::model::Acceptance;
use crate::web::caller::{self, Dialect, Keys, standard_keys};
use crate::web::origin;
use crate::web::problem::Problem;
use crate::web::routes::routes;

/// The name of this wire protocol in the metrics.
const DIALECT: &str = "shoko";

/// Shoko's wire protocol.
pub struct Shoko;

impl Dialect for Shoko {
    type Error = Problem;

    fn presented_keys(request: &HttpRequest) -> Result<Keys, Problem> {
        Ok(standard_keys(request)?)
    }

    fn acceptance(_: &HttpRequest) -> Acceptance {
        Acceptance::FullKeys
    }
}

type Caller = caller::Caller<Shoko>;
type Admin = caller::Admin<Shoko>;
type MaybeCaller = caller::MaybeCaller<Shoko>;
type LoginContext = origin::LoginContext<Problem>;

/// Registers all routes except those of `v1` and `web_ui`.
pub fn routes(config: &mut ServiceConfig) {
    let v3 = web::scope("/api/v3")
        .wrap(from_fn(add_version_header))
        // Registered here too, because the SDK generated from Shoko's own document requests `/api/v3/api/auth`.
        .configure(auth_routes)
        .configure(v3_routes);
    config.configure(auth_routes).configure(v2_routes).service(v3);
}

/// Returns the OpenAPI document of all routes, including those of `v1`.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = AuthDocument::openapi();
    for part in [V2Document::openapi(), V3Document::openapi(), v1::Document::openapi()] {
        document.merge(part);
    }
    document
}

routes! {
    fn auth_routes, AuthDocument {
        "/api/auth" => get auth::list, post auth::log_in, delete auth::revoke;
        "/api/auth/apikey" => post auth::issue_key;
        "/api/auth/changepassword" => post auth::change_password;
    }
}

routes! {
    fn v2_routes, V2Document {
        "/api/init/status" => get init::status_v2;
        "/api/version" => get init::version_v2;
        "/api/ping" => get init::check_key;
        "/api/myid/get" => get init::my_id;
    }
}

routes! {
    /// Routes below `/api/v3`.
    fn v3_routes, V3Document {
        "/init/status" => get init::status;
        "/init/version" => get init::version;
        "/init/inuse" => get init::in_use;
        "/auth/signin" => post tokens::sign_in;
        "/auth/generatetoken" => post tokens::generate;
        "/auth/listtokens" => get tokens::list;
        "/auth/invalidatetoken" => delete tokens::invalidate;
        "/auth/changepassword" => post tokens::change_password;
        "/user/current" => get own_user::read, put own_user::put, patch own_user::patch;
        "/user/current/changepassword" => post own_user::change_password;
        "/user" => get users::list, post users::create;
        "/user/{id}" => get users::read, put users::put, patch users::patch, delete users::delete;
        "/user/{id}/changepassword" => post users::change_password;
        "/settings" => get settings::read, patch settings::patch;
    }
}

/// Adds the header that Shoko sends in successful responses of versioned routes.
async fn add_version_header(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut response = next.call(request).await?;
    if response.status().is_success() {
        let name = HeaderName::from_static("api-supported-versions");
        response.headers_mut().insert(name, HeaderValue::from_static("3.0"));
    }
    Ok(response)
}
