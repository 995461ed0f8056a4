//! Seeing and ending keys.

use super::Auth;
use super::audit::{self, Event};
use crate::error::{AuthError, Result};
use crate::model::{Caller, KeyInfo, Name, Origin};
use crate::secret::key::Key;
use crate::store::{DbConnection, KeyOwner};

impl Auth {
    /// All keys, or those of one user.
    pub fn keys(&self, user: Option<&Name>) -> Result<Vec<KeyInfo>> {
        self.store.read(|db| {
            let user_id = user.map(|name| user_id_of(db, name)).transpose()?;
            db.keys(user_id, self.now())
        })
    }

    /// The keys that the caller may see: the own ones, or everybody's.
    pub fn keys_for(&self, caller: &Caller, everybodys: bool) -> Result<Vec<KeyInfo>> {
        let user_id = (!(everybodys && caller.is_admin)).then_some(caller.user_id);
        self.store.read(|db| db.keys(user_id, self.now()))
    }

    /// Ends all keys that have expired; they do not work any more as it is. How many they were.
    pub fn sweep_expired_keys(&self) -> Result<usize> {
        self.store.write(|db| db.delete_expired_keys(self.now()))
    }

    /// Ends a key. To know it is proof enough.
    pub fn revoke_key(&self, text: &str, origin: &Origin) -> Result<()> {
        let hash = Key::parse(text).ok_or(AuthError::UnknownKey)?.hash();
        // Strangers who try keys shall not keep others from writing.
        let is_known = !self.store.read(|db| db.owners_of_keys(&[hash]))?.is_empty();
        let ended = if is_known {
            self.store.write(|db| db.delete_key(&hash))?
        } else {
            None
        };
        // Somebody else may just have ended it: for whoever is told that it is not there, it must not work.
        self.callers.forget_key(&hash);
        self.note_revoked(ended.ok_or(AuthError::UnknownKey)?, origin);
        Ok(())
    }

    /// Ends what `text` names: a key, or else all keys of the caller's own device of that name.
    pub fn revoke(&self, caller: Option<&Caller>, text: &str, origin: &Origin) -> Result<()> {
        let key = Key::parse(text);
        let device = Name::parse(text).ok();
        let ended = self.store.write(|db| {
            if let Some(key) = &key
                && let Some(ended) = db.delete_key(&key.hash())?
            {
                return Ok(ended);
            }
            if let (Some(caller), Some(device)) = (caller, &device) {
                // A key that is being made now is there when the user's row is free; and the caller's own may have been
                // revoked meanwhile, which whoever did it meant.
                db.lock_credential(caller.user_id)?;
                let works = db.lock_caller(caller.key_id, self.now())?.is_some();
                if works && db.delete_keys_of_device(caller.user_id, device)? > 0 {
                    return Ok(KeyOwner {
                        user_id: caller.user_id,
                        user: caller.user.clone(),
                        device: device.shown().to_owned(),
                    });
                }
            }
            Err(AuthError::UnknownKey)
        });
        if let Some(key) = &key {
            self.callers.forget_key(&key.hash());
        }
        self.note_revoked(ended?, origin);
        Ok(())
    }

    /// Ends the key that the caller has presented.
    pub fn revoke_own_key(&self, caller: &Caller) -> Result<()> {
        let ended = self.store.write(|db| db.delete_key_by_id(caller.key_id))?;
        self.callers.forget(caller.user_id);
        if let Some(ended) = ended {
            self.note_revoked(ended, &caller.origin);
        }
        Ok(())
    }

    /// Ends all keys of a user, or of one of his devices; how many they were, which is at least one.
    pub fn revoke_keys_of(&self, user: &Name, device: Option<&Name>) -> Result<usize> {
        let (user_id, ended) = self.store.write(|db| {
            let user_id = user_id_of(db, user)?;
            // A key that is being made now is there when the user's row is free.
            db.lock_credential(user_id)?;
            let ended = match device {
                Some(device) => db.delete_keys_of_device(user_id, device)?,
                None => db.delete_keys_of_user(user_id)?,
            };
            if ended == 0 {
                Err(AuthError::UnknownKey)
            } else {
                Ok((user_id, ended))
            }
        })?;
        self.callers.forget(user_id);
        let device = device.map_or("", Name::shown);
        audit::log(Event::KeyRevoked, user.shown(), device, &Origin::default());
        Ok(ended)
    }

    /// Ends the key with this id, which is not the key itself.
    pub fn revoke_key_by_id(&self, key_id: i64) -> Result<()> {
        let ended = self.store.write(|db| db.delete_key_by_id(key_id))?;
        self.note_revoked(ended.ok_or(AuthError::UnknownKey)?, &Origin::default());
        Ok(())
    }

    fn note_revoked(&self, ended: KeyOwner, origin: &Origin) {
        let KeyOwner { user_id, user, device } = ended;
        self.callers.forget(user_id);
        audit::log(Event::KeyRevoked, &user, &device, origin);
    }
}

fn user_id_of(db: &mut DbConnection, name: &Name) -> Result<i32> {
    let user = db.user_by_name(name)?.ok_or(AuthError::UnknownUser)?;
    Ok(user.id)
}
