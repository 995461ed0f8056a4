//! Password to key; same user and device, same key.

use chrono::{NaiveDateTime, TimeDelta};

use super::audit::{self, Event};
use super::throttle::Outcome;
use super::{Auth, now};
use crate::error::{AuthError, Result};
use crate::model::{Account, Caller, Expiry, Name, Origin, SecretText};
use crate::secret::key::Key;
use crate::store::{Credential, DbConnection, StoredKey};

/// A key must be of some use. What was a minute when the request was sent is a little less now.
const LEAST_LIFETIME: TimeDelta = TimeDelta::seconds(57);

/// What somebody logs in with.
#[derive(Debug)]
pub struct LogIn {
    /// The user's name.
    pub user: Name,
    /// The password, as it came.
    pub password: SecretText,
    /// The device the key is for.
    pub device: Name,
    /// When the key shall end.
    pub expiry: Expiry,
}

/// A key that was handed out, and for whom.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key.
    pub key: Key,
    /// The user's id.
    pub user_id: i32,
    /// The user's name, as typed when it was made.
    pub user: String,
    /// The device.
    pub device: Name,
    /// When it stops working; `None`: never by itself.
    pub expires_at: Option<NaiveDateTime>,
}

/// A device's key, and whether it was made for it just now.
pub(super) struct FoundKey {
    pub key: Key,
    is_new: bool,
}

impl FoundKey {
    /// The key, noted when it is new: to be called when it is there for good.
    fn note(self, user: &str, device: &Name, origin: &Origin) -> Key {
        if self.is_new {
            audit::log(Event::KeyMade, user, device.shown(), origin);
        }
        self.key
    }
}

impl Auth {
    /// The device's key, if the password is right: the one it has, or a new one. A key that expires is always new.
    pub fn log_in(&self, login: &LogIn, origin: &Origin) -> Result<IssuedKey> {
        let credential = self.check_password(&login.user, &login.password, origin)?;
        audit::log(Event::LoginOk, &credential.name, login.device.shown(), origin);
        let expires_at = resolve(login.expiry)?;
        self.note_first_login(&credential)?;
        let key = self.key_for(&credential, &login.device, expires_at, origin)?;
        self.raise_rounds(&credential, &login.password, origin);
        Ok(IssuedKey {
            key,
            user_id: credential.user_id,
            user: credential.name,
            device: login.device.clone(),
            expires_at,
        })
    }

    /// Who somebody is who shows name and password, and wants no key.
    pub fn check_login(&self, user: &Name, password: &SecretText, origin: &Origin) -> Result<Account> {
        let credential = self.check_password(user, password, origin)?;
        self.note_first_login(&credential)?;
        audit::log(Event::LoginOk, &credential.name, "", origin);
        self.raise_rounds(&credential, password, origin);
        Ok(Account {
            user_id: credential.user_id,
            name: credential.name,
            is_admin: credential.is_admin,
        })
    }

    /// A key for another device of the caller's. A session that ends makes none that outlives it.
    pub fn make_key(&self, caller: &Caller, device: &Name, expiry: Expiry) -> Result<IssuedKey> {
        let expires_at = resolve(expiry)?;
        match (caller.expires_at, expires_at) {
            (Some(_), None) => return Err(AuthError::SessionExpires),
            (Some(session), Some(wanted)) if wanted > session => return Err(AuthError::BeyondSession),
            _ => {}
        }
        self.make_key_for(caller, device, expires_at, |_| Ok(()))
    }

