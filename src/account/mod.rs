//! The API of the account: sign in with a browser, see and revoke one's own keys, change the password, administer users.
//!
//! Callers present a session in a cookie, or a full key in a header ([`caller`]). Members are in camel case, bodies are
//! strict JSON ([`json`]), and errors are problems as everywhere.

pub mod caller;
pub mod cookie;
mod examples;
pub mod json;
pub mod keys;
pub mod links;
pub mod pages;
pub mod parameters;
pub mod password;
pub mod requests;
pub mod responses;
pub mod session;
pub mod throttled;
mod urls;
pub mod users;

use crate::web::routes::routes;
pub use urls::AccountUrls;

routes! {
    /// Registers all routes.
    pub fn routes, Document {
        "/api/account/session" => get session::read, post session::sign_in, delete session::sign_out;
        "/api/account/keys" => get keys::list, post keys::issue, delete keys::revoke_all;
        "/api/account/keys/{id}" => delete keys::revoke;
        "/api/account/password" => post password::change;
        "/api/account/link" => post links::set_password;
        "/api/account/users" => get users::list, post users::create;
        "/api/account/users/{id}" => patch users::update, delete users::delete;
        "/api/account/users/{id}/unlock" => post users::unlock;
        "/api/account/users/{id}/link" => post links::issue;
        "/api/account/users/{id}/keys" => get users::list_keys, delete users::revoke_keys;
        "/api/account/users/{id}/keys/{key}" => delete users::revoke_key;
        "/api/account/throttled" => get throttled::list, delete throttled::clear;
    }
}
