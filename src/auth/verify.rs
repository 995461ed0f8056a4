//! Key to caller: the hot path.

use super::{Auth, now};
use crate::error::Result;
use crate::model::{Caller, Origin};
use crate::secret::key::Key;

impl Auth {
    /// Who presents these keys: the first of them that works decides. `None` when none does.
    pub fn verify(&self, keys: &[Key], origin: &Origin) -> Result<Option<Caller>> {
        self.store.read(|db| {
            for key in keys {
                if let Some(caller) = db.caller(&key.hash(), now())? {
                    let by = Some(caller.user.clone());
                    let origin = Origin { by, ..origin.clone() };
                    return Ok(Some(Caller { origin, ..caller }));
                }
            }
            Ok(None)
        })
    }

    /// Whether this key does not work because its user is disabled.
    pub fn is_key_of_disabled_user(&self, key: &Key) -> Result<bool> {
        self.store.read(|db| db.is_key_of_disabled_user(&key.hash(), now()))
    }
}
