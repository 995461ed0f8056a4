//! shoko-auth: a small server that logs people in and hands each of their devices a key.
//!
//! | Looking for | Go to |
//! |---|---|
//! | a route, by its URL | [`dialects::shoko`] (`/api/…`, `/v1/User`, `/webui/`), [`gateway`] (`/api/auth/verify`), [`dialects::zulip`] (`/api/v1/…`), [`dialects::zettelstore`] (`/a`, `/x`), [`web::health`] (`/health/…`), [`openapi`] (`/swagger/…`, `/`): each lists its paths in a function `routes` |
//! | what a request must look like before it gets there, and what every error looks like | [`web`]: `surface`, `body`, `query`, `caller`, `problem` |
//! | what logging in, verifying, changing a password does | [`auth`]: one file a subject, all methods of [`auth::Auth`] |
//! | how passwords and keys are hashed and sealed | [`secret`] |
//! | the current time | [`clock`] |
//! | a query | [`store`]: one file a table |
//! | a setting, a command | [`cli`]; what is set, as plain data, is in [`settings`] |
//!
//! A module uses only what stands to its left; `tests/api/architecture.rs` sees to it:
//!
//! ```text
//! model, error, clock, settings  <  secret  <  store  <  auth  <  web  <  dialects, gateway  <  openapi  <  server  <  cli  <  main
//! ```
//!
//! Only `store` knows diesel; only `web`, `dialects`, `openapi`, `server` and `cli::serve` know actix; only `cli`
//! reads arguments and the environment. The core, up to `auth`, is synchronous.

pub mod auth;
pub mod cli;
pub mod clock;
pub mod dialects;
pub mod error;
pub mod gateway;
pub mod model;
pub mod openapi;
pub mod secret;
pub mod server;
pub mod settings;
pub mod store;
pub mod web;

#[cfg(test)]
#[path = "../tests/api/wait.rs"]
mod wait;

/// So that test code that is shared with `tests/` finds the crate under its own name.
#[cfg(test)]
extern crate self as shoko_auth;
