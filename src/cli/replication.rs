//! Checks at the start of the server whether acknowledged changes survive a failover to a standby of PostgreSQL.

use super::CliError;
use crate::auth::{Auth, Replication, ReplicationGap};
use crate::settings::SynchronousReplication;

/// The server must not start, because a failover could undo acknowledged changes.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationRequired {
    #[error(
        "SHOKO_AUTH_SYNCHRONOUS_REPLICATION is require, but a failover can undo acknowledged changes, including \
         revocations: {0}. To start anyway, set SHOKO_AUTH_SYNCHRONOUS_REPLICATION=warn"
    )]
    Gap(#[from] ReplicationGap),
    #[error(
        "SHOKO_AUTH_SYNCHRONOUS_REPLICATION is require, but the embedded database is not replicated. Set DATABASE_URL \
         to a PostgreSQL cluster, or remove the setting"
    )]
    Embedded,
}

/// Checks the replication, and logs or returns what is missing.
pub fn check(auth: &Auth, setting: SynchronousReplication) -> Result<(), CliError> {
    match (auth.check_replication(), setting) {
        (Ok(Some(Replication::Incomplete(gap))), SynchronousReplication::Require) => {
            return Err(ReplicationRequired::Gap(gap).into());
        }
        (Ok(None), SynchronousReplication::Require) => return Err(ReplicationRequired::Embedded.into()),
        (Ok(Some(replication)), SynchronousReplication::Warn) => {
            if let Some(warning) = replication.warning() {
                log::warn!("{warning}");
            }
        }
        (Ok(_), _) => {}
        (Err(error), SynchronousReplication::Require) => return Err(error.into()),
        (Err(error), SynchronousReplication::Ignore | SynchronousReplication::Warn) => {
            log::warn!("checking the replication of the database failed: {error}");
        }
    }
    Ok(())
}
