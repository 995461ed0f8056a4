//! Permissions: checks whether an actor may perform an operation.

use super::Auth;
use crate::error::{ManageError, Result};
use crate::model::{Actor, Caller, UserRef};
use crate::store::Transaction;

/// An operation that not every actor may perform.
#[derive(Clone, Copy, Debug)]
pub(super) enum Permission {
    /// To create, change and delete any user, or to change the settings that all users share.
    Administer,
    /// To change this user or revoke their keys. Administrators may do this for every user, other users only for
    /// themselves.
    ChangeUser(i32),
}

/// The grounds on which a permission was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    OwnUser,
    Administrator,
}

impl Auth {
    /// Checks that `actor` still has `permission`, because keys and rights may have changed since the request was
    /// authenticated. The actor's key then cannot be revoked until the transaction ends, so a revocation either
    /// prevents the operation or waits for it. To keep the actor's rights from changing too, call
    /// [`Transaction::lock_users`] first.
    pub(super) fn authorize(
        &self,
        tx: &mut Transaction,
        actor: Actor<'_>,
        permission: Permission,
    ) -> Result<Authority, ManageError> {
        let Actor::Caller(caller) = actor else {
            return Ok(Authority::Administrator);
        };
        let holder = tx
            .lock_key_holder(&caller.holder, self.now())?
            .ok_or_else(|| self.reject_revoked(caller))?;
        let is_own = matches!(permission, Permission::ChangeUser(user_id) if user_id == holder.user_id);
        match permission {
            // A session may be stolen or left open, so a change to others needs the password in the same request.
            _ if holder.is_admin && !is_own && holder.is_session() && !caller.has_password => {
                Err(self.deny(caller, ManageError::PasswordRequired))
            }
            _ if holder.is_admin => Ok(Authority::Administrator),
            Permission::ChangeUser(user_id) if user_id == holder.user_id => Ok(Authority::OwnUser),
            Permission::ChangeUser(_) | Permission::Administer => Err(self.deny(caller, ManageError::Forbidden)),
        }
    }

    /// Rejects early what [`Self::authorize`] would forbid, judging only by the authenticated caller and without
    /// looking up `user`. A rejection therefore costs no hash and does not reveal which users exist. A caller who is
    /// not an administrator passes only if `user` is their own id; their own name is rejected too.
    pub(super) fn may_change(&self, actor: Actor<'_>, user: &UserRef) -> Result<(), ManageError> {
        match actor {
            Actor::Caller(caller) if *user != UserRef::Id(caller.holder.user_id) => self.require_admin(caller),
            Actor::Operator | Actor::Caller(_) => Ok(()),
        }
    }

    /// Fails if the caller is not an administrator.
    pub fn require_admin(&self, caller: &Caller) -> Result<(), ManageError> {
        if caller.holder.is_admin {
            Ok(())
        } else {
            Err(self.deny(caller, ManageError::Forbidden))
        }
    }

    /// Fails if the actor's key expires. The holder of such a key must not gain lasting access with it, be it by
    /// a new password, a new user or new rights. A session expires too, but the current password in the same request
    /// makes up for that.
    pub(super) fn require_lasting_key(&self, actor: Actor<'_>) -> Result<(), ManageError> {
        match actor {
            Actor::Caller(caller) if caller.holder.is_session() => {
                if caller.has_password {
                    Ok(())
                } else {
                    Err(self.deny(caller, ManageError::PasswordRequired))
                }
            }
            Actor::Caller(caller) if caller.holder.expiration.is_some() => {
                Err(self.deny(caller, ManageError::ExpiringKey))
            }
            Actor::Operator | Actor::Caller(_) => Ok(()),
        }
    }

    /// Logs that an operation was denied to the caller, and returns the reason.
    pub(super) fn deny(&self, caller: &Caller, reason: ManageError) -> ManageError {
        self.log_denied_access(caller);
        reason
    }
}
