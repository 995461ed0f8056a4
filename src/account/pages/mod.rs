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

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Responder, ResponseError};

use crate::web::get_and_head;
use layout::{Layout, PageResult, redirect};
use reason::Reason;
pub use site::Site;
use user::redirect_to_user;
use visit::Visitor;

/// Registers all pages. `/` leads to them, unless a route that is registered before leads elsewhere.
pub fn routes(config: &mut ServiceConfig) {
    for path in ["", "/"] {
        config.service(get_and_head(path, redirect_root));
    }
    let pages = web::scope("/account").configure(own_pages).configure(admin_pages);
    let pages = pages.service(get_and_head("/{rest:.*}", not_found));
    config.service(pages.wrap(from_fn(explain_errors)));
}

/// Registers the pages that need no administrator.
fn own_pages(config: &mut ServiceConfig) {
    // A browser that opens the address of a form, such as after its form has failed, is led to the page with the form.
    let form = |path: &str| get_and_head(path, redirect_to_account);
    config
        .service(get_and_head("", devices::list))
        .service(get_and_head("/files/{name}", site::serve_file))
        .service(get_and_head("/sign-in", sign_in::show).route(web::post().to(sign_in::sign_in)))
        .service(form("/sign-out").route(web::post().to(sign_in::sign_out)))
        .service(form("/keys/{id}/revoke").route(web::post().to(devices::revoke)))
        .service(form("/revoke-others").route(web::post().to(devices::revoke_others)))
        .service(form("/revoke-all").route(web::post().to(devices::revoke_all)))
        .service(get_and_head("/new-key", new_key::show).route(web::post().to(new_key::issue)))
        .service(get_and_head("/password", password::show).route(web::post().to(password::change)))
        .service(get_and_head("/link/{token}", link::show).route(web::post().to(link::set_password)));
}

/// Registers the pages for administrators.
fn admin_pages(config: &mut ServiceConfig) {
    let form = |path: &str| get_and_head(path, redirect_to_user);
    config
        .service(get_and_head("/users", users::list))
        .service(get_and_head("/new-user", users::show_new).route(web::post().to(users::invite)))
        .service(get_and_head("/users/{id}", user::show).route(web::post().to(user::update)))
        .service(form("/users/{id}/link").route(web::post().to(user::issue_link)))
        .service(form("/users/{id}/unlock").route(web::post().to(user::unlock)))
        .service(form("/users/{id}/revoke-keys").route(web::post().to(user::revoke_keys)))
        .service(form("/users/{id}/keys/{key}/revoke").route(web::post().to(user::revoke_key)))
        .service(get_and_head("/users/{id}/delete", user::show_delete).route(web::post().to(user::delete)))
        .service(get_and_head("/throttled", throttled::list).route(web::post().to(throttled::unlock)));
}

/// Adds a page to an error response that no handler created, such as the one to a method that a page does not support.
async fn explain_errors(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    let reason = match response.status() {
        _ if response.headers().contains_key(CONTENT_TYPE) => return Ok(response),
        StatusCode::METHOD_NOT_ALLOWED => Reason::WrongMethod,
        StatusCode::NOT_FOUND => Reason::UnknownPage,
        _ => return Ok(response),
    };
    let allowed = response.headers().get(ALLOW).cloned();
    let mut page = Layout::of(response.request(), None).fail(reason).error_response();
    if let Some(allowed) = allowed {
        page.headers_mut().insert(ALLOW, allowed);
    }
    Ok(response.into_response(page))
}

/// Redirects with the status that Shoko uses here.
async fn redirect_root(site: Data<Site>) -> impl Responder {
    HttpResponse::Found()
        .insert_header((LOCATION, devices_path(&site)))
        .finish()
}

async fn redirect_to_account(site: Data<Site>) -> HttpResponse {
    redirect(devices_path(&site))
}

fn devices_path(site: &Site) -> String {
    format!("{}/account/", site.base_path.as_str())
}

async fn not_found(visitor: Visitor) -> PageResult {
    Err(visitor.0.fail(Reason::UnknownPage))
}
