//! Assembles all routes into a server.
//!
//! The server is built on actix's `HttpService` instead of `HttpServer`, because `HttpServer` limits only the time of
//! the first request on a connection. Here a deadline applies to every request (see `deadline`).

mod connections;
mod deadline;
mod head_budget;
mod http;
mod maintenance;
mod metrics;
mod rejection;
mod socket;
mod upgrade;
mod wire;

use std::future::{Future, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_factory, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::guard::fn_guard;
use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::rt::spawn;
use actix_web::rt::time::sleep;
use actix_web::web::{self, Data};
use actix_web::{App, Error, HttpResponse};
use rustix::process::{Resource, getrlimit};

use crate::account::pages::{self, Site};
use crate::account::{self, AccountUrls};
use crate::auth::Auth;
use crate::dialects::{shoko, zettelstore, zulip};
use crate::gateway;
use crate::openapi::{self, Swagger};
use crate::settings::{BasePath, CorsOrigins, Dialects, GatewayDomains, PublicUrl, Settings};
use crate::web::address::{ClientDisconnected, TrustedProxies};
use crate::web::cors::cors;
use crate::web::health;
use crate::web::large_bodies::LargeBodies;
use crate::web::large_responses::LargeResponses;
use crate::web::middleware::request_middleware;
use crate::web::origin::OriginPolicy;
use crate::web::problem::Problem;
use crate::web::process::Process;
use connections::Connections;
use deadline::Deadline;
use head_budget::HeadBudget;
use http::WhileConnected;
pub use metrics::serve_metrics;
use socket::{Abort, limit_unread_bytes};
use wire::Wire;

/// The time in which the head of a connection's first request must arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may stay open between requests.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long requests in progress may take to finish after the server has been told to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// After the server has been told to stop, it keeps serving in two phases of this length. In the first, which a longer
/// grace time extends, it still accepts connections. In the second, it serves its connections but accepts no new ones.
const DRAIN_TIME: Duration = Duration::from_millis(400);
/// How long the server reads from a client whose connection it is closing. A client that is still sending would
/// otherwise lose the response.
const MAX_DISCONNECT_TIME: Duration = Duration::from_secs(5);
/// The maximum number of workers that `actix-server` supports.
const MAX_WORKERS: usize = 512;
/// The maximum number of connections, if the system allows that many open files.
const MAX_CONNECTIONS: u64 = 20_000;
/// The maximum number of further connections that are accepted until `Connections` has decided which ones to keep.
const MAX_SPARE_CONNECTIONS: u64 = 256;
/// The number of open files to reserve for everything but connections, such as the database and the log.
const OTHER_FILES: u64 = 100;

/// Returns a server that accepts connections from `listener`. The server runs when it is awaited. When `stop` resolves,
/// it reports that it is not ready and keeps serving for the grace time of the settings. It then accepts no more
/// connections, finishes the requests in progress and stops.
pub fn run(
    settings: &Settings,
    listener: TcpListener,
    auth: Arc<Auth>,
    stop: impl Future<Output = ()> + 'static,
) -> io::Result<Server> {
    let workers = std::thread::available_parallelism()?.get().min(MAX_WORKERS);
    let prefix = settings.base_path.as_str().to_ascii_lowercase();
    let process = Data::new(Process::start(prefix.clone(), auth.metrics().is_some()));
    let proxies = Data::new(TrustedProxies::new(settings.trusted_proxies.clone()));
    let files_each = if settings.web_ui.is_some() { 2 } else { 1 };
    let limits = ConnectionLimits::new(files_each);
    let connections = Connections::new(limits.slots, proxies.clone().into_inner());
    let heads = Arc::<HeadBudget>::default();
    let routes = Routes {
        auth: Data::from(auth),
        process: process.clone(),
        proxies,
        origins: Data::new(OriginPolicy::new(settings)),
        large_bodies: LargeBodies::default(),
        large_responses: LargeResponses::default(),
        swagger: Data::new(Swagger::new(
            &settings.base_path,
            &settings.dialects,
            settings.swagger_ui,
        )?),
        swagger_ui: settings.swagger_ui,
        dialects: settings.dialects.clone(),
        public_url: settings.public_url.clone(),
        account: Data::new(AccountUrls::new(settings.public_url.as_ref(), &settings.base_path)),
        site: Data::new(Site::new(settings)),
        base_path: Data::new(settings.base_path.clone()),
        gateway_domains: Data::new(settings.gateway_domains.clone()),
        cors_origins: settings.cors_origins.clone(),
        web_ui: settings.web_ui.clone(),
        v1_login: settings.v1_login,
        prefix,
    };
    let auth = routes.auth.clone();
    auth.follow_changes(&settings.core.database)?;
    let address = listener.local_addr()?;
    if let Err(error) = limit_unread_bytes(&listener) {
        log::warn!("limiting the unread bytes of a connection failed: {error}");
    }
    let response_deadline = settings.response_deadline;
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(limits.accepted.div_ceil(workers))
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        .disable_signals();
    let shutdown = builder.graceful_shutdown_signal();
    let builder = builder.listen("shoko-auth", listener, move || {
        let shutdown = shutdown.clone();
        let app = routes
            .app()
            .into_factory()
            .map_err(|error: Error| error.error_response());
        let app = map_config(app, |()| AppConfig::default());
        let (connections, heads) = (connections.clone(), heads.clone());
        fn_service(move |stream| {
            let kept = keep(stream, &connections, &heads, response_deadline).map_err(DispatchError::Io);
            ready(kept.map(|(stream, peer)| (stream, Protocol::Http1, Some(peer))))
        })
        .and_then(fn_factory(move || {
            let app = app.new_service(());
            let shutdown = shutdown.clone();
            async move {
                let app = Rc::new(app.await?);
                Ok(WhileConnected::new(move || {
                    let (app, shutdown) = (app.clone(), shutdown.clone());
                    HttpService::build()
                        .graceful_shutdown_signal(move || {
                            let shutdown = shutdown.clone();
                            async move { shutdown.notified().await }
                        })
                        .on_connect_ext(|stream: &Wire<Deadline<TcpStream>>, data: &mut Extensions| {
                            let stream = stream.get_ref();
                            data.insert(ClientDisconnected(stream.client_disconnected()));
                            data.insert(stream.progress());
                        })
                        .client_request_timeout(HEAD_TIMEOUT)
                        .client_disconnect_timeout(MAX_DISCONNECT_TIME)
                        .keep_alive(KEEP_ALIVE)
                        .local_addr(address)
                        .finish(fn_factory(move || ready(Ok::<_, ()>(app.clone()))))
                }))
            }
        }))
    })?;
    let server = builder.run();
    let handle = server.handle();
    let grace = settings.shutdown_grace;
    spawn(maintenance::watch_feed(auth.clone(), settings.core.clone()));
    spawn(maintenance::sweep(auth.clone()));
    spawn(maintenance::flush(auth));
    spawn(async move {
        stop.await;
        process.begin_stopping();
        // Stopping at once would drop connections that are waiting for their next request. Keep serving for a while
        // first; from now on, each response closes its connection.
        sleep(grace.max(DRAIN_TIME)).await;
        handle.pause().await;
        sleep(DRAIN_TIME).await;
        handle.stop(true).await;
    });
    Ok(server)
}

/// Returns an accepted connection and its peer's address, or an error if the connection must be closed at once.
fn keep(
    stream: TcpStream,
    connections: &Arc<Connections>,
    heads: &Arc<HeadBudget>,
    response_deadline: Duration,
) -> io::Result<(Wire<Deadline<TcpStream>>, SocketAddr)> {
    // The address of a client that has already disconnected cannot be read. Drop its connection, because it must not be
    // treated like one whose peer has no address.
    let peer = stream.peer_addr()?;
    if let Some(slot) = connections.open(peer.ip(), Instant::now()) {
        let stream = Deadline::new(stream, slot, heads.share(), response_deadline);
        Ok((Wire::new(stream), peer))
    } else {
        stream.abort_on_drop();
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

/// How many connections the limit on open files allows.
#[derive(Debug, PartialEq, Eq)]
struct ConnectionLimits {
    /// The connections that are kept.
    slots: usize,
    /// The connections that are accepted. Actix accepts no further ones while this many are open.
    accepted: usize,
}

impl ConnectionLimits {
    /// Returns the limits of this process, if each connection needs `files_each` files.
    fn new(files_each: u64) -> Self {
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::for_files(open_files, files_each)
    }

    fn for_files(open_files: u64, files_each: u64) -> Self {
        let possible = open_files.saturating_sub(OTHER_FILES) / files_each;
        let spare = (possible / 10).clamp(1, MAX_SPARE_CONNECTIONS);
        let slots = possible.saturating_sub(spare).clamp(1, MAX_CONNECTIONS);
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            slots: number(slots),
            accepted: number(slots + spare),
        }
    }
}

/// The parts from which each worker assembles its own routes.
#[derive(Clone)]
struct Routes {
    auth: Data<Auth>,
    process: Data<Process>,
    proxies: Data<TrustedProxies>,
    origins: Data<OriginPolicy>,
    large_bodies: LargeBodies,
    large_responses: LargeResponses,
    swagger: Data<Swagger>,
    swagger_ui: bool,
    cors_origins: CorsOrigins,
    dialects: Dialects,
    public_url: Option<PublicUrl>,
    account: Data<AccountUrls>,
    site: Data<Site>,
    base_path: Data<BasePath>,
    gateway_domains: Data<GatewayDomains>,
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
        let guard_path = format!("{}{}/", self.prefix, gateway::GUARD_PATH);
        App::new()
            .app_data(self.auth.clone())
            .app_data(self.process.clone())
            .app_data(self.proxies.clone())
            .app_data(self.origins.clone())
            .app_data(self.account.clone())
            .app_data(self.site.clone())
            .app_data(self.base_path.clone())
            .app_data(self.gateway_domains.clone())
            .app_data(self.large_bodies.clone())
            .app_data(self.large_responses.clone())
            .app_data(self.swagger.clone())
            .wrap(from_fn(request_middleware))
            .service(
                web::scope(&self.prefix)
                    // Not a scope that is tried first: that would cost every request more.
                    .guard(fn_guard(move |request| {
                        !request.head().uri.path().starts_with(&*guard_path)
                    }))
                    .wrap(cors(&self.cors_origins))
                    // Registered first, because routes are tried in order and this one serves the most requests.
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
                        // Registered before the pages, because `/` redirects to the web UI if there is one.
                        if let Some(folder) = &self.web_ui {
                            shoko::web_ui::routes(config, folder);
                        }
                        if self.v1_login {
                            shoko::v1::routes(config);
                        }
                    })
                    .configure(account::routes)
                    .configure(pages::routes)
                    .configure(health::routes)
                    .configure(|config| openapi::routes(config, self.swagger_ui)),
            )
            .service(web::scope(&format!("{}{}", self.prefix, gateway::GUARD_PATH)).configure(gateway::guard_routes))
            .default_service(web::to(no_such_route))
    }
}

async fn no_such_route() -> Result<HttpResponse, Problem> {
    Err(Problem::with_detail(StatusCode::NOT_FOUND, "There is no such route."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_open_files_limits_the_connections() {
        for (open_files, files_each, slots, accepted) in [
            (u64::MAX, 1, 20_000, 20_256),
            (1024, 1, 832, 924),
            (1024, 2, 416, 462),
            (400, 1, 270, 300),
            (110, 1, 9, 10),
            (64, 1, 1, 2),
        ] {
            let limits = ConnectionLimits::for_files(open_files, files_each);
            assert_eq!(limits, ConnectionLimits { slots, accepted });
        }
    }
}
