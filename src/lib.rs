//! shoko-auth: a small login server that issues an API key to each device of a user.
//!
//! | Looking for | Go to |
//! |---|---|
//! | a route, by its URL | [`dialects::shoko`] (`/api/…`, `/v1/User`, `/webui/`), [`gateway`] (`/api/auth/verify`), [`dialects::zulip`] (`/api/v1/…`), [`dialects::zettelstore`] (`/a`, `/x`), [`web::health`] (`/health/…`), [`openapi`] (`/swagger/…`): each lists its paths in a function `routes` |
//! | the API of the account (`/api/account/…`) | [`account`] |
//! | the pages of the account (`/account/…`, `/`) and their texts | [`account::pages`], `templates/account/` |
//! | the guides (`/swagger/docs/…`) | `openapi::guides`, `templates/openapi/` |
//! | how requests are read and errors are sent | [`web`]: `middleware`, `path`, `address`, `body`, `query`, `caller`, `problem` |
//! | what a login, a verification or a password change does | [`auth`]: one file for each subject, all methods of [`auth::Auth`] |
//! | how passwords and keys are hashed and sealed; the rules for new passwords | [`secret`] |
//! | the metrics | [`metrics`]; the listener is in [`server`] |
//! | the current time | [`clock`] |
//! | a database query | [`store`]: one file for each table |
//! | a setting, a command | [`cli`]; the values of the settings are in [`settings`] |
//!
//! A module uses only modules to its left, which `tests/api/architecture.rs` enforces:
//!
//! ```text
//! model, error, clock, settings  <  secret, metrics  <  store  <  auth  <  web  <  dialects, gateway, account  <  openapi  <  server  <
//! cli  <  main
//! ```
//!
//! Only `store` and `auth::import::shoko_database` use diesel. Only `web`, `dialects`, `gateway`, `account`, `openapi`, `server`
//! and `cli::serve` use actix. Only `cli` reads arguments and the environment. The core, up to `auth`, is synchronous.

pub mod account;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod dialects;
pub mod error;
pub mod gateway;
pub mod metrics;
pub mod model;
pub mod openapi;
pub mod secret;
pub mod server;
pub mod settings;
pub mod store;
pub mod web;