    /// With the caller's key still there, after `first`.
    fn make_key_for(
        &self,
        caller: &Caller,
        device: &Name,
        expires_at: Option<NaiveDateTime>,
        first: impl FnOnce(&mut DbConnection) -> Result<()>,
    ) -> Result<IssuedKey> {
        let found = self.store.write(|db| {
            let credential = db.lock_credential(caller.user_id)?.filter(|now| !now.is_disabled);
            let credential = credential.ok_or(AuthError::InvalidKey)?;
            db.lock_caller(caller.key_id, now())?.ok_or(AuthError::InvalidKey)?;
            first(db)?;
            self.find_or_make_key(db, &credential, device, expires_at)
        })?;
        Ok(IssuedKey {
            key: found.note(&caller.user, device, &caller.origin),
            user_id: caller.user_id,
            user: caller.user.clone(),
            device: device.clone(),
            expires_at,
        })
    }

    /// The device's key without any password: for development, where whoever calls this has seen to it that nobody else
    /// can.
    pub fn log_in_as(&self, user: &Name, device: &Name, origin: &Origin) -> Result<IssuedKey> {
        let credential = self.store.read(|db| db.credential(user))?;
        let credential = credential.ok_or(AuthError::WrongCredentials)?;
        if credential.is_disabled {
            return Err(AuthError::Disabled);
        }
        let key = self.key_for(&credential, device, None, origin)?;
        audit::log(Event::LoginOk, &credential.name, device.shown(), origin);
        Ok(IssuedKey {
            key,
            user_id: credential.user_id,
            user: credential.name,
            device: device.clone(),
            expires_at: None,
        })
    }

    /// A key that expires in the place of the caller's own, which goes on until its end.
    pub fn renew_key(&self, caller: &Caller, device: &Name, lifetime: TimeDelta) -> Result<IssuedKey> {
        self.make_key_for(caller, device, resolve(Expiry::After(lifetime))?, |_| Ok(()))
    }

    /// A new key for a device of the caller's; those that it has, and the one that is presented, end.
    pub fn replace_key(&self, caller: &Caller, device: &Name) -> Result<IssuedKey> {
        let issued = self.make_key_for(caller, device, None, |db| {
            db.delete_keys_of_device(caller.user_id, device)?;
            db.delete_key_by_id(caller.key_id).map(drop)
        })?;
        audit::log(Event::KeyRevoked, &caller.user, device.shown(), &caller.origin);
        Ok(issued)
    }

    /// From now on the administrator that the first start made is somebody's, and no import removes him.
    fn note_first_login(&self, credential: &Credential) -> Result<()> {
        if !credential.is_automatic || self.store.write(|db| db.note_first_login(credential))? {
            Ok(())
        } else {
            Err(AuthError::WrongCredentials)
        }
    }

    /// What the password was checked against, if it is right. Takes the same time whatever is wrong. First a place in
    /// the queue, so that who finds it full costs nothing; then the throttle; then the hash.
    pub(super) fn check_password(&self, user: &Name, password: &SecretText, origin: &Origin) -> Result<Credential> {
        let place = self.hasher.place()?;
        let credential = self.store.read(|db| db.credential(user))?;
        let begun = self.begin_try(user, credential.as_ref(), origin).inspect_err(|error| {
            if let AuthError::Throttled(_) = error {
                audit::log(Event::LoginThrottled, user.shown(), "", origin);
            }
        })?;
        let stored = credential.as_ref().map(|credential| credential.password.clone());
        let (passwords, password) = (self.passwords.clone(), password.clone());
        let checked = place.run(origin, move || passwords.verify(password.expose(), stored.as_deref()));
        let enabled = credential.filter(|credential| !credential.is_disabled);
        let outcome = match (&checked, &enabled) {
            (Ok(true), Some(_)) => Outcome::Success,
            // A disabled user's, too: else the throttle would tell that the password is right.
            (Ok(_), _) => Outcome::Failure,
            (Err(_), _) => Outcome::Undone,
        };
        self.count(begun, outcome)?;
        let is_right = checked?;
        if is_right && let Some(credential) = enabled {
            return Ok(credential);
        }
        audit::log(Event::LoginFailed, user.shown(), "", origin);
        Err(if is_right {
            AuthError::Disabled
        } else {
            AuthError::WrongCredentials
        })
    }

