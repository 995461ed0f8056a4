//! Serves a built Shoko web UI from a folder, so that people with a browser need no other server.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use actix_files::{NamedFile, PathBufWrap};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use actix_web::web::{Data, ServiceConfig, block};
use actix_web::{HttpRequest, HttpResponse, Responder};

use crate::web::get_and_head;
use crate::web::problem::Problem;
use crate::web::response_body::SharedBody;
use crate::web::security_headers::Page;

/// The restrictions under which an unmodified web UI works. Its scripts insert styles, show avatars as data URLs and
/// images to upload as blobs, and start workers from blobs. `connect-src 'self'` includes web sockets to this server.
const PAGE: Page = Page::Public(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
     font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'",
);

/// The folder of the web UI.
struct Folder(PathBuf);

/// Registers `/webui/` and the redirects to it.
pub fn routes(config: &mut ServiceConfig, folder: &Path) {
    config.app_data(Data::new(Folder(folder.to_owned())));
    for path in ["", "/", "/webui"] {
        config.service(get_and_head(path, redirect_to_web_ui));
    }
    config.service(get_and_head("/webui/{file:.*}", serve_file));
}

async fn redirect_to_web_ui() -> impl Responder {
    HttpResponse::Found().insert_header((LOCATION, "/webui/")).finish()
}

struct Found {
    file: NamedFile,
    is_page: bool,
}

impl Folder {
    /// Opens the file at `path`. If there is none, opens `index.html`, whose script interprets the path.
    fn open(&self, path: &Path) -> io::Result<Found> {
        let (path, page) = (self.0.join(path), self.0.join("index.html"));
        let path = if path.is_file() { path } else { page.clone() };
        // Opening something other than a file, such as a pipe, could block.
        if !path.is_file() {
            return Err(ErrorKind::NotFound.into());
        }
        let is_page = path == page;
        let file = NamedFile::open(path)?;
        Ok(Found { file, is_page })
    }
}

async fn serve_file(request: HttpRequest, folder: Data<Folder>) -> Result<HttpResponse, Problem> {
    // `PathBufWrap` rejects paths that leave the folder or name a hidden file. Requests for such paths receive
    // `index.html`. Symbolic links in the folder are followed.
    let path = request.match_info().query("file").parse::<PathBufWrap>();
    let path = path.map(|path| path.as_ref().to_owned()).unwrap_or_default();
    let opened = block(move || folder.open(&path)).await;
    let Found { file, is_page } = opened
        .unwrap_or_else(|e| Err(io::Error::other(e)))
        .map_err(|e| unreadable(&e))?;
    let file = file.disable_content_disposition();
    // `actix-files` fails on range requests for empty files.
    let mut response = if file.metadata().len() == 0 {
        HttpResponse::Ok().content_type(file.content_type().clone()).finish()
    } else {
        file.into_response(&request)
    };
    if is_page {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    response.extensions_mut().insert(SharedBody);
    PAGE.mark(&mut response);
    Ok(response)
}

fn unreadable(error: &io::Error) -> Problem {
    log::debug!("reading a file of the web UI failed: {error}");
    match error.kind() {
        ErrorKind::NotFound => Problem::with_detail(StatusCode::NOT_FOUND, "The web UI is missing."),
        _ => Problem::with_detail(
            StatusCode::SERVICE_UNAVAILABLE,
            "The file cannot be read now. Try again later.",
        ),
    }
}
