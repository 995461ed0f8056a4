//! The OpenAPI document, and Swagger UI to read it and try it out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Bytes, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde_json::{Map, Value, json};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, Server};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::Url;

use crate::account;
use crate::dialects::{shoko, zettelstore, zulip};
use crate::gateway;
use crate::settings::{BasePath, Dialects};
use crate::web::get_and_head;
use crate::web::problem::Problem;
use crate::web::responses::Problems;
use crate::web::security_headers::Page;
use crate::web::static_file::StaticFile;

#[derive(OpenApi)]
#[openapi(
    info(title = "shoko-auth", description = "Logs users in and issues an API key to each of their devices."),
    tags(
        (name = "Auth", description = "Log in; list, issue and revoke keys; change the password."),
        (name = "User", description = "Read and manage users."),
        (name = "Settings", description = "The settings that Shoko's web UI stores."),
        (name = "Init", description = "State and version of the server."),
        (name = "Desktop", description = "Shoko Desktop's login, if it is switched on."),
        (name = "Account", description = "Sessions of browsers, a user's own keys and password, and the administration of users."),
        (name = "Gateway", description = "Verification for reverse proxies that protect other services."),
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
            SecurityScheme::ApiKey(ApiKey::Header(value("The API key of a device."))),
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

/// Returns Shoko's document as JSON, for a service that is mounted at `base_path`.
pub fn document_json(base_path: &BasePath) -> serde_json::Result<String> {
    let mut document = Api::openapi();
    for part in [
        shoko::document(),
        gateway::Document::openapi(),
        account::Document::openapi(),
        Problems::openapi(),
    ] {
        document.merge(part);
    }
    let mut document = serde_json::to_value(with_server(document, base_path))?;
    complete_operations(&mut document);
    require_headers(&mut document);
    serde_json::to_string_pretty(&document).map(|json| json + "\n")
}

/// Returns `document`, which describes a dialect other than Shoko's, as JSON.
fn other_document_json(mut document: Document, base_path: &BasePath) -> serde_json::Result<String> {
    let components = document.components.get_or_insert_default();
    for (name, scheme) in [("Basic", HttpAuthScheme::Basic), ("Bearer", HttpAuthScheme::Bearer)] {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(scheme).build());
        components.security_schemes.insert(name.to_owned(), scheme.into());
    }
    serde_json::to_string_pretty(&with_server(document, base_path)).map(|json| json + "\n")
}

fn with_server(mut document: Document, base_path: &BasePath) -> Document {
    document.servers = Some(vec![Server::new(format!("{}/", base_path.as_str()))]);
    document
}

/// Completes each operation with its id, its request types, its security and its problems. Handlers then document only
/// what is specific to them.
fn complete_operations(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, methods) in paths {
        let is_account = path.starts_with("/api/account/");
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            operation["operationId"] = operation_id(path, method).into();
            let has_body = operation.get("requestBody").is_some();
            if has_body {
                add_request_types(operation);
            }
            let is_public = operation["security"]
                .as_array()
                .is_some_and(|security| security.contains(&json!({})));
            if operation["security"].is_null() {
                let second = if is_account { "Session" } else { "ApiKeyQuery" };
                operation["security"] = json!([{"ApiKey": []}, {second: []}, {"Bearer": []}]);
            }
            let problems = [
                ("400", "BadRequest", has_body),
                ("401", "Unauthorized", !is_public),
                ("413", "TooLarge", has_body),
                ("415", "UnsupportedType", has_body),
                ("500", "InternalError", true),
                ("503", "Unavailable", true),
            ];
            complete_responses(&mut operation["responses"], problems, !is_account);
        }
    }
}

/// Returns the id of an operation: `apiV3UserByUserIDGet` for `GET /api/v3/User/{userID}`. Client generators name their
/// methods after it.
fn operation_id(path: &str, method: &str) -> String {
    let capitalized = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    };
    let segments = path.split('/').filter(|segment| !segment.is_empty()).enumerate();
    let words = segments.map(|(position, segment)| match segment.trim_matches(['{', '}']) {
        first if position == 0 => first.to_owned(),
        name if name.len() == segment.len() => capitalized(name),
        parameter => format!("By{}", capitalized(parameter)),
    });
    words.collect::<String>() + &capitalized(method)
}

/// Adds the other request types that Shoko accepts to `application/json`. Generated clients send the first type, so the
/// wildcard, which cannot be sent, comes last.
fn add_request_types(operation: &mut Value) {
    let content = operation.pointer_mut("/requestBody/content");
    if let Some(Value::Object(content)) = content
        && let Some(json) = content.get("application/json").cloned()
    {
        for media_type in ["application/json-patch+json", "text/json", "application/*+json"] {
            content.insert(media_type.to_owned(), json.clone());
        }
    }
}

