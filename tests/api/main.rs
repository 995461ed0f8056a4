//! Everything through HTTP, or the command line, on both databases. If you add something about …, it goes to …

/// The layers of `src/`.
mod architecture;
/// What is in the database, and what must not be.
mod at_rest;
/// What nobody should send.
mod bad_input;
/// The cases of `tests/contract/cases-shoko.json`.
mod cases;
/// Changing a password, and what it ends.
mod change_password;
/// What somebody else does to the database; and what is written there behind the requests.
mod changes;
/// The command line.
mod command_line;
/// Pages from elsewhere.
mod cors;
mod database;
/// Shoko Desktop's login.
mod desktop;
/// The cases of `tests/contract/cases-zulip-zettelstore.json`.
mod dialect_cases;
/// What the dialects have in common, and how the smaller ones behave.
mod dialects;
/// The OpenAPI document and Swagger UI.
mod document;
/// Paths, methods, media types, sizes: what holds for every route.
mod habits;
/// Health.
mod health;
/// Moving in: somebody else's users and keys.
mod import;
/// The file that is imported.
mod import_file;
/// What clients ask before they log in.
mod init;
/// Stopping, and a database that comes and goes.
mod lifecycle;
/// Log lines.
mod log_lines;
/// Logging in.
mod login;
/// The commands in the documentation.
mod operations;
/// More logins than can be hashed.
mod overload;
/// What real clients send, byte for byte.
mod real_clients;
/// What Shoko's own controllers answered, in `tests/contract/recorded-*.json`.
mod recorded;
/// Ending a key.
mod revoke;
mod serving;
mod shoko_database;
/// The first start, several nodes, the command that checks a server.
mod start;
mod support;
mod terminal;
/// Guessing passwords.
mod throttle;
/// Keys that expire, keys for other devices, lists.
mod tokens;
/// Users over HTTP, and the web UI's settings.
mod users;
/// Forward-auth, and who the caller is.
mod verify;
mod wait;
/// Shoko's web UI: its files, and its journey through the API.
mod web_ui;
