//! Records when keys were last used. Uses are buffered, because a write for each request would slow verification down.
//!
//! A use is recorded when the key is looked up in the database. This happens at least once a minute while the key is in
//! use, so times are accurate to a minute. If the process is killed, the uses of the last minute are lost. If the
//! buffer is full, further uses are dropped.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::auth::Auth;
use crate::error::Result;
use crate::model::KeyUse;

/// The maximum number of buffered uses. Together, they take about 10 MB.
const MAX_BUFFERED_USES: usize = 100_000;

/// Uses that have not been written yet, by key id.
#[derive(Default)]
pub struct LastUsedBuffer(Mutex<HashMap<i64, KeyUse>>);

impl Auth {
    /// Writes the buffered uses to the database and returns how many keys were updated. Call it once a minute: a crash
    /// loses the uses since the last call. After an error, the uses are buffered again.
    pub fn flush_last_used(&self) -> Result<usize> {
        let uses = self.last_used.take();
        let written = self.store.write_last_used(&uses, self.now());
        if written.is_err() {
            // Some batches may have been written already; writing them again changes nothing.
            self.last_used.put_back(uses);
        }
        written
    }
}

impl LastUsedBuffer {
    fn lock(&self) -> MutexGuard<'_, HashMap<i64, KeyUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn record(&self, used: KeyUse) {
        let mut buffer = self.lock();
        if buffer.len() < MAX_BUFFERED_USES {
            buffer.entry(used.key_id).or_insert(used);
        }
    }

    /// Buffers uses again while there is room. If a later use of the same key has been recorded meanwhile, the later
    /// use stays.
    fn put_back(&self, uses: Vec<KeyUse>) {
        let mut buffer = self.lock();
        let room = MAX_BUFFERED_USES.saturating_sub(buffer.len());
        for used in uses.into_iter().take(room) {
            buffer.entry(used.key_id).or_insert(used);
        }
    }

    fn take(&self) -> Vec<KeyUse> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }
}
