//! The command `serve`: opens the database, opens the port, creates the first administrator and starts the server, in
//! this order. The port therefore opens only if the database is usable. A start that cannot open the port creates no
//! administrator.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use actix_web::rt::System;
use futures_util::future::{Either, select};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::greeting::greeting;
use super::settings::local_url;
use super::{CliError, print, replication};
use crate::auth::{Auth, ChangeSource, ConnectError, CreatedAdmin, OpenError};
use crate::error::{ManageError, ServiceError};
use crate::secret::seal::SecretId;
use crate::server::{self, serve_metrics};
use crate::settings::{BasePath, Database, Settings, exposed_database};

/// How long the start waits for a database that is unreachable.
const MAX_DATABASE_WAIT: Duration = Duration::from_secs(30);
/// How long the start retries if the database has refused the connection in a language that this program cannot read.
const MAX_REFUSAL_WAIT: Duration = Duration::from_secs(5);
const DATABASE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the stop waits for requests that still use the embedded database.
const MAX_CLOSE_WAIT: Duration = Duration::from_secs(5);
const CLOSE_RETRY_INTERVAL: Duration = Duration::from_millis(5);
/// How many connections can wait to be accepted, if the system allows that many. The standard library's 128 are too few
/// when thousands of clients reconnect at once: a client that finds the queue full retries only after a second.
const MAX_BACKLOG: i32 = 4096;

/// Runs the server until the process receives SIGTERM or SIGINT.
pub fn run(settings: &Settings) -> Result<(), CliError> {
    if let Err(error) = disable_core_dumps() {
        log::warn!("disabling core dumps failed: {error}");
    }
    check_web_ui(settings)?;
    for warning in settings.warnings() {
        log::warn!("{warning}");
    }
    if let Err(error) = raise_open_files_limit() {
        log::warn!("raising the limit on open files failed: {error}");
    }
    let stopped = System::new().block_on(serve(settings))?;
    if let (Some(auth), Database::Sqlite(_)) = (stopped, &settings.core.database) {
        close(auth);
    }
    ::log::logger().flush();
    log::info!("stopped");
    Ok(())
}

/// Starts the server and serves until a signal arrives. Returns `None` if the signal arrives before the start is
/// complete.
async fn serve(settings: &Settings) -> Result<Option<Arc<Auth>>, CliError> {
    // Before the start waits for the database: as PID 1, a process ignores signals that it does not handle.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut stop = Box::pin(async move {
        select(pin!(terminate.recv()), pin!(interrupt.recv())).await;
    });
    let started = match select(pin!(start_in_thread(settings)), &mut stop).await {
        Either::Left((started, _)) => started?,
        Either::Right(_) => {
            log::info!("stopped before the start was complete");
            return Ok(None);
        }
    };
    let (auth, url) = (started.auth, started.url);
    let metrics = started.metrics.map(|listener| serve_metrics(listener, auth.clone()));
    let metrics = metrics.transpose()?;
    let stop = async move {
        stop.await;
        log::info!("stopping");
    };
    let server = server::run(settings, started.listener, auth.clone(), stop)?;
    log::info!("listening on {url}/");
    server.await?;
    if let Some(metrics) = metrics {
        metrics.stop(false).await;
    }
    if let Err(error) = auth.flush_last_used() {
        log::warn!("writing last-used times failed; key uses of the last minute are not recorded: {error}");
    }
    auth.finish_audit_log();
    Ok(Some(auth))
}

/// What the server needs to serve.
struct Started {
    auth: Arc<Auth>,
    listener: TcpListener,
    /// The listener for metrics, if there is one.
    metrics: Option<TcpListener>,
    /// The URL of the server for programs on this machine.
    url: String,
}

/// Runs [`start`] in a thread. The thread is not awaited if the returned future is dropped, because a connection to the
/// database can block it.
async fn start_in_thread(settings: &Settings) -> Result<Started, CliError> {
    let (sender, receiver) = oneshot::channel();
    let settings = settings.clone();
    thread::Builder::new().name("start".to_owned()).spawn(move || {
        // Nothing receives the result if a signal has stopped the start.
        drop(sender.send(start(&settings)));
    })?;
    let panicked = |_| CliError::Other("the start failed unexpectedly; the lines above have the reason".to_owned());
    receiver.await.map_err(panicked)?
}

