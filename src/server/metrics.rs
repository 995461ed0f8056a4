//! The listener for metrics. It has a thread of its own, so a scrape does not delay requests, and a busy server can still
//! be scraped.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::rt::spawn;
use actix_web::web::Data;
use actix_web::{App, HttpResponse, HttpServer};

use crate::auth::Auth;
use crate::metrics::CONTENT_TYPE;
use crate::web::get_and_head;
use crate::web::problem::Problem;

/// The maximum number of connections. A scraper needs one.
const MAX_CONNECTIONS: usize = 32;

/// How long a connection may wait for a client that does not read, in milliseconds.
#[cfg(target_os = "linux")]
const MAX_WRITE_WAIT: u32 = 5_000;

/// Serves the metrics at `/metrics` until the returned handle stops it.
pub fn serve_metrics(listener: TcpListener, auth: Arc<Auth>) -> io::Result<ServerHandle> {
    let auth = Data::from(auth);
    // Accepted connections inherit the option. Without it, clients that do not read could hold all connections.
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(&listener, MAX_WRITE_WAIT)?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(auth.clone())
            .service(get_and_head("/metrics", metrics))
    })
    .workers(1)
    .max_connections(MAX_CONNECTIONS)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    spawn(server);
    Ok(handle)
}

/// Returns the metrics.
async fn metrics(auth: Data<Auth>) -> Result<HttpResponse, Problem> {
    match auth.metrics_text()? {
        Some(text) => Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(text)),
        None => Err(Problem::new(StatusCode::NOT_FOUND)),
    }
}
