//! The floor for verification in `scripts/bench`: a bare actix server that responds to `GET /api/auth/verify` as
//! `shoko-auth` does, but without checking anything. It has as many workers as `shoko-auth`. The argument is the
//! address to listen on.

use std::time::Duration;

use actix_web::rt::System;
use actix_web::{App, HttpResponse, HttpServer, web};

async fn verified() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("Remote-User", "user2"))
        .insert_header(("Remote-User-Id", "2"))
        .insert_header(("Remote-Groups", "user"))
        .insert_header(("Remote-Device", "device 1"))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .finish()
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8110".to_owned());
    let workers = std::thread::available_parallelism()?.get();
    System::new().block_on(async {
        let server = HttpServer::new(|| App::new().route("/api/auth/verify", web::get().to(verified)))
            .workers(workers)
            .keep_alive(Duration::from_secs(75))
            .bind(address)?;
        for address in server.addrs() {
            println!("listening on http://{address}/");
        }
        server.run().await
    })
}
