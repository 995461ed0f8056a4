//! The pages of the account below `/account/`, for people.
//!
//! They are rendered with askama from `templates/account/` and work without scripts. All texts are in `texts`. A handler
//! extracts the visit or the form (`visit`), calls one method of [`crate::auth::Auth`], and shows a page or
//! redirects to one, so that reloading a page never repeats a change. Only a page with a secret that is shown once is the
//! direct response to a form.

mod destination;
mod devices;
mod form;
mod issued_link;
mod layout;
mod link;
mod new_key;
mod notice;
mod paging;
mod password;
mod reason;
mod return_path;
mod sign_in;
mod site;
mod texts;
mod throttled;
mod times;
mod user;
mod users;
mod visit;

use actix_web::HttpResponse;
use actix_web::web::{self, Data, ServiceConfig};

use crate::web::get_and_head;
use layout::{PageResult, redirect};
use reason::Reason;
pub use site::Site;
use visit::Visitor;

/// Registers all pages. `/` leads to them, unless a route that is registered before leads elsewhere.
pub fn routes(config: &mut ServiceConfig) {
    for path in ["", "/"] {
        config.service(get_and_head(path, redirect_to_account));
    }
    let form = |path: &str| web::resource(path.to_owned());
    config
        .service(get_and_head("/account", devices::list))
        .service(get_and_head("/account/files/{name}", site::serve_file))
        .service(get_and_head("/account/sign-in", sign_in::show).route(web::post().to(sign_in::sign_in)))
        .service(form("/account/sign-out").route(web::post().to(sign_in::sign_out)))
        .service(form("/account/keys/{id}/revoke").route(web::post().to(devices::revoke)))
        .service(form("/account/revoke-others").route(web::post().to(devices::revoke_others)))
        .service(form("/account/revoke-all").route(web::post().to(devices::revoke_all)))
        .service(get_and_head("/account/new-key", new_key::show).route(web::post().to(new_key::issue)))
        .service(get_and_head("/account/password", password::show).route(web::post().to(password::change)))
        .service(get_and_head("/account/link/{token}", link::show).route(web::post().to(link::set_password)))
        .service(get_and_head("/account/users", users::list))
        .service(get_and_head("/account/new-user", users::show_new).route(web::post().to(users::invite)))
        .service(get_and_head("/account/users/{id}", user::show).route(web::post().to(user::update)))
        .service(form("/account/users/{id}/link").route(web::post().to(user::issue_link)))
        .service(form("/account/users/{id}/unlock").route(web::post().to(user::unlock)))
        .service(form("/account/users/{id}/revoke-keys").route(web::post().to(user::revoke_keys)))
        .service(form("/account/users/{id}/keys/{key}/revoke").route(web::post().to(user::revoke_key)))
        .service(get_and_head("/account/users/{id}/delete", user::show_delete).route(web::post().to(user::delete)))
        .service(get_and_head("/account/throttled", throttled::list).route(web::post().to(throttled::unlock)))
        .service(get_and_head("/account/{rest:.*}", not_found));
}

async fn redirect_to_account(site: Data<Site>) -> HttpResponse {
    redirect(format!("{}/account/", site.base_path.as_str()))
}

async fn not_found(visitor: Visitor) -> PageResult {
    Err(visitor.0.fail(Reason::UnknownPage))
}
