//! A built Shoko web UI from a folder, so that one process is enough for a person with a browser.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use actix_files::{NamedFile, PathBufWrap};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use actix_web::web::{Data, ServiceConfig, block};
use actix_web::{HttpRequest, HttpResponse, Responder};

use crate::web::get_and_head;
use crate::web::problem::Problem;

/// Where the files are.
struct Folder(PathBuf);

/// `/webui/`, and the way there from `/`.
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

/// A file, and whether it is the page.
struct Found {
    file: NamedFile,
    is_page: bool,
}

impl Folder {
    /// The file; for any other path the page, whose script knows what the path means.
    fn open(&self, path: &Path) -> io::Result<Found> {
        let (path, page) = (self.0.join(path), self.0.join("index.html"));
        let path = if path.is_file() { path } else { page.clone() };
        // What is none, a pipe for example, may never open.
        if !path.is_file() {
            return Err(ErrorKind::NotFound.into());
        }
        let is_page = path == page;
        let file = NamedFile::open(path)?;
        Ok(Found { file, is_page })
    }
}

async fn serve_file(request: HttpRequest, folder: Data<Folder>) -> Result<HttpResponse, Problem> {
    // `PathBufWrap` refuses what leads out of the folder or names a hidden file: such a path is no file, and gets the
    // page. Links in the folder are followed.
    let path = request.match_info().query("file").parse::<PathBufWrap>();
    let path = path.map(|path| path.as_ref().to_owned()).unwrap_or_default();
    let opened = block(move || folder.open(&path)).await;
    let Found { file, is_page } = opened
        .unwrap_or_else(|e| Err(io::Error::other(e)))
        .map_err(|e| refused(&e))?;
    let file = file.disable_content_disposition();
    // The library fails at a range of nothing.
    let mut answer = if file.metadata().len() == 0 {
        HttpResponse::Ok().content_type(file.content_type().clone()).finish()
    } else {
        file.into_response(&request)
    };
    if is_page {
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    Ok(answer)
}

fn refused(error: &io::Error) -> Problem {
    log::debug!("a file of the web UI cannot be read: {error}");
    match error.kind() {
        ErrorKind::NotFound => Problem::with_detail(StatusCode::NOT_FOUND, "The web UI is not where it was."),
        _ => Problem::with_detail(StatusCode::SERVICE_UNAVAILABLE, "The file cannot be read now."),
    }
}
