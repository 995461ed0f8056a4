//! Shoko's v3 API. Find a route by its URL here; the handlers are in one file a resource.
//!
//! What has to be switched on, `v1` and `web_ui`, lists its own.
//!
//! The paths are written in lower case: the surface has lower-cased what was asked for.

pub mod auth;
pub mod expiry;
pub mod init;
pub mod own_user;
pub mod settings;
pub mod tokens;
pub mod types;
mod user_types;
pub mod users;
pub mod v1;
pub mod web_ui;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, ServiceConfig, delete, get, patch, post, put};

/// All of it.
pub fn routes(config: &mut ServiceConfig) {
    config
        .configure(auth_routes)
        .service(web::resource("/api/init/status").route(get().to(init::status_v2)))
        .service(web::resource("/api/version").route(get().to(init::version_v2)))
        .service(web::resource("/api/ping").route(get().to(init::check_key)))
        .service(web::resource("/api/myid/get").route(get().to(init::my_id)))
        .service(
            web::scope("/api/v3")
                .wrap(from_fn(say_version))
                // The SDK generated from Shoko's own document joins `/api/v3` and `/api/auth`.
                .configure(auth_routes)
                .service(web::resource("/init/status").route(get().to(init::status)))
                .service(web::resource("/init/version").route(get().to(init::version)))
                .service(web::resource("/init/inuse").route(get().to(init::in_use)))
                .service(web::resource("/auth/signin").route(post().to(tokens::sign_in)))
                .service(web::resource("/auth/generatetoken").route(post().to(tokens::generate)))
                .service(web::resource("/auth/listtokens").route(get().to(tokens::list)))
                .service(web::resource("/auth/invalidatetoken").route(delete().to(tokens::invalidate)))
                .service(web::resource("/auth/changepassword").route(post().to(tokens::change_password)))
                .service(
                    web::resource("/user/current")
                        .route(get().to(own_user::read))
                        .route(put().to(own_user::put))
                        .route(patch().to(own_user::patch)),
                )
                .service(web::resource("/user/current/changepassword").route(post().to(own_user::change_password)))
                .service(
                    web::resource("/user")
                        .route(get().to(users::list))
                        .route(post().to(users::create)),
                )
                .service(
                    web::resource("/user/{id}")
                        .route(get().to(users::read))
                        .route(put().to(users::put))
                        .route(patch().to(users::patch))
                        .route(delete().to(users::delete)),
                )
                .service(web::resource("/user/{id}/changepassword").route(post().to(users::change_password)))
                .service(
                    web::resource("/settings")
                        .route(get().to(settings::read))
                        .route(patch().to(settings::patch)),
                ),
        );
}

fn auth_routes(config: &mut ServiceConfig) {
    config
        .service(
            web::resource("/api/auth")
                .route(get().to(auth::list))
                .route(post().to(auth::log_in))
                .route(delete().to(auth::revoke)),
        )
        .service(web::resource("/api/auth/apikey").route(post().to(auth::make_key)))
        .service(web::resource("/api/auth/changepassword").route(post().to(auth::change_password)));
}

/// What Shoko's versioned routes say when they did what was asked.
async fn say_version(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut answer = next.call(request).await?;
    if answer.status().is_success() {
        let name = HeaderName::from_static("api-supported-versions");
        answer.headers_mut().insert(name, HeaderValue::from_static("3.0"));
    }
    Ok(answer)
}
