//! A built Shoko web UI from a folder, so that one process is enough for a person with a browser.

use std::path::PathBuf;

use actix_files::{NamedFile, PathBufWrap};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Responder};

use crate::web::problem::Problem;
use crate::web::readable;

const INDEX: &str = "index.html";

/// Where the files are.
pub struct WebUi {
    folder: PathBuf,
}

impl WebUi {
    /// In this folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

/// `/webui/`, and the way there from `/`.
pub fn routes(config: &mut ServiceConfig, web_ui: &Data<WebUi>) {
    config.app_data(web_ui.clone());
    for path in ["", "/", "/webui"] {
        config.service(readable(path, lead_there));
    }
    config.service(readable("/webui/{file:.*}", serve_file));
}

async fn lead_there() -> impl Responder {
    HttpResponse::Found().insert_header((LOCATION, "/webui/")).finish()
}

/// The file; for any other path the page, whose script knows what the path means.
async fn serve_file(request: HttpRequest, web_ui: Data<WebUi>) -> Result<HttpResponse, Problem> {
    // Still encoded where it matters: what would lead out of the folder, or to a hidden file, names none.
    let path = request.match_info().query("file").parse::<PathBufWrap>();
    let path = path.map(|path| web_ui.folder.join(path)).unwrap_or_default();
    let index = web_ui.folder.join(INDEX);
    if path != index
        && path.is_file()
        && let Ok(file) = NamedFile::open(path)
    {
        return Ok(file.disable_content_disposition().into_response(&request));
    }
    let page = NamedFile::open(index).map_err(|error| {
        log::error!("the web UI cannot be read: {error}");
        Problem::with_detail(StatusCode::NOT_FOUND, "The web UI is not where it was.")
    })?;
    let page = page.disable_content_disposition().prefer_utf8(true);
    let page = page.customize().insert_header((CACHE_CONTROL, "no-cache"));
    Ok(page.respond_to(&request).map_into_boxed_body())
}
