//! Password to key; same user and device, same key.

use chrono::{NaiveDateTime, TimeDelta};

use super::Auth;
use super::audit::{self, Event};
use super::throttle::Outcome;
use crate::error::{AuthError, Result};
use crate::model::{Account, Caller, End, Expiry, Name, Origin, SecretText};
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
        let end = self.resolve(login.expiry)?;
        self.note_first_login(&credential)?;
        let key = self.key_for(&credential, &login.device, end, origin)?;
        self.raise_rounds(&credential, &login.password, origin);
        Ok(IssuedKey {
            key,
            user_id: credential.user_id,
            user: credential.name,
            device: login.device.clone(),
            expires_at: end.map(|end| end.at),
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
        let end = self.resolve(expiry)?;
        match (caller.end, end) {
            (Some(_), None) => return Err(AuthError::SessionExpires),
            (Some(session), Some(wanted)) if wanted.at > session.at => return Err(AuthError::BeyondSession),
            _ => {}
        }
        self.make_key_for(caller, device, end, |_| Ok(Vec::new()))
    }

    /// Makes the key in one transaction, which first sees to it that the caller's own still works and then does `first`:
    /// that says of which devices it has ended keys.
    fn make_key_for(
        &self,
        caller: &Caller,
        device: &Name,
        end: Option<End>,
        first: impl FnOnce(&mut DbConnection) -> Result<Vec<String>>,
    ) -> Result<IssuedKey> {
        let (ended, found) = self.store.write(|db| -> Result<_> {
            let credential = db.lock_credential(caller.user_id)?.filter(|now| !now.is_disabled);
            let credential = credential.ok_or(AuthError::InvalidKey)?;
            db.lock_caller(caller.key_id, self.now())?
                .ok_or(AuthError::InvalidKey)?;
            let ended = first(db)?;
            Ok((ended, self.find_or_make_key(db, &credential, device, end)?))
        })?;
        if !ended.is_empty() {
            self.callers.forget(caller.user_id);
        }
        for device in &ended {
            audit::log(Event::KeyRevoked, &caller.user, device, &caller.origin);
        }
        Ok(IssuedKey {
            key: found.note(&caller.user, device, &caller.origin),
            user_id: caller.user_id,
            user: caller.user.clone(),
            device: device.clone(),
            expires_at: end.map(|end| end.at),
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

    /// Another key, for `device`, that works for `lifetime`, and when it ends; the one that is presented goes on until
    /// its own end. That one itself while three quarters of `lifetime` are left of it, and where it ends and was not
    /// made to be renewed: nothing outlives that.
    pub fn renew_key(
        &self,
        key: Key,
        device: &Name,
        lifetime: TimeDelta,
        origin: &Origin,
    ) -> Result<(Key, NaiveDateTime)> {
        let caller = self.verify(std::slice::from_ref(&key), origin)?;
        let caller = caller.ok_or(AuthError::InvalidKey)?;
        if let Some(end) = caller.end
            && (!end.is_renewable || (end.at - self.now()) * 4 > lifetime * 3)
        {
            return Ok((key, end.at));
        }
        let end = self.renewable(lifetime)?;
        let issued = self.make_key_for(&caller, device, Some(end), |_| Ok(Vec::new()))?;
        Ok((issued.key, end.at))
    }

    /// A new key for a device of the caller's; those that it has, and the one that is presented, end. Only a session
    /// that lasts gets one: it lasts, too.
    pub fn replace_key(&self, caller: &Caller, device: &Name) -> Result<IssuedKey> {
        if caller.end.is_some() {
            return Err(AuthError::SessionExpires);
        }
        self.make_key_for(caller, device, None, |db| {
            let presented = db.delete_key_by_id(caller.key_id)?.map(|owner| owner.device);
            let others = db.delete_keys_of_device(caller.user_id, device)?;
            let others = (others > 0).then(|| device.shown().to_owned());
            Ok(presented.into_iter().chain(others).collect())
        })
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
        end: Option<End>,
        origin: &Origin,
    ) -> Result<Key> {
        let user_id = credential.user_id;
        if end.is_none() {
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
            self.find_or_make_key(db, credential, device, end)
        })?;
        Ok(issued.note(&credential.name, device, origin))
    }

    /// With the user's row locked, so that of two logins of a new device the second finds the first one's key.
    pub(super) fn find_or_make_key(
        &self,
        db: &mut DbConnection,
        credential: &Credential,
        device: &Name,
        end: Option<End>,
    ) -> Result<FoundKey> {
        let user_id = credential.user_id;
        let lasts = end.is_none();
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
                end,
            },
            self.now(),
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

impl Auth {
    /// Returns when a key with the requested `expiry` ends. The end must be at least a minute ahead.
    fn resolve(&self, expiry: Expiry) -> Result<Option<End>> {
        match expiry {
            Expiry::Never => Ok(None),
            Expiry::Renewable(lifetime) => self.renewable(lifetime).map(Some),
            Expiry::At(at) if at >= self.now() + LEAST_LIFETIME => Ok(Some(End {
                at,
                is_renewable: false,
            })),
            Expiry::At(_) | Expiry::Unreadable => Err(AuthError::BadExpiry),
        }
    }

    fn renewable(&self, lifetime: TimeDelta) -> Result<End> {
        let at = self.now().checked_add_signed(lifetime).ok_or(AuthError::BadExpiry)?;
        Ok(End { at, is_renewable: true })
    }
}
