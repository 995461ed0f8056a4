//! Creates, changes and deletes users, and sets passwords.

use std::time::Duration;

use chrono::NaiveDateTime;

use super::Auth;
use super::audit::{self, Event};
use super::hashing::Client;
use super::permission::{Authority, Permission};
use crate::error::{KeyError, ManageError, Result, ServiceError};
use crate::model::{
    Actor, Attribute, Caller, NewUser, ProfileChange, SecretText, User, UserChange, UserRef, UserSummary, name_digest,
};
use crate::secret::generated::readable_password;
use crate::settings::FirstAdmin;
use crate::store::{Reader, Transaction};

/// How often [`Auth::change_user`] prepares a change before it gives up because the user has changed each time.
const MAX_CHANGE_RUNS: usize = 3;
/// How long a client should wait before it retries a change that other changes have prevented.
const CHANGE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The effect of a password change on the user's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysAfterChange {
    Revoked,
    /// Used by only one route, as in Shoko's API, and only if the request asks for it.
    Kept,
}

/// The administrator that the first start created.
#[derive(Debug)]
pub struct CreatedAdmin {
    pub user: User,
    /// The generated password, or `None` if a password was configured. Show it to the operator now, because only its
    /// hash is stored.
    pub generated_password: Option<SecretText>,
}

impl Auth {
    /// Runs the migrations and creates an administrator if there is none. Both happen under the migration lock, so if
    /// several nodes start at once, only one of them creates the administrator.
    pub fn create_first_admin(&self, wanted: &FirstAdmin) -> Result<Option<CreatedAdmin>, ManageError> {
        let created = self.store.migrate(|tx| -> Result<_, ManageError> {
            if tx.has_admin()? {
                return Ok(None);
            }
            let name = wanted.name.clone();
            let (password, generated_password) = if let Some(given) = &wanted.password {
                self.passwords.check_new(given.expose(), name.as_typed())?;
                (given.clone(), None)
            } else {
                let generated = readable_password()?;
                (generated.clone(), Some(generated))
            };
            let hash = self.passwords.hash(password.expose())?;
            let admin = NewUser {
                name,
                email: None,
                is_admin: true,
                profile: ProfileChange::default(),
            };
            let user = insert_user(tx, &admin, &hash, self.now())?;
            tx.mark_automatic(user.id)?;
            Ok(Some(CreatedAdmin {
                user,
                generated_password,
            }))
        })?;
        if let Some(created) = &created {
            log_created(&created.user, Actor::Operator);
        }
        Ok(created)
    }

    pub fn create_user(&self, actor: Actor<'_>, user: &NewUser, password: &str) -> Result<User, ManageError> {
        self.require_lasting_key(actor)?;
        self.passwords.check_new(password, user.name.as_typed())?;
        let hash = self.hash(password, Client::of_actor(actor), &actor.context())?;
        let created = self.store.write(|tx| {
            // The lock comes before the permission check, so that the permission cannot be revoked between the check
            // and the change.
            tx.lock_users()?;
            self.authorize(tx, actor, Permission::Administer)?;
            insert_user(tx, user, &hash, self.now())
        })?;
        log_created(&created, actor);
        Ok(created)
    }

    /// Returns the users that are not disabled, by id.
    pub fn user_summaries(&self) -> Result<Vec<UserSummary>> {
        self.store.read(Reader::user_summaries)
    }

    /// Returns all users, by id.
    pub fn users(&self) -> Result<Vec<User>> {
        self.store.read(Reader::users)
    }

    pub fn own_user(&self, caller: &Caller) -> Result<User, KeyError> {
        self.store
            .read(|db| db.user(caller.holder.user_id))?
            .ok_or_else(|| self.reject_revoked(caller))
    }

    pub fn user(&self, user: &UserRef) -> Result<User, ManageError> {
        self.store
            .read(|db| db.find_user(user))?
            .ok_or(ManageError::UnknownUser)
    }

    /// Changes a user. `change` receives the stored user and returns the changes to make, or a reason to make none. It
    /// runs outside the transaction, so its work does not delay others. If the user changes in the meantime, it runs
    /// again. Fails with [`ServiceError::Busy`] if the user has changed each time.
    pub fn change_user<R>(
        &self,
        actor: Actor<'_>,
        user_id: i32,
        change: impl Fn(&User) -> Result<UserChange, R>,
    ) -> Result<Result<User, R>, ManageError> {
        self.may_change(actor, &UserRef::Id(user_id))?;
        for _ in 0..MAX_CHANGE_RUNS {
            let before = self.user(&UserRef::Id(user_id))?;
            let change = match change(&before) {
                Ok(change) => change,
                Err(reason) => return Ok(Err(reason)),
            };
            if let Some(after) = self.write_change_if_unchanged(actor, &before, &change)? {
                self.key_cache.invalidate_user(user_id);
                log_changed(&before, &after, actor);
                return Ok(Ok(after));
            }
        }
        let retry_after = CHANGE_RETRY_AFTER;
        Err(ServiceError::Busy { retry_after }.into())
    }

