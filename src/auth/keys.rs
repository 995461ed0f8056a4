//! Lists and revokes keys.

use super::Auth;
use super::audit::{self, Event};
use super::permission::Permission;
use crate::error::{ManageError, Result};
use crate::model::{Actor, Caller, KeyInfo, Name, RequestContext, UserRef};
use crate::secret::key::{Key, KeyHash};
use crate::store::{KeyOwner, Transaction};

/// The keys to list.
#[derive(Clone, Debug)]
pub enum KeyFilter {
    /// All keys if the actor is the operator or an administrator, otherwise the keys of the caller.
    All,
    User(UserRef),
}

/// The keys to revoke.
#[derive(Clone, Debug)]
pub enum KeySelection {
    Id(i64),
    /// All keys of a user, or of one of the user's devices.
    User {
        user: UserRef,
        device: Option<Name>,
    },
}

impl Auth {
    /// Returns information about the keys that have not expired. It does not contain the keys themselves.
    pub fn keys(&self, actor: Actor<'_>, filter: &KeyFilter) -> Result<Vec<KeyInfo>, ManageError> {
        let user = match (filter, actor) {
            (KeyFilter::User(user), _) => Some(user.clone()),
            (KeyFilter::All, Actor::Caller(caller)) if !caller.holder.is_admin => {
                Some(UserRef::Id(caller.holder.user_id))
            }
            (KeyFilter::All, _) => None,
        };
        if let Some(user) = &user {
            self.may_change(actor, user)?;
        }
        self.store.read(|db| -> Result<_, ManageError> {
            let user_id = match &user {
                None => None,
                Some(UserRef::Id(user_id)) => Some(*user_id),
                Some(user) => Some(db.find_user(user)?.ok_or(ManageError::UnknownUser)?.id),
            };
            Ok(db.keys(user_id, self.now())?)
        })
    }

    /// Deletes a batch of keys that are no longer valid: expired keys, and keys that were revoked with all keys of
    /// their user. Returns how many rows it has deleted, or 0 if no such key is left. These keys are invalid even
    /// before they are deleted.
    pub fn sweep_keys(&self) -> Result<usize> {
        match self.store.write(Transaction::sweep_revoked_keys)? {
            0 => self
                .store
                .write(|tx| tx.sweep_expired_keys(self.clock.certainly_past())),
            deleted => Ok(deleted),
        }
    }

    /// Revokes the key `text`. Knowing a key is sufficient proof of the right to revoke it. `caller` is the holder of
    /// the key that the request presents, if any, for the audit log.
    pub fn revoke_key(&self, caller: Option<&Caller>, text: &str, context: &RequestContext) -> Result<(), ManageError> {
        let hash = Key::parse(text).ok_or(ManageError::UnknownKey)?.hash();
        let revoked = if self.is_stored(&hash)? {
            self.store.write(|tx| tx.delete_key(&hash))?
        } else {
            None
        };
        // Invalidate even an unknown key: another process may have just revoked it while it is still in this node's
        // cache. Once this call has reported the key as unknown, the key must not work here.
        self.key_cache.invalidate_key(&hash);
        self.finish_revocation(&revoked.ok_or(ManageError::UnknownKey)?, source(caller, context));
        Ok(())
    }

    /// Revokes the key `text`. If there is no such key, revokes all keys of the caller's device with the name `text`.
    pub fn revoke_key_or_device(
        &self,
        caller: Option<&Caller>,
        text: &str,
        context: &RequestContext,
    ) -> Result<(), ManageError> {
        let key = Key::parse(text);
        let device = caller.and(Name::parse(text).ok());
        let is_known = match &key {
            Some(key) => self.is_stored(&key.hash())?,
            None => false,
        };
        if !is_known && device.is_none() {
            key.inspect(|key| self.key_cache.invalidate_key(&key.hash()));
            return Err(ManageError::UnknownKey);
        }
        let revoked = self.store.write(|tx| {
            if let Some(key) = &key
                && let Some(owner) = tx.delete_key(&key.hash())?
            {
                return Ok(owner);
            }
            if let (Some(caller), Some(device)) = (caller, &device) {
                let holder = &caller.holder;
                // If a login is issuing a key for this device, the lock waits for it, so that the new key is revoked
                // too.
                let user = tx.lock_credential(holder.user_id)?;
                let valid = tx.lock_key_holder(holder, self.now())?.and(user);
                if let Some(user) = valid
                    && tx.delete_keys_of_device(&user, device, self.now())? > 0
                {
                    return Ok(KeyOwner {
                        user_id: holder.user_id,
                        user: holder.user.clone(),
                        device: device.as_typed().to_owned(),
                    });
                }
            }
            Err(ManageError::UnknownKey)
        });
        if let Some(key) = &key {
            self.key_cache.invalidate_key(&key.hash());
        }
        self.finish_revocation(&revoked?, source(caller, context));
        Ok(())
    }

