//! A built Shoko web UI from a folder, so that one process is enough for a person with a browser.

use std::path::{Path, PathBuf};

use actix_files::{NamedFile, PathBufWrap};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Responder};

use crate::web::problem::Problem;
use crate::web::readable;

const INDEX: &str = "index.html";

/// Where the files are.
struct Folder(PathBuf);

/// `/webui/`, and the way there from `/`.
pub fn routes(config: &mut ServiceConfig, folder: &Path) {
    config.app_data(Data::new(Folder(folder.to_owned())));
    for path in ["", "/", "/webui"] {
        config.service(readable(path, lead_there));
    }
    config.service(readable("/webui/{file:.*}", serve_file));
}

async fn lead_there() -> impl Responder {
    HttpResponse::Found().insert_header((LOCATION, "/webui/")).finish()
}

/// The file; for any other path the page, whose script knows what the path means.
async fn serve_file(request: HttpRequest, folder: Data<Folder>) -> Result<HttpResponse, Problem> {
    // `PathBufWrap` refuses what leads out of the folder or names a hidden file: such a path is no file, like the
    // empty one that stands for it then.
    let path = request.match_info().query("file").parse::<PathBufWrap>();
    let path = path.map(|path| folder.0.join(path)).unwrap_or_default();
    let index = folder.0.join(INDEX);
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