    /// Changes a user and returns the changed user. Changes nothing and returns `None` if the stored user differs from
    /// `before`.
    fn write_change_if_unchanged(
        &self,
        actor: Actor<'_>,
        before: &User,
        change: &UserChange,
    ) -> Result<Option<User>, ManageError> {
        self.store.write(|tx| {
            tx.lock_users()?;
            let authority = self.authorize(tx, actor, Permission::ChangeUser(before.id))?;
            let user = tx.user(before.id)?.ok_or(ManageError::UnknownUser)?;
            if user != *before {
                return Ok(None);
            }
            if authority == Authority::OwnUser {
                reject_admin_only_changes(before, change)?;
            }
            if changes_name(before, change) || changes_rights(before, change) {
                self.require_lasting_key(actor)?;
            }
            apply(tx, before, change).map(Some)
        })
    }

    /// Changes a user's password. With [`KeysAfterChange::Revoked`], revokes all keys of the user. If the user is the
    /// caller, this includes the presented key.
    pub fn change_password(
        &self,
        actor: Actor<'_>,
        user: &UserRef,
        password: &str,
        keys: KeysAfterChange,
    ) -> Result<(), ManageError> {
        self.may_change(actor, user)?;
        self.require_lasting_key(actor)?;
        let user = self.user(user)?;
        let _change = match actor {
            Actor::Operator => None,
            Actor::Caller(caller) => Some(self.password_changes.begin(caller.holder.user_id)?),
        };
        self.passwords.check_new(password, &user.name)?;
        let hash = self.hash(password, Client::of_actor(actor), &actor.context())?;
        self.store.write(|tx| {
            // This transaction locks the rows of two users if an administrator changes another user's password. Without
            // the lock, two administrators who change each other's passwords could deadlock.
            tx.lock_users()?;
            // The update comes before the check, because it locks the user's row. A login that issues a key therefore
            // does so entirely before or entirely after this change.
            if !tx.set_password(user.id, &hash)? {
                return Err(ManageError::UnknownUser);
            }
            // Check here, because the caller's key or rights may have been revoked during the hashing.
            self.authorize(tx, actor, Permission::ChangeUser(user.id))?;
            match keys {
                KeysAfterChange::Revoked => tx.revoke_keys_of_user(user.id)?,
                KeysAfterChange::Kept => {}
            }
            Ok(())
        })?;
        self.key_cache.invalidate_user(user.id);
        audit::log(Event::PasswordChanged, &user.name, "", actor);
        Ok(())
    }

    /// Disables or enables a user. While a user is disabled, they cannot log in, and none of their keys works.
    pub fn set_disabled(&self, actor: Actor<'_>, user: &UserRef, is_disabled: bool) -> Result<(), ManageError> {
        let event = if is_disabled {
            Event::UserDisabled
        } else {
            Event::UserEnabled
        };
        self.require_lasting_key(actor)?;
        self.administer_user(actor, event, user, |tx, user| {
            if is_disabled {
                keep_an_admin(tx, user)?;
            }
            Ok(tx.set_disabled(user.id, is_disabled)?)
        })
    }

    /// Grants or revokes administrator rights.
    pub fn set_admin(&self, actor: Actor<'_>, user: &UserRef, is_admin: bool) -> Result<(), ManageError> {
        let event = if is_admin {
            Event::AdminGranted
        } else {
            Event::AdminRevoked
        };
        self.require_lasting_key(actor)?;
        self.administer_user(actor, event, user, |tx, user| {
            if !is_admin {
                keep_an_admin(tx, user)?;
            }
            Ok(tx.set_admin(user.id, is_admin)?)
        })
    }

    /// Deletes a user and all of their keys.
    pub fn delete_user(&self, actor: Actor<'_>, user: &UserRef) -> Result<(), ManageError> {
        self.administer_user(actor, Event::UserDeleted, user, |tx, user| {
            keep_an_admin(tx, user)?;
            Ok(tx.delete_user(user.id)?)
        })
    }

    /// Clears the failed logins of a user's account, so that the account no longer has to wait.
    pub fn unlock(&self, actor: Actor<'_>, user: &UserRef) -> Result<(), ManageError> {
        self.administer_user(actor, Event::UserUnlocked, user, |tx, user| {
            Ok(tx.delete_failures_of(&name_digest(&user.name))?)
        })
    }

