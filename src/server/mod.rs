//! Assembles the routes into a server: the one place where all of it comes together.
//!
//! Built on actix's `HttpService` instead of its `HttpServer`, for one thing that the latter cannot do: bound the time
//! that *every* request may take to arrive (see `deadline`); its own limit ends with the first one.

mod deadline;

use std::future::{Future, ready};
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::rt::spawn;
use actix_web::rt::time::sleep;
use actix_web::web::{self, Data};
use actix_web::{App, Error, HttpResponse};
use rustix::process::{Resource, getrlimit};

use crate::auth::Auth;
use crate::dialects::{shoko, zettelstore, zulip};
use crate::gateway;
use crate::openapi::{self, Swagger};
use crate::settings::{CorsOrigins, Dialects, PublicUrl, Settings};
use crate::web::address::{ClientDisconnected, TrustedProxies};
use crate::web::call;
use crate::web::cors::cors;
use crate::web::health;
use crate::web::middleware::request_middleware;
use crate::web::problem::Problem;
use crate::web::process::Process;
use deadline::Deadline;

/// How long the head of a connection's first request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may stay open between requests.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long running requests may take after the server was told to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long connections have to be accepted after the server was told to stop, and then to be served.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a client may go on sending after it was answered, so that it sees the answer.
const LINGER: Duration = Duration::from_secs(5);
/// The most that the server library takes.
const MAX_WORKERS: usize = 512;
/// The most connections, where the system allows so many open files.
const MAX_CONNECTIONS: u64 = 20_000;
const SWEEP_PAUSE: Duration = Duration::from_secs(60);
/// Files that are no connections: database, log, and so on.
const OTHER_FILES: u64 = 100;

/// A server on `listener`, which runs when it is awaited. When `stop` is done it says that it is not ready, serves on
/// for the grace time of the settings, takes no more connections, finishes running requests and ends.
pub fn run(
    settings: &Settings,
    listener: TcpListener,
    auth: Arc<Auth>,
    stop: impl Future<Output = ()> + 'static,
) -> io::Result<Server> {
    let workers = std::thread::available_parallelism()?.get().min(MAX_WORKERS);
    let process = Data::new(Process::start());
    let routes = Routes {
        auth: Data::from(auth),
        process: process.clone(),
        proxies: Data::new(TrustedProxies::new(settings.trusted_proxies.clone())),
        swagger: Data::new(Swagger::new(&settings.base_path, &settings.dialects)?),
        dialects: settings.dialects.clone(),
        public_url: settings.public_url.clone(),
        cors_origins: settings.cors_origins.clone(),
        web_ui: settings.web_ui.clone(),
        v1_login: settings.v1_login,
        prefix: settings.base_path.as_str().to_ascii_lowercase(),
    };
    let auth = routes.auth.clone();
    auth.follow_changes(&settings.core.database)?;
    let address = listener.local_addr()?;
    let files_each = if settings.web_ui.is_some() { 2 } else { 1 };
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(max_connections(workers, files_each))
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        .disable_signals();
    let shutdown = builder.graceful_shutdown_signal();
    let builder = builder.listen("shoko-auth", listener, move || {
        let shutdown = shutdown.clone();
        let app = routes
            .app()
            .into_factory()
            .map_err(|error: Error| error.error_response());
        fn_service(|stream: TcpStream| {
            // A client that has gone away already has none, and must not pass for one that needs none.
            let peer = stream.peer_addr().map_err(DispatchError::Io);
            ready(peer.map(|peer| (Deadline::new(stream), Protocol::Http1, Some(peer))))
        })
        .and_then(
            HttpService::build()
                .graceful_shutdown_signal(move || {
                    let shutdown = shutdown.clone();
                    async move { shutdown.notified().await }
                })
                .on_connect_ext(|stream: &Deadline<TcpStream>, data: &mut Extensions| {
                    data.insert(ClientDisconnected(stream.gone()));
                })
                .client_request_timeout(HEAD_TIMEOUT)
                .client_disconnect_timeout(LINGER)
                .keep_alive(KEEP_ALIVE)
                .local_addr(address)
                .finish(map_config(app, |()| AppConfig::default())),
        )
    })?;
    let server = builder.run();
    let handle = server.handle();
    let grace = settings.shutdown_grace;
    spawn(sweep(auth));
    spawn(async move {
        stop.await;
        process.begin_stopping();
        // What is accepted but not yet begun would be dropped: first it gets served, and every answer closes its
        // connection now.
        sleep(grace.max(DRAIN)).await;
        handle.pause().await;
        sleep(DRAIN).await;
        handle.stop(true).await;
    });
    Ok(server)
}

/// Removes expired keys, and failures of long ago, now and then; that they do not count does not depend on it. And
/// writes down when keys were used.
async fn sweep(auth: Data<Auth>) {
    loop {
        match call(&auth, Auth::delete_expired_keys).await {
            Ok(0) => {}
            Ok(ended) => log::debug!("removed {ended} expired keys"),
            Err(error) => log::debug!("removing expired keys, to be tried again: {error}"),
        }
        if let Err(error) = call(&auth, Auth::delete_stale_failures).await {
            log::debug!("forgetting failures of long ago, to be tried again: {error}");
        }
        sleep(SWEEP_PAUSE).await;
        if let Err(error) = call(&auth, Auth::flush_last_used).await {
            log::debug!("writing down when keys were used, to be tried again: {error}");
        }
    }
}

/// Each worker's share of the connections that the limit of open files allows, when each may need so many.
fn max_connections(workers: usize, files_each: u64) -> usize {
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let all = (open_files.saturating_sub(OTHER_FILES) / files_each).clamp(1, MAX_CONNECTIONS);
    usize::try_from(all).unwrap_or(usize::MAX).div_ceil(workers)
}

/// What the routes are made from, once for each worker.
#[derive(Clone)]
struct Routes {
    auth: Data<Auth>,
    process: Data<Process>,
    proxies: Data<TrustedProxies>,
    swagger: Data<Swagger>,
    cors_origins: CorsOrigins,
    dialects: Dialects,
    public_url: Option<PublicUrl>,
    web_ui: Option<PathBuf>,
    v1_login: bool,
    prefix: String,
}

impl Routes {
    fn app(
        &self,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<>>,
            Error = Error,
            InitError = (),
        > + use<>,
    > {
        App::new()
            .app_data(self.auth.clone())
            .app_data(self.process.clone())
            .app_data(self.proxies.clone())
            .app_data(self.swagger.clone())
            .wrap(cors(&self.cors_origins))
            .wrap(from_fn(request_middleware))
            .service(
                web::scope(&self.prefix)
                    // First, because it is asked most, and routes are tried in turn.
                    .configure(gateway::routes)
                    .configure(|config| {
                        if self.dialects.shoko {
                            shoko::routes(config);
                        }
                        if let Some(settings) = self.dialects.zulip {
                            zulip::routes(config, settings, self.public_url.clone(), &self.prefix);
                        }
                        if let Some(settings) = self.dialects.zettelstore {
                            zettelstore::routes(config, settings);
                        }
                        // Before `openapi`, because `/` leads here when there is a web UI.
                        if let Some(folder) = &self.web_ui {
                            shoko::web_ui::routes(config, folder);
                        }
                        if self.v1_login {
                            shoko::v1::routes(config);
                        }
                    })
                    .configure(health::routes)
                    .configure(openapi::routes),
            )
            .default_service(web::to(no_such_route))
    }
}

async fn no_such_route() -> Result<HttpResponse, Problem> {
    Err(Problem::with_detail(
        StatusCode::NOT_FOUND,
        "There is nothing at this address.",
    ))
}
