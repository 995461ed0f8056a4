//! Password to key; same user and device, same key.

use super::{Auth, now};
use crate::error::{AuthError, Result};
use crate::model::{Name, SecretText};
use crate::secret::key::Key;
use crate::store::{Credential, DbConnection, StoredKey};

/// What somebody logs in with.
#[derive(Debug)]
pub struct LogIn {
    /// The user's name.
    pub user: Name,
    /// The password, as it came.
    pub password: SecretText,
    /// The device the key is for.
    pub device: Name,
}

impl Auth {
    /// The device's key, if the password is right: the one it has, or a new one.
    pub fn log_in(&self, login: &LogIn) -> Result<Key> {
        let credential = self.check_password(&login.user, login.password.expose())?;
        let key = self.key_for(&credential, &login.device)?;
        if let Err(error) = self.rehash(&credential, login.password.expose()) {
            log::warn!("raising the rounds of a password hash, to be tried again at the next login: {error}");
        }
        Ok(key)
    }

    /// What the password was checked against, if it is right. Takes the same time whatever is wrong.
    pub(super) fn check_password(&self, user: &Name, password: &str) -> Result<Credential> {
        let credential = self.store.read(|db| db.credential(user))?.filter(|c| !c.is_disabled);
        let stored = credential.as_ref().map(|c| c.password.as_str());
        if !self.passwords.verify(password, stored) {
            return Err(AuthError::WrongCredentials);
        }
        credential.ok_or(AuthError::WrongCredentials)
    }

    /// The key of a device whose user has just proved the password. Whoever changes the password meanwhile wins:
    /// no key is made for a credential that is not the current one.
    pub(super) fn key_for(&self, credential: &Credential, device: &Name) -> Result<Key> {
        let user_id = credential.user_id;
        let known = self.store.read(|db| db.sealed_key(credential, device))?;
        if let Some(key) = known.and_then(|sealed| self.sealer.open(&sealed, user_id, device.folded())) {
            return Ok(key);
        }
        self.store.write(|db| {
            let current = db.lock_credential(user_id)?.filter(|now| !now.is_disabled);
            if current.is_none_or(|now| now.password_version != credential.password_version) {
                return Err(AuthError::WrongCredentials);
            }
            self.find_or_make_key(db, credential, device)
        })
    }

    /// With the user's row locked, so that of two logins of a new device the second finds the first one's key.
    pub(super) fn find_or_make_key(
        &self,
        db: &mut DbConnection,
        credential: &Credential,
        device: &Name,
    ) -> Result<Key> {
        let user_id = credential.user_id;
        if let Some(sealed) = db.sealed_key(credential, device)? {
            if let Some(key) = self.sealer.open(&sealed, user_id, device.folded()) {
                return Ok(key);
            }
            log::warn!(
                "the key of a device of user {user_id} was sealed with another secret; it still works, and the \
                 device gets a new one. Do all nodes have the same SHOKO_AUTH_SECRET_KEY?"
            );
            db.forget_sealed_key(user_id, device)?;
        }
        let key = Key::generate()?;
        let stored = StoredKey {
            user_id,
            device,
            hash: key.hash(),
            sealed: self.sealer.seal(&key, user_id, device.folded())?,
        };
        db.insert_key(&stored, now())?;
        Ok(key)
    }

    /// Hashes the password anew when the rounds setting has risen since it was stored.
    pub(super) fn rehash(&self, credential: &Credential, password: &str) -> Result<()> {
        if self.passwords.needs_rehash(&credential.password) {
            let hash = self.passwords.hash(password)?;
            self.store
                .write(|db| db.replace_hash(credential.user_id, &credential.password, &hash))?;
        }
        Ok(())
    }
}