/// Opens the database and the port, and creates the first administrator.
fn start(settings: &Settings) -> Result<Started, CliError> {
    let auth = Arc::new(open(settings, MAX_DATABASE_WAIT)?);
    replication::check(&auth, settings.synchronous_replication)?;
    let listener = listen(settings.listen, "SHOKO_AUTH_LISTEN")?;
    let listen_for_metrics = |address| listen(address, "SHOKO_AUTH_METRICS_LISTEN");
    let metrics = settings.metrics_listen.map(listen_for_metrics).transpose()?;
    let url = local_url(listener.local_addr()?, &settings.base_path);
    if let Some(created) = first_admin(&auth, settings)? {
        let name = &created.user.name;
        let not_printed = |e| {
            CliError::Other(format!(
                "cannot print the password of the new administrator: {e}; set another one with `shoko-auth user \
                 set-password {name}`"
            ))
        };
        print(&greeting(&created, &url, settings.swagger_ui)).map_err(not_printed)?;
        log::info!("created the administrator {name}");
    }
    let secrets: Vec<_> = auth.sealing_secrets().map(SecretId::as_str).collect();
    log::info!(
        "database: {}; sealing secrets, the active one first: {}",
        settings.core.database,
        secrets.join(", ")
    );
    if matches!(settings.core.database, Database::Postgres(_)) && auth.change_source() == ChangeSource::Polling {
        log::info!("DATABASE_URL leads to a pooler that shares sessions, so changes by other nodes are polled");
    }
    if let Some(limits) = auth.connection_limits().filter(|limits| limits.are_few()) {
        log::warn!("{limits}");
    }
    match auth.is_database_exposed() {
        Ok(true) => log::warn!("{}", exposed_database(&settings.core.database)),
        Ok(false) => {}
        Err(error) => log::warn!("checking the encryption of the connection to the database failed: {error}"),
    }
    if let Some(metrics) = &metrics {
        log::info!(
            "metrics are served at {}/metrics",
            local_url(metrics.local_addr()?, &BasePath::default())
        );
    }
    Ok(Started {
        auth,
        listener,
        metrics,
        url,
    })
}

/// Opens a port. An error names the setting that contains the address.
fn listen(address: SocketAddr, setting: &str) -> Result<TcpListener, CliError> {
    let cannot_listen = |e: io::Error| CliError::Other(format!("cannot listen on {address} ({setting}): {e}"));
    let listener = TcpListener::bind(address).map_err(cannot_listen)?;
    rustix::net::listen(&listener, MAX_BACKLOG).map_err(|e| cannot_listen(e.into()))?;
    Ok(listener)
}

/// Closes the embedded database, so that its file contains everything. Requests that were abandoned at the end of
/// [`server::run`] may still use the database for a moment.
fn close(mut auth: Arc<Auth>) {
    let start = Instant::now();
    loop {
        match Arc::try_unwrap(auth) {
            Ok(auth) => {
                if let Err(error) = auth.close() {
                    log::warn!("closing the database failed; some changes are only in its -wal file: {error}");
                }
                return;
            }
            Err(shared) if start.elapsed() < MAX_CLOSE_WAIT => auth = shared,
            Err(_) => {
                log::warn!("the database is still in use; some changes are only in its -wal file");
                return;
            }
        }
        sleep(CLOSE_RETRY_INTERVAL);
    }
}

/// Raises the soft limit on open files to the hard limit.
fn raise_open_files_limit() -> io::Result<()> {
    let limits = getrlimit(Resource::Nofile);
    let current = limits.maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current, ..limits })?)
}

