//! Logs users in and issues keys. Each device of a user has at most one lasting key, which never expires. A login
//! without a requested expiry returns the device's lasting key.

use chrono::{NaiveDateTime, TimeDelta};

use super::Auth;
use super::audit::{self, AuditLog, Event};
use super::hashing::Client;
use super::throttle::Outcome;
use crate::error::{BadExpiry, IssueError, KeyError, LoginError, Result};
use crate::model::{Caller, Expiration, Name, RequestContext, RequestedExpiry, SecretText, UserSummary};
use crate::secret::key::Key;
use crate::store::{Credential, StoredKey, Transaction};

/// The shortest time from now to a requested expiry. It is meant to be a minute, but the request may have taken three
/// seconds to arrive.
const MIN_LIFETIME: TimeDelta = TimeDelta::seconds(57);

/// A login with a password.
#[derive(Debug)]
pub struct LogIn {
    pub user: Name,
    pub password: SecretText,
    /// The device that gets the key.
    pub device: Name,
    pub expiry: RequestedExpiry,
}

/// A key for the client, with its owner.
#[derive(Debug)]
pub struct IssuedKey {
    pub key: Key,
    pub user_id: i32,
    /// The user's name as typed.
    pub user: String,
    pub device: Name,
    /// `None` means that the key never expires.
    pub expires_at: Option<NaiveDateTime>,
}

pub(super) struct DeviceKey {
    pub key: Key,
    is_new: bool,
}

impl DeviceKey {
    /// Returns the key. If the key is new, logs that it was issued. Call this method after the transaction has been
    /// committed.
    fn log_issued<'a>(self, audit: &AuditLog, user: &str, device: &Name, source: impl Into<audit::Source<'a>>) -> Key {
        if self.is_new {
            audit.log(Event::KeyIssued, user, device.as_typed(), source);
        }
        self.key
    }
}

impl Auth {
    /// Checks the password and issues a key. If the login requests an expiry, the key is always new. Otherwise it is
    /// the device's lasting key, which is created if there is none.
    pub fn log_in(&self, login: &LogIn, context: &RequestContext) -> Result<IssuedKey, LoginError> {
        let credential = self.check_password(&login.user, &login.password, context)?;
        self.audit
            .log(Event::LoginOk, &credential.name, login.device.as_typed(), context);
        let expiration = self.resolve(login.expiry)?;
        self.record_first_login(&credential)?;
        let key = self.key_for(&credential, &login.device, expiration, context)?;
        self.raise_rounds(&credential, &login.password, context);
        Ok(IssuedKey {
            key,
            user_id: credential.user_id,
            user: credential.name,
            device: login.device.clone(),
            expires_at: expiration.map(|expiration| expiration.at),
        })
    }

