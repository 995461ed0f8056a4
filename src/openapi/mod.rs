//! The OpenAPI documents, Swagger UI to read them and try them out, and the guides.
//!
//! Each wire protocol has a document in OpenAPI 3.1, which the handlers describe. The module `version_3_0` converts it
//! for code generators that read only OpenAPI 3.0.

mod guides;
mod markdown;
mod operations;
mod swagger;
mod version_3_0;

use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ExternalDocs, OpenApi as Document, Server};
use utoipa::{Modify, OpenApi};

use crate::account;
use crate::dialects::{shoko, zettelstore, zulip};
use crate::gateway;
use crate::settings::BasePath;
use crate::web::responses::Responses;
pub use swagger::{Swagger, routes};
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
        Protocol::Zulip => other_document("Zulip", zulip::document(), &["Basic"], base_path)?,
        Protocol::Zettelstore => {
            other_document("Zettelstore", zettelstore::document(), &["Basic", "Bearer"], base_path)?
        }
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
    link_guides(&mut document, base_path);
    let mut document = serde_json::to_value(with_server(document, base_path))?;
    operations::simplify_operations(&mut document);
    operations::complete_operations(&mut document);
    operations::require_headers(&mut document);
    Ok(document)
}

/// Links Shoko's document and some of its tags to the guides.
fn link_guides(document: &mut Document, base_path: &BasePath) {
    document.external_docs = Some(link("clients#for-client-authors", "How to write a client", base_path));
    for tag in document.tags.iter_mut().flatten() {
        let guide = match tag.name.as_str() {
            "Account" => link("contract#the-api-of-the-account", "How this API works", base_path),
            "Gateway" => link("gateway", "How to guard services", base_path),
            _ => continue,
        };
        tag.external_docs = Some(guide);
    }
}

/// Returns a link to a guide. Its URL begins with `/`, because Swagger UI does not resolve the URLs of tags.
fn link(guide: &str, description: &str, base_path: &BasePath) -> ExternalDocs {
    let mut link = ExternalDocs::new(guides::guide_url(base_path, guide));
    link.description = Some(description.to_owned());
    link
}

/// Completes `document`, which describes a dialect other than Shoko's. Its operations use the security schemes `used`.
fn other_document(
    dialect: &str,
    mut document: Document,
    used: &[&str],
    base_path: &BasePath,
) -> serde_json::Result<Value> {
    let guide = format!("dialects#{}", dialect.to_lowercase());
    document.external_docs = Some(link(&guide, &format!("{dialect} on this server"), base_path));
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
