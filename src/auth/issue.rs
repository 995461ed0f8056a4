//! Issues keys. Each device of a user has at most one lasting key, which never expires. A login without a requested
//! expiry returns the device's lasting key. The number of a user's keys is limited ([`KeyLimits`]).

use std::error::Error;

use chrono::{NaiveDateTime, TimeDelta};

use super::Auth;
use super::audit::{self, Event};
use crate::error::{
    BadExpiry, IssueError, KeyError, Lifetime, LoginError, RenewError, Result, ServiceError, TooManyKeys,
};
use crate::model::{Caller, Expiration, KeyKind, Name, RequestContext, RequestedExpiry, Scope};
use crate::secret::key::Key;
use crate::secret::seal::SecretId;
use crate::settings::KeyLimits;
use crate::store::{Credential, StoredKey, Transaction};

/// The shortest time from now to a requested expiry. It is meant to be a minute, but the request may have taken three
/// seconds to arrive.
const MIN_LIFETIME: TimeDelta = TimeDelta::seconds(57);

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
    /// The device of an expiring key that was revoked to make room for this one.
    pub replaced: Option<String>,
}

impl Auth {
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
        self.issue_key_after(caller, device, expiration, |_, _| Ok(Vec::new()))
    }

    /// Issues a key. The same transaction first checks that the caller's key is still valid and then runs `revoke`,
    /// which returns the devices whose keys it has revoked. If there are any, the new key takes their place, so the
    /// limit of the user's keys does not apply.
    fn issue_key_after<E: From<TooManyKeys> + From<KeyError> + From<ServiceError> + Error + 'static>(
        &self,
        caller: &Caller,
        device: &Name,
        expiration: Option<Expiration>,
        revoke: impl Fn(&mut Transaction, &Credential) -> Result<Vec<String>>,
    ) -> Result<IssuedKey, E> {
        let holder = &caller.holder;
        let (revoked, device_key) = self.store.write(|tx| -> Result<_, E> {
            let credential = tx.lock_credential(holder.user_id)?.filter(|now| !now.is_disabled);
            let credential = credential.ok_or_else(|| self.reject_revoked(caller))?;
            let is_valid = tx.lock_key_holder(holder, self.now())?.is_some();
            is_valid.then_some(()).ok_or_else(|| self.reject_revoked(caller))?;
            let revoked = revoke(tx, &credential)?;
            let device_key = if revoked.is_empty() {
                self.find_or_issue_key::<E>(tx, &credential, device, expiration)?
            } else {
                self.insert_key(tx, &credential, device, &Scope::Full, expiration)?
            };
            Ok((revoked, device_key))
        })?;
        if !revoked.is_empty() {
            self.key_cache.invalidate_user(holder.user_id);
        }
        for device in &revoked {
            self.audit.log(Event::KeyRevoked, &holder.user, device, caller);
        }
        let own_device = Name::parse(&holder.device).ok();
        if !device_key.is_new && own_device.is_none_or(|own| own.normalized() != device.normalized()) {
            self.audit.log(Event::KeyShown, &holder.user, device.as_typed(), caller);
        }
        Ok(IssuedKey {
            key: self.finish_issue(device_key, holder.user_id, &holder.user, device, caller),
            user_id: holder.user_id,
            user: holder.user.clone(),
            device: device.clone(),
            expires_at: expiration.map(|expiration| expiration.at),
        })
    }

    /// Issues a key for `device` that expires after `lifetime`, and returns the new key with its expiry. `key` is the
    /// key that the caller has presented. It stays valid until its own expiry.
    ///
    /// Returns `key` itself, and issues none, if more than three quarters of `lifetime` remain until `key` expires.
    /// Also returns `key` itself if it has an expiry and is not renewable, because no new key may outlive it.
    pub fn renew_key(
        &self,
        caller: &Caller,
        key: Key,
        device: &Name,
        lifetime: TimeDelta,
    ) -> Result<(Key, NaiveDateTime), RenewError> {
        if let Some(expiration) = caller.holder.expiration
            && (!expiration.is_renewable || (expiration.at - self.now()) * 4 > lifetime * 3)
        {
            return Ok((key, expiration.at));
        }
        let expiration = self.renewable(lifetime);
        let issued = self.issue_key_after::<RenewError>(caller, device, Some(expiration), |_, _| Ok(Vec::new()))?;
        Ok((issued.key, expiration.at))
    }

    /// Issues a lasting key for a device of the caller. Revokes the presented key and all earlier keys of the device.
    /// Fails if the presented key has an expiry, because the new key would have none.
    pub fn replace_key(&self, caller: &Caller, device: &Name) -> Result<IssuedKey, IssueError> {
        let holder = &caller.holder;
        if holder.expiration.is_some() {
            return Err(IssueError::WouldNeverExpire);
        }
        self.issue_key_after(caller, device, None, |tx, credential| {
            let presented = tx.delete_key_by_id(holder.key_id)?.map(|owner| owner.device);
            let others = tx.delete_keys_of_device(credential, device, self.now())?;
            let others = (others > 0).then(|| device.as_typed().to_owned());
            Ok(presented.into_iter().chain(others).collect())
        })
    }

    /// Returns a key for the device after the password check. With an `expiration`, the key is new. Otherwise it is the
    /// device's lasting key, which is created if there is none. Fails if the password has changed or the user has been
    /// disabled or deleted since `credential` was read.
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
        let device_key = self.store.write(|tx| -> Result<_, LoginError> {
            let current = tx.lock_credential(user_id)?.filter(|now| !now.is_disabled);
            let current = current.filter(|now| now.password_version == credential.password_version);
            let current = current.filter(|now| now.created_at == credential.created_at);
            let current = current.ok_or(LoginError::WrongCredentials)?;
            self.find_or_issue_key(tx, &current, device, expiration)
        })?;
        Ok(self.finish_issue(device_key, user_id, &credential.name, device, context))
    }

    /// Returns the device's lasting key. Issues a new key if there is none or if `expiration` is given. If the user
    /// has the maximum number of keys, a new expiring key replaces the expiring key that expires first. Fails if there
    /// is no such key or if the new key would be a lasting key. `credential` must be locked: when a new device logs in
    /// twice at once, the second login must find the key of the first.
    pub(super) fn find_or_issue_key<E: From<TooManyKeys> + From<ServiceError>>(
        &self,
        tx: &mut Transaction,
        credential: &Credential,
        device: &Name,
        expiration: Option<Expiration>,
    ) -> Result<DeviceKey, E> {
        let user_id = credential.user_id;
        if expiration.is_none()
            && let Some(sealed) = tx.sealed_key(credential, device)?
        {
            if let Some(key) = self.sealer.open(&sealed, user_id, device.normalized()) {
                return Ok(DeviceKey {
                    key,
                    is_new: false,
                    replaced: None,
                });
            }
            let secret = sealed.secret.as_ref().map_or("of unknown id", SecretId::as_str);
            log::warn!(
                "the key of a device of user {user_id} was sealed with another secret ({secret}); the old key stays \
                 valid, and the device gets a new key. Make sure that SHOKO_AUTH_SECRET_KEY contains this secret on all \
                 nodes."
            );
            tx.delete_sealed_key(credential, device)?;
            // A known device can always log in.
            return Ok(self.insert_key(tx, credential, device, &Scope::Full, expiration)?);
        }
        let replaced = self.make_room::<E>(tx, credential, expiration)?;
        let issued = self.insert_key(tx, credential, device, &Scope::Full, expiration)?;
        Ok(DeviceKey { replaced, ..issued })
    }

    /// Makes room for a key that expires at `expiration`. If the user has the maximum number of keys, revokes the
    /// expiring key that expires first and returns its device. Fails if there is no such key or if the new key would be
    /// a lasting key.
    pub(super) fn make_room<E: From<TooManyKeys> + From<ServiceError>>(
        &self,
        tx: &mut Transaction,
        credential: &Credential,
        expiration: Option<Expiration>,
    ) -> Result<Option<String>, E> {
        let max = self.key_limits.max_per_user;
        if tx.count_keys(credential, self.now())? < max {
            return Ok(None);
        }
        if expiration.is_none() {
            return Err(TooManyKeys { max }.into());
        }
        match tx.delete_first_key_to_expire(credential, self.now())? {
            Some(owner) => Ok(Some(owner.device)),
            // Another transaction may have just revoked that key, because revoking one key does not lock the user.
            None if tx.count_keys(credential, self.now())? < max => Ok(None),
            None => Err(TooManyKeys { max }.into()),
        }
    }

    /// Issues a new key, whatever the number of the user's keys.
    pub(super) fn insert_key(
        &self,
        tx: &mut Transaction,
        credential: &Credential,
        device: &Name,
        scope: &Scope,
        expiration: Option<Expiration>,
    ) -> Result<DeviceKey> {
        let user_id = credential.user_id;
        let key = match scope {
            Scope::Full => Key::generate()?,
            Scope::Gateway(_) => Key::generate_for_gateway()?,
        };
        // Logins return the key that is sealed, so only a lasting full key may be.
        let sealed = match (scope, expiration) {
            (Scope::Full, None) => Some(self.sealer.seal(&key, user_id, device.normalized())?),
            _ => None,
        };
        let stored = StoredKey {
            user_id,
            epoch: credential.key_epoch,
            device,
            kind: KeyKind::Device(scope.clone()),
            gateway_hash: None,
            hash: key.hash(),
            sealed,
            expiration,
        };
        tx.insert_key(&stored, self.now())?;
        Ok(DeviceKey {
            key,
            is_new: true,
            replaced: None,
        })
    }

    /// Returns the key. If it is new, logs that it was issued. If it has replaced another key, removes that key from
    /// the cache and logs its revocation. Call this method after the transaction has been committed.
    pub(super) fn finish_issue<'a>(
        &self,
        issued: DeviceKey,
        user_id: i32,
        user: &str,
        device: &Name,
        source: impl Into<audit::Source<'a>>,
    ) -> Key {
        let source = source.into();
        if let Some(replaced) = &issued.replaced {
            self.key_cache.invalidate_user(user_id);
            self.audit.log(Event::KeyRevoked, user, replaced, source);
        }
        if issued.is_new {
            self.audit.log(Event::KeyIssued, user, device.as_typed(), source);
        }
        issued.key
    }

    /// Converts a requested expiry to an expiration, or to `None` if the key is to never expire. Fails if a requested
    /// time is invalid, less than `MIN_LIFETIME` ahead or further ahead than the setting allows.
    pub(super) fn resolve(&self, expiry: RequestedExpiry) -> Result<Option<Expiration>, BadExpiry> {
        match expiry {
            RequestedExpiry::Never => Ok(None),
            RequestedExpiry::Renewable(lifetime) => Ok(Some(self.renewable(lifetime))),
            RequestedExpiry::At(at) if at < self.now() + MIN_LIFETIME => Err(BadExpiry::Invalid),
            RequestedExpiry::At(at) => {
                let KeyLimits { max_lifetime, .. } = self.key_limits;
                // The difference is positive.
                let ahead = (at - self.now()).to_std().unwrap_or_default();
                if ahead > max_lifetime {
                    let max = Lifetime(max_lifetime);
                    return Err(BadExpiry::TooLate { max });
                }
                Ok(Some(Expiration {
                    at,
                    is_renewable: false,
                }))
            }
            RequestedExpiry::Invalid => Err(BadExpiry::Invalid),
        }
    }

    fn renewable(&self, lifetime: TimeDelta) -> Expiration {
        // The operator sets the lifetime. It may reach beyond the last date that can be represented. The key then
        // expires on that date, which in effect means never.
        let at = self.now().checked_add_signed(lifetime).unwrap_or(NaiveDateTime::MAX);
        Expiration { at, is_renewable: true }
    }
}
