//! Serves the OpenAPI documents, and Swagger UI to read them and try them out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Bytes, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Responder};
use utoipa_swagger_ui::Url;

use super::{Protocol, Version, document_json};
use crate::settings::{BasePath, Dialects};
use crate::web::get_and_head;
use crate::web::problem::Problem;
use crate::web::security_headers::Page;
use crate::web::static_file::StaticFile;

/// The files of Swagger UI that its page needs.
const SWAGGER_UI_FILES: [&str; 9] = [
    "index.html",
    "index.css",
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "favicon-16x16.png",
    "favicon-32x32.png",
    "oauth2-redirect.html",
    "oauth2-redirect.js",
];

/// The script that starts Swagger UI. It replaces the one that comes with Swagger UI.
const INITIALIZER_NAME: &str = "swagger-initializer.js";
const INITIALIZER: &str = include_str!("swagger-initializer.js");

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
        let protocols = [
            Some(Protocol::Shoko),
            dialects.zulip.map(|_| Protocol::Zulip),
            dialects.zettelstore.map(|_| Protocol::Zettelstore),
        ];
        let mut documents = Vec::new();
        for protocol in protocols.into_iter().flatten() {
            for (version, (name, file)) in [Version::V3_0, Version::V3_1].into_iter().zip(listed(protocol)) {
                let document = document_json(protocol, version, base_path).map_err(io::Error::other)?;
                documents.push((name, file, document));
            }
        }
        let mut files = BTreeMap::new();
        if with_ui {
            let list: Vec<_> = documents.iter().map(|&(name, file, _)| Url::new(name, file)).collect();
            add_swagger_ui(&mut files, &list)?;
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

/// Returns the name and the path of a document in OpenAPI 3.0 and in OpenAPI 3.1. Shoko serves OpenAPI 3.0 at the path
/// of the former, and many generators of clients do not read OpenAPI 3.1.
fn listed(protocol: Protocol) -> [(&'static str, &'static str); 2] {
    match protocol {
        Protocol::Shoko => [
            ("Shoko", "v3/swagger.json"),
            ("Shoko (OpenAPI 3.1)", "v3/openapi-3.1.json"),
        ],
        Protocol::Zulip => [
            ("Zulip", "zulip/swagger.json"),
            ("Zulip (OpenAPI 3.1)", "zulip/openapi-3.1.json"),
        ],
        Protocol::Zettelstore => [
            ("Zettelstore", "zettelstore/swagger.json"),
            ("Zettelstore (OpenAPI 3.1)", "zettelstore/openapi-3.1.json"),
        ],
    }
}

/// Adds the files of Swagger UI, which lets its users choose one of the `documents`.
fn add_swagger_ui(files: &mut BTreeMap<&'static str, Arc<StaticFile>>, documents: &[Url<'_>]) -> io::Result<()> {
    let config = Arc::new(utoipa_swagger_ui::Config::default());
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
    let initializer = INITIALIZER.replace("DOCUMENTS", &serde_json::to_string_pretty(documents)?);
    let script = "text/javascript; charset=utf-8".to_owned();
    files.insert(INITIALIZER_NAME, StaticFile::new(script, initializer.into()));
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
