//! Decides when a database that does not respond is given up, and looks for another primary before that.
//!
//! A server that is stopped keeps its connections open, and libpq has no timeout for a response. But a slow server is
//! silent too, and its connections must stay open. Therefore a short silence has consequences only if a new connection
//! reaches another server that has become the primary.

use std::time::{Duration, Instant};

use crate::auth::Auth;
use crate::settings::CoreSettings;
use crate::store::Opener;

/// How long the database may be silent before a reaction.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// After this time, another connection takes over.
    max: Duration,
    /// After this time, a new connection is opened to find out whether another server has become the primary.
    suspicious: Duration,
}

impl Silence {
    #[must_use]
    pub fn new(settings: &CoreSettings) -> Self {
        Self {
            max: settings.max_connection_use(),
            suspicious: settings.max_wait / 2,
        }
    }

    /// Returns whether another connection should take over from one on which a response has been awaited since `began_at`.
    pub(super) fn is_final(self, began_at: Instant, opener: &Opener) -> bool {
        let silence = began_at.elapsed();
        silence > self.max || (silence > self.suspicious && opener.has_found_primary_since(began_at))
    }
}

impl Auth {
    /// Returns whether the database may have been replaced by another server, because it has not responded for a while.
    #[must_use]
    pub fn is_database_silent(&self, silence: Silence) -> bool {
        let is_suspicious = |began_at: Instant| began_at.elapsed() > silence.suspicious;
        let waits = [self.feed_thread.waits_since(), self.lookups.waits_since()];
        self.store.has_been_silent_for(silence.suspicious) || waits.into_iter().flatten().any(is_suspicious)
    }

    /// Opens a connection to find out which server is the primary. If it is another one than before, the connections to
    /// the previous one are no longer used. Blocks until the connection is open or has failed.
    pub fn look_for_primary(&self) {
        self.store.opener().look_for_primary();
    }
}
