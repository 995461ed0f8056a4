//! When keys were used last: written behind, because a write for each request would make verification as slow as that.
//!
//! Noted is the look-up of a key, of which there is one a minute at least while a key is used. So it says no more than
//! which minute it was; the last minute is lost when the process is killed, and what is too much is left out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Auth;
use crate::error::Result;
use crate::model::{Caller, KeyUse};

/// What may wait to be written: about 10 MB.
const MOST: usize = 100_000;

/// What has not been written yet.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<i64, KeyUse>>);

impl Auth {
    /// Notes that the caller's key was used from where the request comes from.
    pub(super) fn note_use(&self, caller: &Caller) {
        let (key_id, from) = (caller.key_id, caller.origin.address);
        self.uses.note(KeyUse {
            key_id,
            at: self.now(),
            from,
        });
    }

    /// Writes down what was noted since the last time; how many keys that is about. To be called once a minute, which is
    /// what a crash may lose then.
    pub fn write_uses(&self) -> Result<usize> {
        let uses = self.uses.take();
        let written = self.store.write_uses(&uses);
        if written.is_err() {
            // For the next time; in part they may be there already.
            self.uses.put_back(uses);
        }
        written
    }
}

impl Uses {
    fn note(&self, used: KeyUse) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST && !waiting.contains_key(&used.key_id) {
            waiting.insert(used.key_id, used);
        }
    }

    /// As many as there is room for. What was noted again meanwhile is later.
    fn put_back(&self, uses: Vec<KeyUse>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(waiting.len());
        for used in uses.into_iter().take(room) {
            waiting.entry(used.key_id).or_insert(used);
        }
    }

    fn take(&self) -> Vec<KeyUse> {
        let noted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        noted.into_values().collect()
    }
}
