//! Assembles all routes into a server.
//!
//! The server is built on actix's `HttpService` instead of `HttpServer`, because `HttpServer` limits only the time of
//! the first request on a connection. Here a deadline applies to every request (see `deadline`).

mod connections;
mod deadline;
mod head_budget;
mod http;
mod limits;
mod maintenance;
mod metrics;
mod rejection;
mod routes;
mod socket;
mod upgrade;
mod wire;

use std::future::{Future, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::Protocol;
use actix_http::error::DispatchError;
use actix_server::{Server, ServerHandle};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_factory, fn_service, map_config};
use actix_web::Error;
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use actix_web::rt::spawn;
use actix_web::rt::time::sleep;
use actix_web::web::Data;

use crate::auth::Auth;
use crate::settings::{Database, Settings};
use crate::web::address::TrustedProxies;
use crate::web::process::Process;
use connections::Connections;
use deadline::Deadline;
use head_budget::HeadBudget;
use http::{WhileConnected, http_service};
use limits::ClientLimits;
pub use metrics::serve_metrics;
use routes::Routes;
use socket::{Abort, limit_unread_bytes};
use wire::Wire;

/// How long requests in progress may take to finish after the server has received the signal to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// After the signal to stop, the server keeps serving in two phases of this length. In the first, which a longer grace
/// time extends, it still accepts connections. In the second, it serves its connections but accepts no new ones.
const DRAIN_TIME: Duration = Duration::from_millis(400);
/// How long the server reads from a client whose connection it is closing. A client that is still sending would
/// otherwise lose the response.
const MAX_DISCONNECT_TIME: Duration = Duration::from_secs(5);
/// The maximum number of workers that `actix-server` supports.
const MAX_WORKERS: usize = 512;

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
    let process = Data::new(Process::start(prefix, auth.metrics().cloned()));
    let proxies = Data::new(TrustedProxies::new(settings.trusted_proxies.clone()));
    let limits = ClientLimits::new(if settings.web_ui.is_some() { 2 } else { 1 });
    let acceptor = Acceptor {
        connections: Connections::new(limits.slots, proxies.clone().into_inner()),
        heads: Arc::default(),
        response_deadline: settings.response_deadline,
    };
    let auth = Data::from(auth);
    let routes = Routes::new(settings, auth.clone(), process.clone(), proxies)?;
    auth.follow_changes()?;
    let address = listener.local_addr()?;
    if let Err(error) = limit_unread_bytes(&listener) {
        log::warn!("limiting the unread bytes of a connection failed: {error}");
    }
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(limits.accepted.div_ceil(workers))
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        .disable_signals();
    let shutdown = builder.graceful_shutdown_signal();
    let builder = builder.listen("shoko-auth", listener, move || {
        let (acceptor, shutdown) = (acceptor.clone(), shutdown.clone());
        let app = routes.app().into_factory();
        let app = map_config(app.map_err(|error: Error| error.error_response()), |()| {
            AppConfig::default()
        });
        fn_service(move |stream| {
            let kept = acceptor.keep(stream).map_err(DispatchError::Io);
            ready(kept.map(|(stream, peer)| (stream, Protocol::Http1, Some(peer))))
        })
        .and_then(fn_factory(move || {
            let app = app.new_service(());
            let shutdown = shutdown.clone();
            async move {
                let app = Rc::new(app.await?);
                Ok(WhileConnected::new(move || {
                    http_service(app.clone(), shutdown.clone(), address)
                }))
            }
        }))
    })?;
    let server = builder.run();
    spawn_maintenance(settings, &auth);
    spawn(stop_after(stop, process, server.handle(), settings.shutdown_grace));
    Ok(server)
}

fn spawn_maintenance(settings: &Settings, auth: &Data<Auth>) {
    spawn(maintenance::watch_feed(auth.clone(), settings.core.clone()));
    spawn(maintenance::follow_clock(auth.clone()));
    if let Database::Postgres(_) = &settings.core.database {
        spawn(maintenance::watch_primary(auth.clone(), settings.core.clone()));
        spawn(maintenance::watch_replication(
            auth.clone(),
            settings.synchronous_replication,
        ));
    }
    spawn(maintenance::sweep(auth.clone()));
    spawn(maintenance::flush(auth.clone()));
}

/// Stops the server after `stop` resolves and the grace time has passed.
async fn stop_after(stop: impl Future<Output = ()>, process: Data<Process>, server: ServerHandle, grace: Duration) {
    stop.await;
    process.begin_stopping();
    // Stopping at once would drop connections that are waiting for their next request. Keep serving for a while first;
    // from now on, each response closes its connection.
    sleep(grace.max(DRAIN_TIME)).await;
    server.pause().await;
    sleep(DRAIN_TIME).await;
    server.stop(true).await;
}

/// Decides which accepted connections to keep.
#[derive(Clone)]
struct Acceptor {
    connections: Arc<Connections>,
    heads: Arc<HeadBudget>,
    response_deadline: Duration,
}

impl Acceptor {
    /// Returns an accepted connection and its peer's address, or an error if the connection must be closed at once.
    fn keep(&self, stream: TcpStream) -> io::Result<(Wire<Deadline<TcpStream>>, SocketAddr)> {
        // The address of a client that has already disconnected cannot be read. Drop its connection, because it must not be
        // treated like one whose peer has no address.
        let peer = stream.peer_addr()?;
        if let Some(slot) = self.connections.open(peer.ip(), Instant::now()) {
            let stream = Deadline::new(stream, slot, self.heads.share(), self.response_deadline);
            Ok((Wire::new(stream), peer))
        } else {
            stream.abort_on_drop();
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }
}
