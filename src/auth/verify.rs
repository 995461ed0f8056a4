//! Key to caller: the hot path. And the end of a key.

use super::{Auth, now};
use crate::error::{AuthError, Result};
use crate::model::{Caller, Name};
use crate::secret::key::Key;

impl Auth {
    /// Who presents these keys: the first of them that works decides. `None` when none does.
    pub fn verify(&self, keys: &[Key]) -> Result<Option<Caller>> {
        self.store.read(|db| {
            for key in keys {
                if let Some(caller) = db.caller(&key.hash(), now())? {
                    return Ok(Some(caller));
                }
            }
            Ok(None)
        })
    }

    /// Ends a key. To know it is proof enough.
    pub fn revoke_key(&self, text: &str) -> Result<()> {
        let key = Key::parse(text).ok_or(AuthError::UnknownKey)?;
        let found = self.store.write(|db| db.delete_key(&key.hash()))?;
        if found { Ok(()) } else { Err(AuthError::UnknownKey) }
    }

    /// Ends what `text` names: a key, or else all keys of the caller's own device of that name.
    pub fn revoke(&self, caller: Option<&Caller>, text: &str) -> Result<()> {
        let key = Key::parse(text);
        let device = Name::parse(text).ok();
        self.store.write(|db| {
            if let Some(key) = &key
                && db.delete_key(&key.hash())?
            {
                return Ok(());
            }
            if let (Some(caller), Some(device)) = (caller, &device) {
                // A key that is being made now is there when the user's row is free; and the caller's own may have been
                // revoked meanwhile, which whoever did it meant.
                db.lock_credential(caller.user_id)?;
                let works = db.lock_caller(caller.key_id, now())?.is_some();
                if works && db.delete_keys_of_device(caller.user_id, device)? > 0 {
                    return Ok(());
                }
            }
            Err(AuthError::UnknownKey)
        })
    }
}
