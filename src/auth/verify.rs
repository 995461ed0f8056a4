//! Key to caller: the hot path.

use super::{Auth, now};
use crate::error::Result;
use crate::model::{Caller, Origin};
use crate::secret::key::Key;

impl Auth {
    /// Who presents these keys, without asking the database: `None`: that is not known. Of the keys that of the first is
    /// needed, because the first that works decides.
    pub fn recall(&self, keys: &[Key], origin: &Origin) -> Option<Caller> {
        let caller = self.callers.recall(&keys.first()?.hash(), now())?;
        Some(self.noted(caller, origin))
    }

    /// Who presents these keys: the first of them that works decides. `None` when none does.
    pub fn verify(&self, keys: &[Key], origin: &Origin) -> Result<Option<Caller>> {
        let generation = self.callers.generation();
        let found = self.store.read(|db| {
            for key in keys {
                let hash = key.hash();
                if let Some(caller) = db.caller(&hash, now())? {
                    return Ok(Some((hash, caller)));
                }
            }
            Ok(None)
        })?;
        Ok(found.map(|(hash, caller)| {
            self.callers.remember(hash, &caller, generation);
            self.noted(caller, origin)
        }))
    }

    /// The caller as of this request.
    fn noted(&self, caller: Caller, origin: &Origin) -> Caller {
        let by = Some(caller.user.clone());
        let origin = Origin { by, ..origin.clone() };
        let caller = Caller { origin, ..caller };
        self.note_use(&caller);
        caller
    }

    /// Whether this key does not work because its user is disabled.
    pub fn is_key_of_disabled_user(&self, key: &Key) -> Result<bool> {
        self.store.read(|db| db.is_key_of_disabled_user(&key.hash(), now()))
    }
}
