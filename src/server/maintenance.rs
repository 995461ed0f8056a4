//! Tasks that run regularly, most of them once a minute. They end when the server stops. Nothing is lost, because each
//! change is one transaction, and the tasks continue after the next start.

use std::time::Duration;

use actix_web::rt::time::sleep;
use actix_web::web::Data;

use crate::auth::{Auth, BATCH_PAUSE, Silence};
use crate::error::ServiceError;
use crate::settings::{CoreSettings, SynchronousReplication};
use crate::web::call;

const INTERVAL: Duration = Duration::from_secs(60);
const CLOCK_INTERVAL: Duration = Duration::from_secs(2);
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// The pause between two attempts to find another primary. Each opens a connection.
const PRIMARY_SEARCH_PAUSE: Duration = Duration::from_secs(1);
const REPLICATION_INTERVAL: Duration = Duration::from_secs(10);

/// Replaces the change feed if the database no longer responds to it.
pub async fn watch_feed(auth: Data<Auth>, settings: CoreSettings) {
    let silence = Silence::new(&settings);
    loop {
        sleep(WATCH_INTERVAL).await;
        if let Err(error) = auth.replace_silent_feed(silence) {
            log::warn!("starting another change feed failed and will be retried: {error}");
        }
    }
}

/// Keeps the service's clock right.
pub async fn follow_clock(auth: Data<Auth>) {
    loop {
        sleep(CLOCK_INTERVAL).await;
        if let Err(error) = call(&auth, Auth::follow_clock).await {
            log::debug!("reading the database's clock failed and will be retried: {error}");
        }
    }
}

/// Looks for another primary while the database does not respond.
pub async fn watch_primary(auth: Data<Auth>, settings: CoreSettings) {
    let silence = Silence::new(&settings);
    loop {
        sleep(WATCH_INTERVAL).await;
        if auth.is_database_silent(silence) {
            let searched = call(&auth, |auth| {
                auth.look_for_primary();
                Ok::<_, ServiceError>(())
            });
            if let Err(error) = searched.await {
                log::debug!("looking for the primary failed: {error}");
            }
            sleep(PRIMARY_SEARCH_PAUSE).await;
        }
    }
}

/// Checks every few seconds whether a failover can undo acknowledged changes, and logs when that changes.
pub async fn watch_replication(auth: Data<Auth>, setting: SynchronousReplication) {
    let mut last = auth.last_replication();
    loop {
        sleep(REPLICATION_INTERVAL).await;
        let replication = match call(&auth, Auth::check_replication).await {
            Ok(replication) => replication,
            Err(error) => {
                log::debug!("checking the replication of the database failed and will be retried: {error}");
                continue;
            }
        };
        if replication != last
            && setting != SynchronousReplication::Ignore
            && let Some(replication) = &replication
        {
            match replication.warning() {
                Some(warning) => log::warn!("{warning}"),
                None => log::info!("the replication of the database has changed: {replication}"),
            }
        }
        last = replication;
    }
}

/// Deletes keys that are no longer valid, stale failures, and changes that all nodes have seen. They have no effect even
/// before they are deleted. Also counts rows for the metrics, and copies all changes of the last minute into SQLite's
/// database file.
pub async fn sweep(auth: Data<Auth>) {
    loop {
        in_batches(&auth, "deleting expired and revoked keys", |auth| {
            Ok(auth.sweep_keys()? > 0)
        })
        .await;
        if let Err(error) = call(&auth, Auth::count_rows).await {
            log::debug!("counting keys and users failed and will be retried: {error}");
        }
        in_batches(&auth, "deleting stale failures", Auth::delete_stale_failures).await;
        if let Err(error) = call(&auth, Auth::prune_changes).await {
            log::debug!("deleting old changes failed and will be retried: {error}");
        }
        if let Err(error) = call(&auth, Auth::checkpoint).await {
            log::debug!("copying changes into the database file failed and will be retried: {error}");
        }
        sleep(INTERVAL).await;
    }
}

/// Calls `batch`, which does a small part of `task`, until it returns false. Pauses between the calls.
async fn in_batches(auth: &Data<Auth>, task: &str, batch: fn(&Auth) -> Result<bool, ServiceError>) {
    loop {
        match call(auth, batch).await {
            Ok(true) => sleep(BATCH_PAUSE).await,
            Ok(false) => break,
            Err(error) => {
                log::debug!("{task} failed and will be retried: {error}");
                break;
            }
        }
    }
}

/// Writes last-used times to the database, and the numbers of repeated events to the log.
pub async fn flush(auth: Data<Auth>) {
    loop {
        sleep(INTERVAL).await;
        if let Err(error) = call(&auth, Auth::flush_last_used).await {
            log::debug!("writing last-used times failed and will be retried: {error}");
        }
        auth.flush_audit_log();
        log::logger().flush();
    }
}
