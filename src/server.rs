//! Assembles the routes into a server: the one place where all of it comes together.

use std::io;
use std::net::SocketAddr;

use actix_web::dev::Server;
use actix_web::http::StatusCode;
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};

use crate::auth::Auth;
use crate::dialects::{gateway, shoko};
use crate::openapi;
use crate::settings::Settings;
use crate::web::health;
use crate::web::problem::Problem;
use crate::web::surface::surface;

/// Binds the port; the server runs when it is awaited. Says where it listens, for who asked for port 0.
pub fn bind(settings: &Settings, auth: Auth) -> io::Result<(Server, SocketAddr)> {
    let auth = Data::new(auth);
    let prefix = settings.base_path.as_str().to_ascii_lowercase();
    let swagger = openapi::routes(&settings.base_path)?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(auth.clone())
            .wrap(from_fn(surface))
            .wrap(DefaultHeaders::new().add(("X-Content-Type-Options", "nosniff")))
            .service(
                web::scope(&prefix)
                    .configure(shoko::routes)
                    .configure(gateway::routes)
                    .configure(health::routes)
                    .configure(swagger.clone()),
            )
            .default_service(web::to(no_such_route))
    })
    .bind(settings.listen)?;
    let address = server.addrs().first().copied().unwrap_or(settings.listen);
    Ok((server.run(), address))
}

async fn no_such_route() -> Result<HttpResponse, Problem> {
    Err(Problem::with_detail(
        StatusCode::NOT_FOUND,
        "There is nothing at this address.",
    ))
}