    /// Runs `change` in a transaction that prevents other transactions from changing users. Requires administrator
    /// rights. Logs `event`.
    pub(super) fn administer_user(
        &self,
        actor: Actor<'_>,
        event: Event,
        user: &UserRef,
        change: impl Fn(&mut Transaction, &User) -> Result<(), ManageError>,
    ) -> Result<(), ManageError> {
        let changed = self.store.write(|tx| -> Result<_, ManageError> {
            tx.lock_users()?;
            self.authorize(tx, actor, Permission::Administer)?;
            let user = tx.find_user(user)?.ok_or(ManageError::UnknownUser)?;
            change(tx, &user)?;
            Ok(user)
        });
        // Invalidate the keys even if the user is unknown: another process may have just deleted the user while their
        // keys are still in this node's cache. Once this call has reported the user as unknown, the keys must not work
        // here.
        if let UserRef::Id(user_id) = user {
            self.key_cache.invalidate_user(*user_id);
        }
        let changed = changed?;
        self.key_cache.invalidate_user(changed.id);
        audit::log(event, &changed.name, "", actor);
        Ok(())
    }
}

pub(super) fn log_changed(before: &User, after: &User, actor: Actor<'_>) {
    if before.name != after.name {
        audit::log_renamed(&before.name, &after.name, actor);
    }
    match (before.is_admin, after.is_admin) {
        (false, true) => audit::log(Event::AdminGranted, &after.name, "", actor),
        (true, false) => audit::log(Event::AdminRevoked, &after.name, "", actor),
        _ => {}
    }
}

pub(super) fn log_created(user: &User, actor: Actor<'_>) {
    audit::log(Event::UserCreated, &user.name, "", actor);
    if user.is_admin {
        audit::log(Event::AdminGranted, &user.name, "", actor);
    }
}

fn apply(tx: &mut Transaction, user: &User, change: &UserChange) -> Result<User, ManageError> {
    if let Some(name) = &change.name {
        if tx.is_name_taken(name, Some(user.id))? {
            return Err(ManageError::NameTaken);
        }
        tx.rename_user(user.id, name)?;
    }
    if let Some(is_admin) = change.is_admin {
        if !is_admin {
            keep_an_admin(tx, user)?;
        }
        tx.set_admin(user.id, is_admin)?;
    }
    tx.change_profile(user.id, &change.profile)?;
    tx.user(user.id)?.ok_or(ManageError::UnknownUser)
}

fn changes_name(user: &User, change: &UserChange) -> bool {
    change.name.as_ref().is_some_and(|name| name.as_typed() != user.name)
}

fn changes_rights(user: &User, change: &UserChange) -> bool {
    change.is_admin.is_some_and(|is_admin| is_admin != user.is_admin)
}

/// Fails if `change` alters an attribute that only administrators may change.
fn reject_admin_only_changes(user: &User, change: &UserChange) -> Result<(), ManageError> {
    let differs = |new: &Option<String>, old: &str| new.as_ref().is_some_and(|new| new != old);
    let profile = &change.profile;
    let sites_differ = differs(&profile.community_sites, &user.profile.community_sites);
    let tags_differ = differs(&profile.restricted_tags, &user.profile.restricted_tags);
    let changed = [
        (changes_name(user, change), Attribute::Name),
        (changes_rights(user, change), Attribute::Admin),
        (sites_differ, Attribute::CommunitySites),
        (tags_differ, Attribute::RestrictedTags),
    ];
    match changed.into_iter().find(|(differs, _)| *differs) {
        Some((_, attribute)) => Err(ManageError::AdminOnly(attribute)),
        None => Ok(()),
    }
}

/// Fails if `user` is the last administrator that is not disabled. The users must be locked.
pub(super) fn keep_an_admin(tx: &mut Transaction, user: &User) -> Result<(), ManageError> {
    let is_active_admin = user.is_admin && !user.is_disabled;
    if is_active_admin && !tx.has_other_admin(user.id)? {
        return Err(ManageError::LastAdmin);
    }
    Ok(())
}

pub(super) fn insert_user(
    tx: &mut Transaction,
    user: &NewUser,
    hash: &str,
    now: NaiveDateTime,
) -> Result<User, ManageError> {
    tx.lock_users()?;
    let is_taken = tx.is_name_taken(&user.name, None)?
        || match &user.email {
            Some(email) => tx.is_name_taken(email, None)?,
            None => false,
        };
    if is_taken {
        return Err(ManageError::NameTaken);
    }
    Ok(tx.insert_user(None, user, hash, now)?)
}
