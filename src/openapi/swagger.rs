//! Serves the OpenAPI documents, Swagger UI to read them and try them out, and the guides.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Bytes, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Responder};
use utoipa_swagger_ui::Url;

use super::markdown::Links;
use super::{Protocol, Version, document_json, guides};
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

/// The restrictions for Swagger UI. Its style sheet contains images as data URLs, and its logo contains
/// the style with this hash.
const PAGE: Page = Page::Public(
    "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The OpenAPI documents, Swagger UI and the guides.
pub struct Swagger {
    base_path: BasePath,
    /// The files by their paths below `/swagger/`.
    files: BTreeMap<String, Arc<StaticFile>>,
}

struct ServedDocument {
    /// The name in Swagger UI.
    name: &'static str,
    /// The path below `/swagger/`.
    path: &'static str,
    /// The name of the file in `openapi/` that contains the document.
    file: &'static str,
}

impl Swagger {
    /// Creates the OpenAPI documents of a service that is mounted at `base_path` and speaks these dialects, the guides,
    /// and Swagger UI if `has_swagger_ui` is true.
    pub fn new(base_path: &BasePath, dialects: &Dialects, has_swagger_ui: bool) -> io::Result<Self> {
        let protocols = [
            Some(Protocol::Shoko),
            dialects.zulip.map(|_| Protocol::Zulip),
            dialects.zettelstore.map(|_| Protocol::Zettelstore),
        ];
        let (mut files, mut urls, mut links) = (BTreeMap::new(), Vec::new(), Links::new());
        for protocol in protocols.into_iter().flatten() {
            for (version, served) in [Version::V3_0, Version::V3_1]
                .into_iter()
                .zip(served_documents(protocol))
            {
                let document = document_json(protocol, version, base_path).map_err(io::Error::other)?;
                let json = "application/json; charset=utf-8".to_owned();
                files.insert(served.path.to_owned(), StaticFile::new(json, document.into()));
                urls.push(Url::new(served.name, served.path));
                let url = format!("{}/swagger/{}", base_path.as_str(), served.path);
                links.insert(format!("../openapi/{}", served.file), url);
            }
        }
        if has_swagger_ui {
            add_swagger_ui(&mut files, &urls)?;
        }
        let guides = guides::files(base_path, links, has_swagger_ui).map_err(io::Error::other)?;
        files.extend(guides.into_iter().map(|(path, file)| (format!("docs/{path}"), file)));
        Ok(Self {
            base_path: base_path.clone(),
            files,
        })
    }
}

/// Returns the documents of a protocol, in OpenAPI 3.0 and in OpenAPI 3.1. Shoko serves OpenAPI 3.0 at the path of the
/// former, and many generators of clients do not read OpenAPI 3.1.
fn served_documents(protocol: Protocol) -> [ServedDocument; 2] {
    let served = |name, path, file| ServedDocument { name, path, file };
    match protocol {
        Protocol::Shoko => [
            served("Shoko", "v3/swagger.json", "openapi-3.0.json"),
            served("Shoko (OpenAPI 3.1)", "v3/openapi-3.1.json", "openapi.json"),
        ],
        Protocol::Zulip => [
            served("Zulip", "zulip/swagger.json", "zulip-3.0.json"),
            served("Zulip (OpenAPI 3.1)", "zulip/openapi-3.1.json", "zulip.json"),
        ],
        Protocol::Zettelstore => [
            served("Zettelstore", "zettelstore/swagger.json", "zettelstore-3.0.json"),
            served(
                "Zettelstore (OpenAPI 3.1)",
                "zettelstore/openapi-3.1.json",
                "zettelstore.json",
            ),
        ],
    }
}

/// Adds the files of Swagger UI, which lets its users choose one of the `documents`.
fn add_swagger_ui(files: &mut BTreeMap<String, Arc<StaticFile>>, documents: &[Url<'_>]) -> io::Result<()> {
    let config = Arc::new(utoipa_swagger_ui::Config::default());
    for name in SWAGGER_UI_FILES {
        let file = utoipa_swagger_ui::serve(name, config.clone())
            .map_err(|error| io::Error::other(error.to_string()))?
            .ok_or_else(|| io::Error::other(format!("Swagger UI has no file {name}")))?;
        let bytes = match file.bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        files.insert(name.to_owned(), StaticFile::new(file.content_type, bytes));
    }
    let initializer = INITIALIZER.replace("DOCUMENTS", &serde_json::to_string_pretty(documents)?);
    let script = "text/javascript; charset=utf-8".to_owned();
    files.insert(INITIALIZER_NAME.to_owned(), StaticFile::new(script, initializer.into()));
    if let Some(page) = files.get("index.html").cloned() {
        files.insert(String::new(), page);
    }
    Ok(())
}

/// Registers the documents and the guides below `/swagger/`, and Swagger UI with the redirect to it if `has_swagger_ui` is
/// true.
pub fn routes(config: &mut ServiceConfig, has_swagger_ui: bool) {
    if has_swagger_ui {
        config.service(get_and_head("/swagger", redirect_to_swagger));
    }
    config
        .service(get_and_head("/swagger/docs", redirect_to_guides))
        .service(get_and_head("/swagger/{file:.*}", serve_file));
}

async fn redirect_to_swagger(swagger: Data<Swagger>) -> impl Responder {
    redirect(format!("{}/swagger/", swagger.base_path.as_str()))
}

async fn redirect_to_guides(swagger: Data<Swagger>) -> impl Responder {
    redirect(guides::guide_url(&swagger.base_path, "clients"))
}

fn redirect(target: String) -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, target)).finish()
}

async fn serve_file(request: HttpRequest, swagger: Data<Swagger>) -> Result<HttpResponse, Problem> {
    // Not the extractor `Path`, which also decodes an encoded slash.
    let path = request.match_info().query("file");
    let file = swagger
        .files
        .get(path)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND))?;
    let mut response = file.clone().respond(&request).await;
    let page = if path.starts_with("docs/") { guides::PAGE } else { PAGE };
    page.mark(&mut response);
    Ok(response)
}
