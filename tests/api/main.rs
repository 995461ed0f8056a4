//! Tests of the server through HTTP and of the program through its command line, on both databases.
//!
//! To find the place for a new test, read the comments of the modules.

/// Sessions of browsers.
mod account;
/// Keys that the API of the account issues, lists and revokes.
mod account_keys;
/// One-time links.
mod account_links;
/// The change of one's own password, and cross-site requests with the session cookie.
mod account_password;
/// The administration of users in the API of the account.
mod account_users;
/// The layers of `src/`.
mod architecture;
/// The content of the database, and the secrets that must not be in it.
mod at_rest;
/// Avatars of users.
mod avatars;
/// The file of the SQLite database as backup programs copy it.
mod backup;
/// Malformed requests, which no client library sends.
mod bad_input;
/// The cases in `tests/contract/cases-shoko.json`, `cases-account.json` and `cases-gateway.json`.
mod cases;
/// Changes by other processes, which the change feed reports, and last-used times.
mod change_feed;
/// Password changes, and the keys that they revoke.
mod change_password;
/// The clock of the service, which follows the clock of the database.
mod clocks;
/// The commands for users and keys.
mod command_line;
/// Databases that this version of the program cannot use.
mod compatibility;
/// Requests from pages of other origins.
mod cors;
/// The forms of `DATABASE_URL`.
mod database_sessions;
mod database_urls;
/// Shoko Desktop's login.
mod desktop;
/// The cases in `tests/contract/cases-zulip-zettelstore.json`.
mod dialect_cases;
/// Behavior that the dialects share.
mod dialects;
/// The OpenAPI document and Swagger UI.
mod document;
/// The OpenAPI document and the cases in `tests/contract/`.
mod document_cases;
/// The documents in OpenAPI 3.1 and 3.0.
mod document_versions;
/// Keys that expire and must not give lasting access, and the audit events of keys.
mod expiring_keys;
/// A PostgreSQL database that is reached without TLS.
mod exposed_database;
/// The shares of clients and users, and the limits of large requests.
mod fairness;
/// PostgreSQL servers that allow few connections.
mod few_connections;
/// Who can read and change the files of the service.
mod file_access;
/// Logins that a foreign web page makes a browser send.
mod foreign_pages;
/// Forward-auth with keys, behind each kind of proxy.
mod gateway;
/// Attacks on forward-auth, among them holes that others have published.
mod gateway_attacks;
/// The sign-in of browsers for guarded services, and the cookie of their domain.
mod gateway_sign_in;
/// The guides below `/swagger/docs/`.
mod guides;
/// The health routes.
mod health;
/// Paths, methods, media types and sizes: rules for every route.
mod http_rules;
/// The import of users and keys from Shoko.
mod import;
/// Imports that are killed, and logins during an import.
mod import_faults;
/// The file that an import reads.
mod import_file;
/// Version and status, which clients read before they log in.
mod init;
/// Introspection of keys by services.
mod introspection;
/// Invisible characters in the names of users and devices.
mod invisible_names;
/// Limits on the number and the lifetime of keys.
mod key_limits;
/// Files in memory: compression, and clients that do not read a large response.
mod large_responses;
/// Log lines.
mod log_lines;
/// Logging in.
mod login;
/// Metrics for Prometheus.
mod metrics;
/// A PostgreSQL database that goes offline and comes back.
mod offline_database;
/// The commands in `docs/operations.md`, and their output.
mod operations;
/// More logins than the hashing pool can check.
mod overload;
/// The pages of the account: signing in, and the properties that all pages share.
mod pages;
/// The pages for administrators, and the page of a one-time link.
mod pages_admin;
/// Attacks on the pages: forms of other sites, stolen tokens, markup in names.
mod pages_attacks;
/// The pages on which people see and change their own devices, keys and password.
mod pages_own;
/// Which visitors each page admits, as the table "Who may open which page" in `docs/security.md` says.
mod pages_rights;
/// Rules for every page: its size, its headers, malformed forms.
mod pages_rules;
/// The requests of Shoko's clients, byte for byte.
mod real_clients;
/// Comparisons with Shoko's own responses, which are in `tests/contract/recorded-*.json`.
mod recorded;
/// Requests that are rejected before the application sees them.
mod rejected_requests;
/// The replication that a start may require.
mod replication;
/// Slashes, encodings and charsets of requests, in every dialect.
mod request_forms;
/// The commands `backup` and `restore`.
mod restore;
/// The checks and changes of a restored database.
mod restored_rows;
/// Revoking a key.
mod revoke;
/// Which callers each route admits, as the table "Who may call what" in `docs/security.md` says.
mod rights;
/// Several sealing secrets, and the replacement of the active one.
mod sealing_secret;
/// Headers that restrict browsers and caches.
mod security_headers;
/// Environment variables and the files that they name.
mod settings;
/// Servers behind a pooler that shares sessions.
mod shared_sessions;
/// Stopping the server, slow clients, and the limit of open files.
mod shutdown;
/// The first start, several nodes, and the health check command.
mod start;
mod support;
/// Expired and revoked keys, which are rejected at once and whose rows are deleted later.
mod sweep;
mod terminal;
/// Limits on failed logins.
mod throttle;
/// The login limits after a clock was ahead, and the commands that show and clear them.
mod throttle_clock;
/// Limits on failed logins of wide networks, and the rows that count them.
mod throttle_networks;
/// Keys that expire, keys for other devices, and lists of keys.
mod tokens;
/// Requests for an upgrade of the connection.
mod upgrade;
/// Databases of released versions.
mod upgrade_database;
/// Managing users over HTTP, and the settings of the web UI.
mod users;
/// Forward-auth, and the ways to send a key.
mod verify;
/// Shoko's web UI: its files, and the requests that it sends.
mod web_ui;
/// Zettelstore's tokens.
mod zettelstore;
/// Zulip's requests and errors.
mod zulip;