    /// Hashes a new password, when it is its turn.
    pub(super) fn hash(&self, password: &str, origin: &Origin) -> Result<String> {
        let place = self.hasher.place()?;
        let (passwords, password) = (self.passwords.clone(), SecretText::new(password.to_owned()));
        place.run(origin, move || passwords.hash(password.expose()))?
    }

    /// The key of a device whose user has just proved the password. Whoever changes the password meanwhile wins:
    /// no key is made for a credential that is not the current one.
    pub(super) fn key_for(
        &self,
        credential: &Credential,
        device: &Name,
        expires_at: Option<NaiveDateTime>,
        origin: &Origin,
    ) -> Result<Key> {
        let user_id = credential.user_id;
        if expires_at.is_none() {
            let known = self.store.read(|db| db.sealed_key(credential, device))?;
            if let Some(key) = known.and_then(|sealed| self.sealer.open(&sealed, user_id, device.folded())) {
                return Ok(key);
            }
        }
        let issued = self.store.write(|db| {
            let current = db.lock_credential(user_id)?.filter(|now| !now.is_disabled);
            if current.is_none_or(|now| now.password_version != credential.password_version) {
                return Err(AuthError::WrongCredentials);
            }
            self.find_or_make_key(db, credential, device, expires_at)
        })?;
        Ok(issued.note(&credential.name, device, origin))
    }

    /// With the user's row locked, so that of two logins of a new device the second finds the first one's key.
    pub(super) fn find_or_make_key(
        &self,
        db: &mut DbConnection,
        credential: &Credential,
        device: &Name,
        expires_at: Option<NaiveDateTime>,
    ) -> Result<FoundKey> {
        let user_id = credential.user_id;
        let lasts = expires_at.is_none();
        if lasts && let Some(sealed) = db.sealed_key(credential, device)? {
            if let Some(key) = self.sealer.open(&sealed, user_id, device.folded()) {
                return Ok(FoundKey { key, is_new: false });
            }
            log::warn!(
                "the key of a device of user {user_id} was sealed with another secret; it still works, and the \
                 device gets a new one. Do all nodes have the same SHOKO_AUTH_SECRET_KEY?"
            );
            db.forget_sealed_key(user_id, device)?;
        }
        let key = Key::generate()?;
        let sealed = if lasts {
            Some(self.sealer.seal(&key, user_id, device.folded())?)
        } else {
            None
        };
        let hash = key.hash();
        db.insert_key(
            &StoredKey {
                user_id,
                device,
                hash,
                sealed,
                expires_at,
            },
            now(),
        )?;
        Ok(FoundKey { key, is_new: true })
    }

    /// [`Self::rehash`], without a failure that anybody sees: the login itself has succeeded.
    fn raise_rounds(&self, credential: &Credential, password: &SecretText, origin: &Origin) {
        if let Err(error) = self.rehash(credential, password.expose(), origin) {
            log::warn!("raising the rounds of a password hash, to be tried again at the next login: {error}");
        }
    }

    /// Hashes the password anew when the rounds setting has risen since it was stored.
    pub(super) fn rehash(&self, credential: &Credential, password: &str, origin: &Origin) -> Result<()> {
        if self.passwords.needs_rehash(&credential.password) {
            let hash = self.hash(password, origin)?;
            self.store
                .write(|db| db.replace_hash(credential.user_id, &credential.password, &hash))?;
        }
        Ok(())
    }
}

/// The time that was asked for, if it can be: at least a minute ahead.
fn resolve(expiry: Expiry) -> Result<Option<NaiveDateTime>> {
    match expiry {
        Expiry::Never => Ok(None),
        Expiry::After(time) => Ok(Some(now() + time)),
        Expiry::At(time) if time >= now() + LEAST_LIFETIME => Ok(Some(time)),
        Expiry::At(_) | Expiry::Unreadable => Err(AuthError::BadExpiry),
    }
}