/// Adds `text/json` to JSON responses if `has_text_json`, and references to the problems that apply.
fn complete_responses(responses: &mut Value, problems: [(&str, &str, bool); 6], has_text_json: bool) {
    let Value::Object(responses) = responses else { return };
    for response in responses.values_mut() {
        if has_text_json
            && let Some(Value::Object(content)) = response.get_mut("content")
            && let Some(json) = content.get("application/json").cloned()
        {
            content.insert("text/json".to_owned(), json);
        }
    }
    for (status, name, applies) in problems {
        if applies {
            let reference = json!({"$ref": format!("#/components/responses/{name}")});
            responses.entry(status).or_insert(reference);
        }
    }
    responses.sort_keys();
}

/// Marks all documented headers as required, which utoipa cannot express.
fn require_headers(document: &mut Value) {
    let Value::Object(members) = document else { return };
    for (name, value) in members {
        let headers = value.as_object_mut().into_iter().filter(|_| name == "headers");
        for header in headers.flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
            header.insert("required".to_owned(), true.into());
        }
        require_headers(value);
    }
}

/// The files of Swagger UI that its page needs.
const SWAGGER_UI_FILES: [&str; 10] = [
    "index.html",
    "index.css",
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-initializer.js",
    "favicon-16x16.png",
    "favicon-32x32.png",
    "oauth2-redirect.html",
    "oauth2-redirect.js",
];

/// The restrictions under which Swagger UI works. Its style sheet contains images as data URLs, and its logo contains
/// the style with this hash.
const PAGE: Page = Page::Public(
    "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The OpenAPI documents and Swagger UI.
pub struct Swagger {
    base_path: BasePath,
    /// The files by their paths below `/swagger/`.
    files: BTreeMap<&'static str, Arc<StaticFile>>,
}

impl Swagger {
    /// Creates the documents of a service that is mounted at `base_path` and speaks these dialects, and Swagger UI if
    /// `with_ui` is true.
    pub fn new(base_path: &BasePath, dialects: &Dialects, with_ui: bool) -> io::Result<Self> {
        let mut documents = vec![("Shoko", "v3/swagger.json", document_json(base_path)?)];
        for (name, file, document) in [
            dialects
                .zulip
                .map(|_| ("Zulip", "zulip/swagger.json", zulip::Document::openapi())),
            dialects.zettelstore.map(|_| {
                (
                    "Zettelstore",
                    "zettelstore/swagger.json",
                    zettelstore::Document::openapi(),
                )
            }),
        ]
        .into_iter()
        .flatten()
        {
            documents.push((name, file, other_document_json(document, base_path)?));
        }
        let mut files = BTreeMap::new();
        if with_ui {
            let list = documents.iter().map(|&(name, file, _)| Url::new(name, file));
            add_swagger_ui(&mut files, list.collect())?;
        }
        for (_, file, document) in documents {
            let json = "application/json; charset=utf-8".to_owned();
            files.insert(file, StaticFile::new(json, document.into()));
        }
        Ok(Self {
            base_path: base_path.clone(),
            files,
        })
    }
}

/// Adds the files of Swagger UI, which lets its users choose one of the `documents`.
fn add_swagger_ui(files: &mut BTreeMap<&'static str, Arc<StaticFile>>, documents: Vec<Url<'static>>) -> io::Result<()> {
    let config = utoipa_swagger_ui::Config::new(documents)
        .persist_authorization(true)
        // Swagger UI would otherwise send the address of the document to a website that validates documents.
        .validator_url("none")
        .try_it_out_enabled(true);
    let config = Arc::new(config);
    for name in SWAGGER_UI_FILES {
        let file = utoipa_swagger_ui::serve(name, config.clone())
            .map_err(|error| io::Error::other(error.to_string()))?
            .ok_or_else(|| io::Error::other(format!("Swagger UI has no file {name}")))?;
        let bytes = match file.bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        files.insert(name, StaticFile::new(file.content_type, bytes));
    }
    if let Some(page) = files.get("index.html").cloned() {
        files.insert("", page);
    }
    Ok(())
}

/// Registers the documents below `/swagger/`, and Swagger UI with the redirect to it if `with_ui` is true.
pub fn routes(config: &mut ServiceConfig, with_ui: bool) {
    if with_ui {
        config.service(get_and_head("/swagger", redirect_to_swagger));
    }
    config.service(get_and_head("/swagger/{file:.*}", serve_file));
}

async fn redirect_to_swagger(swagger: Data<Swagger>) -> impl Responder {
    let target = format!("{}/swagger/", swagger.base_path.as_str());
    HttpResponse::Found().insert_header((LOCATION, target)).finish()
}

async fn serve_file(request: HttpRequest, swagger: Data<Swagger>, file: Path<String>) -> Result<HttpResponse, Problem> {
    match swagger.files.get(file.as_str()) {
        Some(file) => {
            let mut response = file.clone().respond(&request).await;
            PAGE.mark(&mut response);
            Ok(response)
        }
        None => Err(Problem::new(StatusCode::NOT_FOUND)),
    }
}