/// Disables core dumps, because they would contain passwords and keys in use. On Linux, also prevents other processes
/// of the same user from reading the memory.
fn disable_core_dumps() -> io::Result<()> {
    let none = Some(0);
    setrlimit(
        Resource::Core,
        Rlimit {
            current: none,
            maximum: none,
        },
    )?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Checks that the configured web UI can be served.
fn check_web_ui(settings: &Settings) -> Result<(), CliError> {
    let Some(folder) = &settings.web_ui else { return Ok(()) };
    let index = folder.join("index.html");
    let reason = if settings.base_path != BasePath::default() {
        "Shoko's web UI requests absolute paths, so it cannot be combined with SHOKO_AUTH_BASE_PATH".to_owned()
    } else if !index.is_file() {
        format!("{}: there is no such file", index.display())
    } else if let Err(error) = File::open(&index) {
        format!("{}: {error}", index.display())
    } else {
        return Ok(());
    };
    Err(CliError::Usage(format!("SHOKO_AUTH_WEBUI: {reason}")))
}

/// Opens the database and runs the migrations. Waits up to `max_wait` for an unreachable PostgreSQL server, which may
/// start later than this server after a power cut. A server that refuses the connection fails the start at once, or after
/// [`MAX_REFUSAL_WAIT`] if it says so in another language than English.
fn open(settings: &Settings, max_wait: Duration) -> Result<Auth, CliError> {
    let start = Instant::now();
    loop {
        let opened = Auth::open(&settings.core).map_err(CliError::from).and_then(|auth| {
            auth.migrate()?;
            // Opens the connection for lookups before the pool can grow and use up those that the database allows.
            auth.ping()?;
            Ok(auth)
        });
        let is_remote = matches!(settings.core.database, Database::Postgres(_));
        let may_retry = |error: &CliError| {
            let elapsed = start.elapsed();
            (is_unavailable(error) && elapsed < max_wait) || (is_probably_refused(error) && elapsed < MAX_REFUSAL_WAIT)
        };
        match opened {
            Err(error) if is_remote && may_retry(&error) => {
                log::warn!("opening the database failed, retrying: {error}");
                sleep(DATABASE_RETRY_INTERVAL);
            }
            opened => return opened,
        }
    }
}

fn is_unavailable(error: &CliError) -> bool {
    matches!(
        error,
        CliError::Service(ServiceError::Unavailable(_))
            | CliError::Open(
                OpenError::Connect(ConnectError::Unavailable(_)) | OpenError::Service(ServiceError::Unavailable(_))
            )
    )
}

fn is_probably_refused(error: &CliError) -> bool {
    matches!(
        error,
        CliError::Open(OpenError::Connect(ConnectError::ProbablyRefused { .. }))
    )
}

fn first_admin(auth: &Auth, settings: &Settings) -> Result<Option<CreatedAdmin>, CliError> {
    let wanted = &settings.first_admin;
    auth.create_first_admin(wanted).map_err(|error| match error {
        ManageError::NameTaken => CliError::Other(format!(
            "there is no administrator, and the name '{}' is taken: choose another one with SHOKO_AUTH_ADMIN_USER, or \
             make an existing user an administrator: `shoko-auth user grant-admin NAME`",
            wanted.name.as_typed()
        )),
        ManageError::BadPassword(error) => CliError::Usage(format!("SHOKO_AUTH_ADMIN_PASSWORD: {error}")),
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::model::{NewName, SecretText};
    use crate::settings::{
        CoreSettings, CorsOrigins, Dialects, FirstAdmin, GatewayDomains, KeyLimits, LINK_LIFETIME, MAX_WAIT,
        RESPONSE_DEADLINE, SessionLimits, SynchronousReplication,
    };

    #[cfg(target_os = "linux")]
    #[test]
    fn disabling_core_dumps_also_protects_the_memory_from_other_processes() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        disable_core_dumps().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }

    #[test]
    fn the_start_gives_up_on_a_database_that_stays_unreachable() {
        let secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned();
        let settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            base_path: "/".parse().unwrap(),
            cors_origins: CorsOrigins::None,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            v1_login: false,
            swagger_ui: true,
            web_ui: None,
            public_url: None,
            gateway_domains: GatewayDomains::default(),
            dialects: Dialects {
                shoko: true,
                zulip: None,
                zettelstore: None,
            },
            metrics_listen: None,
            shutdown_grace: Duration::ZERO,
            response_deadline: RESPONSE_DEADLINE,
            synchronous_replication: SynchronousReplication::Warn,
            core: CoreSettings {
                clock: Clock::system(),
                database: "postgres://127.0.0.1:1/none".parse().unwrap(),
                data_dir: "unused".into(),
                secret_key: Some(SecretText::new(secret)),
                secret_key_file: None,
                pbkdf2_rounds: 1000,
                password_min_length: 8,
                login_throttle: true,
                key_limits: KeyLimits {
                    max_per_user: 1000,
                    max_lifetime: Duration::from_secs(366 * 24 * 60 * 60),
                },
                sessions: SessionLimits::default(),
                link_lifetime: LINK_LIFETIME,
                max_wait: MAX_WAIT,
                allows_network_file_system: false,
                has_metrics: false,
            },
            first_admin: FirstAdmin {
                name: NewName::parse("a").unwrap(),
                password: None,
            },
        };
        let start = Instant::now();
        let error = open(&settings, Duration::from_millis(1500)).err().unwrap();
        assert!(is_unavailable(&error), "{error}");
        assert!(start.elapsed() >= Duration::from_millis(1500), "{:?}", start.elapsed());
    }
}