    /// Checks the password without issuing a key.
    pub fn check_login(
        &self,
        user: &Name,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<UserSummary, LoginError> {
        let credential = self.check_password(user, password, context)?;
        self.record_first_login(&credential)?;
        self.audit.log(Event::LoginOk, &credential.name, "", context);
        self.raise_rounds(&credential, password, context);
        Ok(UserSummary {
            user_id: credential.user_id,
            name: credential.name,
            is_admin: credential.is_admin,
        })
    }

    /// Issues a key for another device of the caller. Without an expiry, it is the device's lasting key, which is
    /// created if there is none. Fails if the caller's key has an expiry and the new key would have a later one or
    /// none.
    pub fn issue_key(&self, caller: &Caller, device: &Name, expiry: RequestedExpiry) -> Result<IssuedKey, IssueError> {
        let expiration = self.resolve(expiry)?;
        match (caller.holder.expiration, expiration) {
            (Some(_), None) => return Err(IssueError::WouldNeverExpire),
            (Some(own), Some(wanted)) if wanted.at > own.at => return Err(IssueError::WouldOutliveCaller),
            _ => {}
        }
        Ok(self.issue_key_after(caller, device, expiration, |_| Ok(Vec::new()))?)
    }

    /// Issues a key. The same transaction first checks that the caller's key is still valid and then runs `revoke`,
    /// which returns the devices whose keys it has revoked.
    fn issue_key_after(
        &self,
        caller: &Caller,
        device: &Name,
        expiration: Option<Expiration>,
        revoke: impl FnOnce(&mut Transaction) -> Result<Vec<String>>,
    ) -> Result<IssuedKey, KeyError> {
        let holder = &caller.holder;
        let (revoked, device_key) = self.store.write(|tx| -> Result<_, KeyError> {
            let credential = tx.lock_credential(holder.user_id)?.filter(|now| !now.is_disabled);
            let credential = credential.ok_or(KeyError::Invalid)?;
            tx.lock_key_holder(holder.key_id, self.now())?
                .ok_or(KeyError::Invalid)?;
            let revoked = revoke(tx)?;
            Ok((revoked, self.find_or_issue_key(tx, &credential, device, expiration)?))
        })?;
        if !revoked.is_empty() {
            self.key_cache.invalidate_user(holder.user_id);
        }
        for device in &revoked {
            self.audit.log(Event::KeyRevoked, &holder.user, device, caller);
        }
        Ok(IssuedKey {
            key: device_key.log_issued(&self.audit, &holder.user, device, caller),
            user_id: holder.user_id,
            user: holder.user.clone(),
            device: device.clone(),
            expires_at: expiration.map(|expiration| expiration.at),
        })
    }

    /// Returns the device's lasting key without checking a password. Only for development: check first that the request
    /// is local.
    pub fn log_in_without_password(
        &self,
        user: &Name,
        device: &Name,
        context: &RequestContext,
    ) -> Result<IssuedKey, LoginError> {
        let credential = self.store.read(|db| db.credential(user))?;
        let credential = credential.ok_or(LoginError::WrongCredentials)?;
        if credential.is_disabled {
            return Err(LoginError::Disabled);
        }
        let key = self.key_for(&credential, device, None, context)?;
        self.audit
            .log(Event::LoginOk, &credential.name, device.as_typed(), context);
        Ok(IssuedKey {
            key,
            user_id: credential.user_id,
            user: credential.name,
            device: device.clone(),
            expires_at: None,
        })
    }

    /// Issues a key for `device` that expires after `lifetime`, and returns the new key with its expiry. `key` is the
    /// key that the caller has presented. It stays valid until its own expiry.
    ///
    /// Returns `key` itself, and issues none, if more than three quarters of `lifetime` remain until `key` expires.
    /// Does the same if `key` has an expiry and is not renewable, because no new key may outlive it.
    pub fn renew_key(
        &self,
        caller: &Caller,
        key: Key,
        device: &Name,
        lifetime: TimeDelta,
    ) -> Result<(Key, NaiveDateTime), KeyError> {
        if let Some(expiration) = caller.holder.expiration
            && (!expiration.is_renewable || (expiration.at - self.now()) * 4 > lifetime * 3)
        {
            return Ok((key, expiration.at));
        }
        let expiration = self.renewable(lifetime);
        let issued = self.issue_key_after(caller, device, Some(expiration), |_| Ok(Vec::new()))?;
        Ok((issued.key, expiration.at))
    }

    /// Issues a lasting key for a device of the caller. Revokes the presented key and all earlier keys of the device.
    /// Fails if the presented key has an expiry, because the new key would have none.
    pub fn replace_key(&self, caller: &Caller, device: &Name) -> Result<IssuedKey, IssueError> {
        let holder = &caller.holder;
        if holder.expiration.is_some() {
            return Err(IssueError::WouldNeverExpire);
        }
        let issued = self.issue_key_after(caller, device, None, |tx| {
            let presented = tx.delete_key_by_id(holder.key_id)?.map(|owner| owner.device);
            let others = tx.delete_keys_of_device(holder.user_id, device)?;
            let others = (others > 0).then(|| device.as_typed().to_owned());
            Ok(presented.into_iter().chain(others).collect())
        });
        Ok(issued?)
    }

    /// If the user is the automatic administrator, records that it is in use, so that no import removes it. Fails if an
    /// import has already removed it or if its password hash has changed since `credential` was read. Does nothing for
    /// other users.
    pub(super) fn record_first_login(&self, credential: &Credential) -> Result<(), LoginError> {
        if !credential.is_automatic || self.store.write(|tx| tx.record_first_login(credential))? {
            Ok(())
        } else {
            Err(LoginError::WrongCredentials)
        }
    }

    /// Checks a password and returns the user's credential. A wrong password, an unknown name and a disabled user take
    /// the same time.
    ///
    /// First reserves a queue slot, so that a request costs nothing if it is rejected because the queue is full. Then
    /// records the attempt in the throttle. Then hashes the password.
    pub(super) fn check_password(
        &self,
        user: &Name,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<Credential, LoginError> {
        let slot = self.hashing.reserve(Client::logging_in(context, user))?;
        let credential = self.store.read(|db| db.credential(user))?;
        let attempt = self.record_attempt(user, credential.as_ref(), context);
        let attempt = attempt.inspect_err(|error| {
            if let LoginError::Throttled(_) = error {
                self.audit.log(Event::LoginThrottled, user.as_typed(), "", context);
            }
        })?;
        let stored = credential.as_ref().map(|credential| credential.password.clone());
        let (passwords, password) = (self.passwords.clone(), password.clone());
        let checked = slot.run(context, move || passwords.check(password.expose(), stored.as_deref()));
        let enabled = credential.filter(|credential| !credential.is_disabled);
        let outcome = match (&checked, &enabled) {
            (Ok(true), Some(_)) => Outcome::Success,
            // The correct password of a disabled user is a failure too. Otherwise the throttle would reveal that the
            // password is correct.
            (Ok(_), _) => Outcome::Failure,
            (Err(_), _) => Outcome::Cancelled,
        };
        self.settle_attempt(attempt, outcome)?;
        let is_right = checked?;
        if is_right && let Some(credential) = enabled {
            return Ok(credential);
        }
        audit::log(Event::LoginFailed, user.as_typed(), "", context);
        Err(if is_right {
            LoginError::Disabled
        } else {
            LoginError::WrongCredentials
        })
    }

    /// Hashes a new password in the hashing pool, for a request of `client`.
    pub(super) fn hash(&self, password: &str, client: Client, context: &RequestContext) -> Result<String> {
        let slot = self.hashing.reserve(client)?;
        let (passwords, password) = (self.passwords.clone(), SecretText::new(password.to_owned()));
        slot.run(context, move || passwords.hash(password.expose()))?
    }

    /// Returns a key for the device after the password check. With an `expiration`, the key is new. Otherwise it is the
    /// device's lasting key, which is created if there is none. Fails if the password has changed or the user has been
    /// disabled since `credential` was read.
    pub(super) fn key_for(
        &self,
        credential: &Credential,
        device: &Name,
        expiration: Option<Expiration>,
        context: &RequestContext,
    ) -> Result<Key, LoginError> {
        let user_id = credential.user_id;
        if expiration.is_none() {
            let sealed = self.store.read(|db| db.sealed_key(credential, device))?;
            if let Some(key) = sealed.and_then(|sealed| self.sealer.open(&sealed, user_id, device.normalized())) {
                return Ok(key);
            }
        }
        let device_key = self.store.write(|tx| {
            let current = tx.lock_credential(user_id)?.filter(|now| !now.is_disabled);
            if current.is_none_or(|now| now.password_version != credential.password_version) {
                return Err(LoginError::WrongCredentials);
            }
            Ok(self.find_or_issue_key(tx, credential, device, expiration)?)
        })?;
        Ok(device_key.log_issued(&self.audit, &credential.name, device, context))
    }

    /// Returns the device's lasting key. Issues a new key if there is none or if `expiration` is given. The user's row
    /// must be locked: when a new device logs in twice at once, the second login must find the key of the first.
    pub(super) fn find_or_issue_key(
        &self,
        tx: &mut Transaction,
        credential: &Credential,
        device: &Name,
        expiration: Option<Expiration>,
    ) -> Result<DeviceKey> {
        let user_id = credential.user_id;
        let lasts = expiration.is_none();
        if lasts && let Some(sealed) = tx.sealed_key(credential, device)? {
            if let Some(key) = self.sealer.open(&sealed, user_id, device.normalized()) {
                return Ok(DeviceKey { key, is_new: false });
            }
            log::warn!(
                "the key of a device of user {user_id} was sealed with another secret; the old key stays valid, and \
                 the device gets a new key. Make sure that all nodes have the same SHOKO_AUTH_SECRET_KEY."
            );
            tx.delete_sealed_key(user_id, device)?;
        }
        let key = Key::generate()?;
        let sealed = if lasts {
            Some(self.sealer.seal(&key, user_id, device.normalized())?)
        } else {
            None
        };
        let stored = StoredKey {
            user_id,
            device,
            hash: key.hash(),
            sealed,
            expiration,
        };
        tx.insert_key(&stored, self.now())?;
        Ok(DeviceKey { key, is_new: true })
    }

    /// Runs [`Self::rehash`] and logs an error instead of returning it, because the login itself has succeeded.
    fn raise_rounds(&self, credential: &Credential, password: &SecretText, context: &RequestContext) {
        if let Err(error) = self.rehash(credential, password.expose(), context) {
            log::warn!("raising the rounds of a password hash failed and will be retried at the next login: {error}");
        }
    }

    /// Hashes the password again if its stored hash has fewer rounds than the setting or was imported from Shoko.
    pub(super) fn rehash(&self, credential: &Credential, password: &str, context: &RequestContext) -> Result<()> {
        if self.passwords.needs_rehash(&credential.password) {
            let client = Client::of_user(context, &credential.name);
            let hash = self.hash(password, client, context)?;
            self.store
                .write(|tx| tx.replace_hash(credential.user_id, &credential.password, &hash))?;
        }
        Ok(())
    }

    /// Converts a requested expiry to an expiration, or to `None` if the key is to never expire. Fails if a requested
    /// time is invalid or less than `MIN_LIFETIME` ahead.
    fn resolve(&self, expiry: RequestedExpiry) -> Result<Option<Expiration>, BadExpiry> {
        match expiry {
            RequestedExpiry::Never => Ok(None),
            RequestedExpiry::Renewable(lifetime) => Ok(Some(self.renewable(lifetime))),
            RequestedExpiry::At(at) if at >= self.now() + MIN_LIFETIME => Ok(Some(Expiration {
                at,
                is_renewable: false,
            })),
            RequestedExpiry::At(_) | RequestedExpiry::Invalid => Err(BadExpiry),
        }
    }

    fn renewable(&self, lifetime: TimeDelta) -> Expiration {
        // The operator sets the lifetime. It may reach beyond the last date that can be represented. The key then
        // expires on that date, which in effect means never.
        let at = self.now().checked_add_signed(lifetime).unwrap_or(NaiveDateTime::MAX);
        Expiration { at, is_renewable: true }
    }
}
