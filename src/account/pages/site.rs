//! The settings and files that all pages share.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::{Bytes, Path};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use super::layout::PageResult;
use super::reason::Reason;
use super::texts::{ENGLISH, Texts};
use super::visit::Visitor;
use crate::settings::{BasePath, Settings};
use crate::web::security_headers::Page;
use crate::web::static_file::StaticFile;

/// The files contain nothing that a browser could run when it opens them directly.
const FILE: Page = Page::Public("default-src 'none'; frame-ancestors 'none'");
/// A file never changes, because its name contains its hash.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The settings and files of the pages.
pub struct Site {
    pub texts: &'static Texts,
    pub base_path: BasePath,
    pub has_swagger_ui: bool,
    /// The minimum length of new passwords in characters.
    pub min_password_chars: usize,
    /// The maximum lifetime of a key in days.
    pub max_key_days: u64,
    pub link_lifetime: TimeDelta,
    /// The names of the files.
    pub style: String,
    pub script: String,
    pub icon: String,
    files: BTreeMap<String, Arc<StaticFile>>,
}

impl Site {
    /// Reads the settings that pages show, and hashes the files.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut files = BTreeMap::new();
        let mut add = |stem: &str, extension: &str, content_type: &str, text: &'static str| {
            // The request middleware converts paths to lower case.
            let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(text)).to_lowercase();
            let name = format!("{stem}-{}.{extension}", &hash[..16]);
            let file = StaticFile::new(content_type.to_owned(), Bytes::from_static(text.as_bytes()));
            files.insert(name.clone(), file);
            name
        };
        Self {
            texts: &ENGLISH,
            base_path: settings.base_path.clone(),
            has_swagger_ui: settings.swagger_ui,
            min_password_chars: settings.core.password_min_length,
            max_key_days: settings.core.key_limits.max_lifetime.as_secs() / (24 * 60 * 60),
            link_lifetime: settings.core.link_lifetime,
            style: add(
                "style",
                "css",
                "text/css; charset=utf-8",
                include_str!("files/style.css"),
            ),
            script: add(
                "script",
                "js",
                "text/javascript; charset=utf-8",
                include_str!("files/script.js"),
            ),
            icon: add("icon", "svg", "image/svg+xml", include_str!("files/icon.svg")),
            files,
        }
    }
}

/// Serves a file of the pages.
pub async fn serve_file(visitor: Visitor, request: HttpRequest, name: Path<String>) -> PageResult {
    let Some(file) = visitor.0.site.files.get(name.as_str()).cloned() else {
        return Err(visitor.0.fail(Reason::UnknownPage));
    };
    let mut response = file.respond(&request).await;
    response.headers_mut().insert(CACHE_CONTROL, FOREVER);
    FILE.mark(&mut response);
    Ok(response)
}