    /// Returns whether the database has a key with this hash. Call it before a write, so that requests with guessed
    /// keys do not take SQLite's only write lock.
    fn is_stored(&self, hash: &KeyHash) -> Result<bool> {
        Ok(!self.store.read(|db| db.owners_of_keys(&[*hash]))?.is_empty())
    }

    /// Revokes the key that the caller has presented. Also succeeds if the key has been revoked already.
    pub fn revoke_own_key(&self, caller: &Caller) -> Result<()> {
        let revoked = self.store.write(|tx| tx.delete_key_by_id(caller.holder.key_id))?;
        self.key_cache.invalidate_user(caller.holder.user_id);
        if let Some(owner) = revoked {
            self.finish_revocation(&owner, caller);
        }
        Ok(())
    }

    /// Revokes the selected keys and returns how many there were. Fails if the selection matches no key.
    pub fn revoke_keys(&self, actor: Actor<'_>, selection: &KeySelection) -> Result<usize, ManageError> {
        let (owner, revoked) = self.store.write(|tx| {
            let (owner, revoked) = match selection {
                KeySelection::Id(key_id) => {
                    let owner = tx.owner_of_key(*key_id)?.ok_or(ManageError::UnknownKey)?;
                    self.authorize(tx, actor, Permission::ChangeUser(owner.user_id))?;
                    (owner, usize::from(tx.delete_key_by_id(*key_id)?.is_some()))
                }
                KeySelection::User { user, device } => {
                    // Lock the table before the row, because revoking all keys changes the row. In the other order,
                    // this transaction could deadlock with one that has locked the table and waits for the row.
                    tx.lock_users()?;
                    let user = tx.find_user(user)?.ok_or(ManageError::UnknownUser)?;
                    // If a login is issuing a key, the lock waits for it, so that the new key is revoked too.
                    let user = tx.lock_credential(user.id)?.ok_or(ManageError::UnknownUser)?;
                    self.authorize(tx, actor, Permission::ChangeUser(user.user_id))?;
                    let revoked = if let Some(device) = device {
                        tx.delete_keys_of_device(&user, device, self.now())?
                    } else {
                        let revoked = tx.count_keys(&user, self.now())? + tx.count_sessions(&user, self.now())?;
                        tx.revoke_keys_of_user(user.user_id)?;
                        revoked
                    };
                    let device = device.as_ref().map_or("", Name::as_typed).to_owned();
                    let (user_id, user) = (user.user_id, user.name);
                    (KeyOwner { user_id, user, device }, revoked)
                }
            };
            if revoked == 0 {
                return Err(ManageError::UnknownKey);
            }
            Ok((owner, revoked))
        })?;
        self.finish_revocation(&owner, actor);
        Ok(revoked)
    }

    fn finish_revocation<'a>(&self, owner: &KeyOwner, source: impl Into<audit::Source<'a>>) {
        self.key_cache.invalidate_user(owner.user_id);
        self.audit.log(Event::KeyRevoked, &owner.user, &owner.device, source);
    }
}

/// Returns the source of an event that a request has caused, with or without a valid key.
fn source<'a>(caller: Option<&'a Caller>, context: &'a RequestContext) -> audit::Source<'a> {
    caller.map_or_else(|| context.into(), audit::Source::from)
}
