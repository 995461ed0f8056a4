//! Replaces the sealing secret while nodes run.

use std::thread::sleep;

use super::Auth;
use crate::error::Result;
use crate::secret::seal::SecretId;
use crate::store::{BATCH_PAUSE, Reader, Transaction};

/// The state of a sealing secret in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretState {
    /// It seals new keys.
    Active,
    /// It only opens keys.
    Known,
    /// This process does not have it.
    Unknown,
    /// An older version sealed the keys without recording the id.
    Unrecorded,
}

/// How many keys are sealed with a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUse {
    /// `None` if it is not recorded.
    pub id: Option<SecretId>,
    pub state: SecretState,
    pub keys: usize,
}

/// A part of a rotation.
struct Batch {
    resealed: usize,
    /// The last key that was read. `None` if there are no more keys.
    last: Option<i64>,
}

impl Auth {
    /// Returns the ids of the sealing secrets of this process: first the active one, then the others.
    pub fn sealing_secrets(&self) -> impl Iterator<Item = &SecretId> {
        std::iter::once(self.sealer.active_id()).chain(self.sealer.other_ids())
    }

    /// Returns how many keys are sealed with each secret. The secrets of this process are always in the list, the active
    /// one first.
    pub fn sealed_keys(&self) -> Result<Vec<SecretUse>> {
        let mut counts = self.store.read(Reader::sealed_counts)?;
        counts.sort();
        let keys_of = |id: &SecretId| {
            let count = counts.iter().find(|(found, _)| found.as_ref() == Some(id));
            count.map_or(0, |(_, keys)| *keys)
        };
        let own = self.sealing_secrets().map(|id| SecretUse {
            id: Some(id.clone()),
            state: self.state_of(Some(id)),
            keys: keys_of(id),
        });
        let own: Vec<_> = own.collect();
        let is_foreign = |id: &Option<SecretId>| own.iter().all(|secret| secret.id != *id);
        let foreign = counts
            .iter()
            .filter(|(id, _)| is_foreign(id))
            .map(|(id, keys)| SecretUse {
                id: id.clone(),
                state: self.state_of(id.as_ref()),
                keys: *keys,
            });
        Ok(own.iter().cloned().chain(foreign).collect())
    }

    /// Seals the keys of other secrets with the active one, in small batches, and returns their number. Nodes can run
    /// meanwhile. Keys that cannot be opened stay as they are.
    pub fn rotate_sealing_secret(&self) -> Result<usize> {
        let mut resealed = 0;
        loop {
            // Keys that were locked, or that nodes have just sealed with another secret, are found in the next pass.
            let in_pass = self.rotate_once()?;
            resealed += in_pass;
            if in_pass == 0 {
                return Ok(resealed);
            }
        }
    }

    fn rotate_once(&self) -> Result<usize> {
        let (mut resealed, mut after) = (0, i64::MIN);
        loop {
            let batch = self.store.write(|tx| self.reseal_batch(tx, after))?;
            resealed += batch.resealed;
            match batch.last {
                Some(last) => after = last,
                None => return Ok(resealed),
            }
            sleep(BATCH_PAUSE);
        }
    }

    fn reseal_batch(&self, tx: &mut Transaction, after: i64) -> Result<Batch> {
        let rows = tx.lock_keys_sealed_otherwise(self.sealer.active_id(), after)?;
        let mut resealed = 0;
        for row in &rows {
            if let Some(key) = self.sealer.open(&row.sealed, row.user_id, &row.device) {
                let sealed = self.sealer.seal(&key, row.user_id, &row.device)?;
                tx.replace_sealed(row.key_id, &sealed)?;
                resealed += 1;
            }
        }
        let last = rows.last().map(|row| row.key_id);
        Ok(Batch { resealed, last })
    }

    fn state_of(&self, id: Option<&SecretId>) -> SecretState {
        match id {
            None => SecretState::Unrecorded,
            Some(id) if id == self.sealer.active_id() => SecretState::Active,
            Some(id) if self.sealer.other_ids().any(|other| other == id) => SecretState::Known,
            Some(_) => SecretState::Unknown,
        }
    }
}
