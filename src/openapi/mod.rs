//! The OpenAPI documents, and Swagger UI to read them and try them out.
//!
//! Each wire protocol has a document in OpenAPI 3.1, which the handlers describe. The module `version_3_0` converts it
//! for code generators that read only OpenAPI 3.0.

mod operations;
mod swagger_ui;
mod version_3_0;

use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, Server};
use utoipa::{Modify, OpenApi};

use crate::account;
use crate::dialects::{shoko, zettelstore, zulip};
use crate::gateway;
use crate::settings::BasePath;
use crate::web::responses::Responses;
pub use swagger_ui::{Swagger, routes};
use version_3_0::ConversionError;

/// A version of OpenAPI.
#[derive(Clone, Copy)]
pub enum Version {
    V3_0,
    V3_1,
}

/// The wire protocols that have a document. The routes of the account and of the gateway are in Shoko's.
#[derive(Clone, Copy)]
pub enum Protocol {
    Shoko,
    Zulip,
    Zettelstore,
}

/// The reason why a document cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Conversion(#[from] ConversionError),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "shoko-auth",
        description = include_str!("getting-started.md"),
        contact(name = "The shoko-auth developers")
    ),
    external_docs(url = "https://shokoanime.com", description = "Shoko, whose v3 auth API this server speaks"),
    tags(
        (name = "Auth", description = "Log in; list, issue and revoke keys; change the password. The routes are Shoko's."),
        (name = "User", description = "Read and manage users. The routes are Shoko's."),
        (name = "Settings", description = "The settings that Shoko's web UI stores."),
        (name = "Init", description = "State and version of the server, which clients request before a login."),
        (name = "Desktop", description = "Shoko Desktop's login, if the operator has switched it on."),
        (name = "Account", description = "Sessions of browsers, a user's own keys and password, and the administration \
            of users. The routes are those of the pages below `/account/`, not Shoko's."),
        (name = "Gateway", description = "Verification of keys for reverse proxies and services, which guard other programs \
            with them (forward-auth, and introspection as in RFC 7662)."),
    ),
    modifiers(&SecuritySchemes),
)]
struct Api;

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut Document) {
        let value = |text: &str| ApiKeyValue::with_description("apikey", text);
        let components = document.components.get_or_insert_default();
        let mut add =
            |name: &str, scheme: SecurityScheme| components.security_schemes.insert(name.to_owned(), scheme.into());
        add(
            "ApiKey",
            SecurityScheme::ApiKey(ApiKey::Header(value(
                "The API key of a device. In Swagger UI, a login sets it. Otherwise paste a key here.",
            ))),
        );
        add(
            "ApiKeyQuery",
            SecurityScheme::ApiKey(ApiKey::Query(value(
                "The API key in the query, for clients that cannot send headers.",
            ))),
        );
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The API key as a bearer token."));
        add("Bearer", SecurityScheme::Http(bearer.build()));
        let cookie = ApiKeyValue::with_description(
            "__Host-shoko-auth",
            "The session of a browser. Without encryption, the cookie's name is `shoko-auth`.",
        );
        add("Session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// Returns the document of a wire protocol as JSON, for a service that is mounted at `base_path`.
pub fn document_json(protocol: Protocol, version: Version, base_path: &BasePath) -> Result<String, DocumentError> {
    let document = match protocol {
        Protocol::Shoko => shoko_document(base_path)?,
        Protocol::Zulip => other_document(zulip::document(), &["Basic"], base_path)?,
        Protocol::Zettelstore => other_document(zettelstore::document(), &["Basic", "Bearer"], base_path)?,
    };
    let document = match version {
        Version::V3_0 => version_3_0::convert(document)?,
        Version::V3_1 => document,
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn shoko_document(base_path: &BasePath) -> serde_json::Result<Value> {
    let mut document = Api::openapi();
    for part in [
        shoko::document(),
        gateway::Document::openapi(),
        account::Document::openapi(),
        Responses::openapi(),
    ] {
        document.merge(part);
    }
    let mut document = serde_json::to_value(with_server(document, base_path))?;
    operations::simplify_operations(&mut document);
    operations::complete_operations(&mut document);
    operations::require_headers(&mut document);
    Ok(document)
}

/// Completes `document`, which describes a dialect other than Shoko's. Its operations use the security schemes `used`.
fn other_document(mut document: Document, used: &[&str], base_path: &BasePath) -> serde_json::Result<Value> {
    let components = document.components.get_or_insert_default();
    for (name, scheme, description) in [
        ("Basic", HttpAuthScheme::Basic, "A user's name and a password or key."),
        ("Bearer", HttpAuthScheme::Bearer, "A token."),
    ] {
        if used.contains(&name) {
            let scheme = HttpBuilder::new().scheme(scheme).description(Some(description)).build();
            let scheme = SecurityScheme::Http(scheme);
            components.security_schemes.insert(name.to_owned(), scheme.into());
        }
    }
    let mut document = serde_json::to_value(with_server(document, base_path))?;
    operations::simplify_operations(&mut document);
    Ok(document)
}

fn with_server(mut document: Document, base_path: &BasePath) -> Document {
    document.servers = Some(vec![Server::new(format!("{}/", base_path.as_str()))]);
    document
}
