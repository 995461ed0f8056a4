//! Keys for the pages and the API of the account: lists by pages, new keys, and keys of one user.

use super::Auth;
use super::audit::Event;
use super::permission::Permission;
use crate::error::{KeyError, ManageError, NewKeyError, Result};
use crate::model::{Actor, Caller, KeyInfo, Name, RequestedExpiry, Scope, UserRef};
use crate::secret::key::Key;
use crate::store::Page;

/// A key to issue.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub device: Name,
    pub scope: Scope,
    pub expiry: RequestedExpiry,
}

impl Auth {
    /// Returns a page of a user's unexpired keys and sessions, and the number of all. The key of the caller is the first.
    /// Users see only their own keys, administrators those of every user.
    pub fn keys_page(&self, caller: &Caller, user_id: i32, page: Page) -> Result<(Vec<KeyInfo>, usize), ManageError> {
        self.may_change(caller.into(), &UserRef::Id(user_id))?;
        self.store.read(|db| -> Result<_, ManageError> {
            db.user_entry(user_id)?.ok_or(ManageError::UnknownUser)?;
            Ok(db.keys_page(user_id, caller.holder.key_id, page, self.now())?)
        })
    }

    /// Issues a key for a device of the caller. In contrast to a login, never returns an existing key: fails if the new
    /// key would be the device's second lasting full key. A key that expires later than the caller's session, or never,
    /// requires the current password.
    pub fn issue_new_key(&self, caller: &Caller, new: &NewKey) -> Result<(Key, KeyInfo), NewKeyError> {
        let holder = &caller.holder;
        let expiration = self.resolve(new.expiry)?;
        let outlives = holder
            .expiration
            .is_some_and(|own| expiration.is_none_or(|wanted| wanted.at > own.at));
        match (outlives, holder.is_session()) {
            (true, true) if !caller.has_password => return Err(NewKeyError::PasswordRequired),
            (true, false) => return Err(NewKeyError::WouldOutliveCaller),
            _ => {}
        }
        let (issued, info) = self.store.write(|tx| -> Result<_, NewKeyError> {
            let credential = tx.lock_credential(holder.user_id)?.filter(|now| !now.is_disabled);
            let credential = credential.ok_or_else(|| self.reject_revoked(caller))?;
            let is_valid = tx.lock_key_holder(holder, self.now())?.is_some();
            is_valid.then_some(()).ok_or_else(|| self.reject_revoked(caller))?;
            let is_lasting = new.scope == Scope::Full && expiration.is_none();
            if is_lasting && tx.has_lasting_key(&credential, &new.device)? {
                return Err(NewKeyError::DeviceHasKey);
            }
            let replaced = self.make_room::<NewKeyError>(tx, &credential, expiration)?;
            let mut issued = self.insert_key(tx, &credential, &new.device, &new.scope, expiration)?;
            issued.replaced = replaced;
            let id = tx.key_id(&issued.key.hash())?.ok_or(KeyError::Invalid)?;
            let info = tx.key_info(id)?.ok_or(KeyError::Invalid)?;
            Ok((issued, info))
        })?;
        let key = self.finish_issue(issued, holder.user_id, &holder.user, &new.device, caller);
        Ok((key, info))
    }

    /// Revokes one key or session of a user. Users may do this for their own keys, administrators for those of every
    /// user.
    pub fn revoke_key_of_user(&self, actor: Actor<'_>, user_id: i32, key_id: i64) -> Result<(), ManageError> {
        self.may_change(actor, &UserRef::Id(user_id))?;
        let revoked = self.store.write(|tx| -> Result<_, ManageError> {
            self.authorize(tx, actor, Permission::ChangeUser(user_id))?;
            tx.delete_key_of_user(user_id, key_id)?.ok_or(ManageError::UnknownKey)
        });
        // Invalidate the keys even if the key is unknown: another process may have just revoked it.
        self.key_cache.invalidate_user(user_id);
        let owner = revoked?;
        self.audit.log(Event::KeyRevoked, &owner.user, &owner.device, actor);
        Ok(())
    }

    /// Revokes all keys and sessions of the caller's user except the one that the caller has presented.
    pub fn revoke_other_keys(&self, caller: &Caller) -> Result<(), ManageError> {
        let user_id = caller.holder.user_id;
        self.store.write(|tx| -> Result<_, ManageError> {
            // Lock the table before the row, as `revoke_keys` does.
            tx.lock_users()?;
            let user = tx.lock_credential(user_id)?.ok_or(ManageError::UnknownUser)?;
            self.authorize(tx, Actor::Caller(caller), Permission::ChangeUser(user_id))?;
            Ok(tx.revoke_other_keys(&user, caller.holder.key_id)?)
        })?;
        self.key_cache.invalidate_user(user_id);
        self.audit.log(Event::KeyRevoked, &caller.holder.user, "", caller);
        Ok(())
    }
}
