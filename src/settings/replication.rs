//! The reaction if a failover to a standby of PostgreSQL can undo acknowledged changes.

/// The consequence of replication that does not protect acknowledged changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynchronousReplication {
    /// Only the metrics show it.
    Ignore,
    /// The server logs a warning.
    Warn,
    /// The server does not start. While it runs, it logs a warning.
    Require,
}
