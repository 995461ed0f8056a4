//! Tasks that run regularly, most of them once a minute. They end when the server stops. Nothing is lost, because each
//! change is one transaction, and the tasks continue after the next start.

use std::time::Duration;

use actix_web::rt::time::sleep;
use actix_web::web::Data;

use crate::auth::Auth;
use crate::settings::CoreSettings;
use crate::web::call;

const INTERVAL: Duration = Duration::from_secs(60);
const CLOCK_INTERVAL: Duration = Duration::from_secs(2);
const FEED_WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The pause between two batches of a sweep. It lets requests that wait for SQLite's write lock go first.
const BATCH_PAUSE: Duration = Duration::from_millis(10);

/// Replaces the change feed if the database no longer responds to it.
pub async fn watch_feed(auth: Data<Auth>, settings: CoreSettings) {
    loop {
        sleep(FEED_WATCH_INTERVAL).await;
        if let Err(error) = auth.replace_silent_feed(&settings.database, settings.max_connection_use()) {
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

/// Deletes keys that are no longer valid, stale failures, and changes that all nodes have seen. They have no effect even
/// before they are deleted. Then counts rows for the metrics, and copies all changes of the last minute into SQLite's database file.
pub async fn sweep(auth: Data<Auth>) {
    loop {
        sweep_keys(&auth).await;
        if let Err(error) = call(&auth, Auth::count_rows).await {
            log::debug!("counting keys and users failed and will be retried: {error}");
        }
        if let Err(error) = call(&auth, Auth::delete_stale_failures).await {
            log::debug!("deleting stale failures failed and will be retried: {error}");
        }
        if let Err(error) = call(&auth, Auth::prune_changes).await {
            log::debug!("deleting old changes failed and will be retried: {error}");
        }
        if let Err(error) = call(&auth, Auth::checkpoint).await {
            log::debug!("copying changes into the database file failed and will be retried: {error}");
        }
        sleep(INTERVAL).await;
    }
}

/// Deletes keys that are no longer valid, in small batches, until none is left.
async fn sweep_keys(auth: &Data<Auth>) {
    let mut deleted = 0;
    loop {
        match call(auth, Auth::sweep_keys).await {
            Ok(0) => break,
            Ok(batch) => deleted += batch,
            Err(error) => {
                log::debug!("deleting expired and revoked keys failed and will be retried: {error}");
                break;
            }
        }
        sleep(BATCH_PAUSE).await;
    }
    if deleted > 0 {
        log::debug!("deleted {deleted} expired and revoked keys");
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
