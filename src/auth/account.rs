//! Users and their keys, as an administrator manages them; and changing a password.

use super::audit::{self, Event};
use chrono::NaiveDateTime;

use super::Auth;
use crate::error::{AuthError, Result};
use crate::model::{Account, Attribute, Caller, Name, NewUser, Origin, ProfileChange, SecretText, User, UserChange};
use crate::secret::generated::readable_password;
use crate::settings::FirstAdmin;
use crate::store::DbConnection;

/// What becomes of a user's keys when the password changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysAfterChange {
    /// All end.
    Ended,
    /// They stay: only where the caller said so, on the one route where Shoko lets him.
    Kept,
}

/// The administrator that a new installation got.
#[derive(Debug)]
pub struct FirstAdminMade {
    /// Who it is.
    pub user: User,
    /// The password, when nobody gave one: to be shown once.
    pub generated_password: Option<SecretText>,
}

impl Auth {
    /// Makes an administrator when there is none. Under the same lock as the migrations, which it runs first: of
    /// several nodes that start at once, one makes him.
    pub fn first_admin(&self, wanted: &FirstAdmin) -> Result<Option<FirstAdminMade>> {
        self.store.migrate(|db| {
            if db.has_admin()? {
                return Ok(None);
            }
            let name = wanted.name.clone();
            let (password, generated_password) = if let Some(given) = &wanted.password {
                self.passwords.check_new(given.expose(), name.shown())?;
                (given.clone(), None)
            } else {
                let made = readable_password()?;
                (made.clone(), Some(made))
            };
            let hash = self.passwords.hash(password.expose())?;
            let profile = ProfileChange::default();
            let admin = NewUser {
                name,
                email: None,
                is_admin: true,
                profile,
            };
            let user = insert_user(db, &admin, &hash, self.now())?;
            db.mark_automatic(user.id)?;
            note_made(&user, &Origin::default());
            Ok(Some(FirstAdminMade {
                user,
                generated_password,
            }))
        })
    }

    /// Makes a user without asking who wants it: for the command line.
    pub fn create_user(&self, user: &NewUser, password: &str) -> Result<User> {
        self.passwords.check_new(password, user.name.shown())?;
        let hash = self.passwords.hash(password)?;
        let made = self.store.write(|db| insert_user(db, user, &hash, self.now()))?;
        note_made(&made, &Origin::default());
        Ok(made)
    }

    /// Makes a user, for an administrator.
    pub fn create_user_for(&self, caller: &Caller, user: &NewUser, password: &str) -> Result<User> {
        self.passwords.check_new(password, user.name.shown())?;
        let hash = self.hash(password, &caller.origin)?;
        let made = self.store.write(|db| {
            // Before the question, so that nobody takes the right away after it.
            db.lock_users()?;
            self.still_is_admin(db, caller)?;
            insert_user(db, user, &hash, self.now())
        })?;
        note_made(&made, &caller.origin);
        Ok(made)
    }

    /// Who can log in.
    pub fn accounts(&self) -> Result<Vec<Account>> {
        self.store.read(DbConnection::accounts)
    }

    /// All users, by id.
    pub fn users(&self) -> Result<Vec<User>> {
        self.store.read(DbConnection::users)
    }

    /// The caller's own user.
    pub fn own_user(&self, caller: &Caller) -> Result<User> {
        self.store
            .read(|db| db.user(caller.user_id))?
            .ok_or(AuthError::InvalidKey)
    }

    /// A user by id.
    pub fn user(&self, user_id: i32) -> Result<User> {
        self.store.read(|db| db.user(user_id))?.ok_or(AuthError::UnknownUser)
    }

    /// Changes a user: everybody the own one, but for what is an administrator's to change; administrators all.
    /// `change` is asked what shall be different about the user as it is, while nobody else changes it.
    pub fn change_user<E: From<AuthError>>(
        &self,
        caller: &Caller,
        user_id: i32,
        change: impl FnOnce(&User) -> std::result::Result<UserChange, E>,
    ) -> std::result::Result<User, E> {
        let (before, after) = self.store.write(|db| {
            db.lock_users()?;
            let by = self.still_may_change(db, caller, user_id)?;
            let user = db.user(user_id)?.ok_or(AuthError::UnknownUser)?;
            let change = change(&user)?;
            if !by.is_admin {
                keep_what_is_an_admins(&user, &change)?;
            }
            let after = apply(db, &user, &change)?;
            Ok::<_, E>((user, after))
        })?;
        self.callers.forget(user_id);
        if before.name != after.name {
            let both = format!("{} -> {}", before.name, after.name);
            audit::log(Event::UserRenamed, &both, "", &caller.origin);
        }
        match (before.is_admin, after.is_admin) {
            (false, true) => audit::log(Event::AdminGranted, &after.name, "", &caller.origin),
            (true, false) => audit::log(Event::AdminRevoked, &after.name, "", &caller.origin),
            _ => {}
        }
        Ok(after)
    }

    /// Deletes a user and all his keys, for an administrator.
    pub fn delete_user_by_id(&self, caller: &Caller, user_id: i32) -> Result<()> {
        let deleted = self.store.write(|db| {
            db.lock_users()?;
            self.still_is_admin(db, caller)?;
            let user = db.user(user_id)?.ok_or(AuthError::UnknownUser)?;
            keep_an_admin(db, &user)?;
            db.delete_user(user_id)?;
            Ok::<_, AuthError>(user)
        });
        // Whoever is told that there is no such user may rely on it.
        self.callers.forget(user_id);
        let deleted = deleted?;
        audit::log(Event::UserDeleted, &deleted.name, "", &caller.origin);
        Ok(())
    }

    /// Changes the caller's password, or that of user `target`, which only administrators may.
    /// Ends all keys of that user, the caller's own included, unless they are to be kept.
    pub fn change_password(
        &self,
        caller: &Caller,
        target: Option<i32>,
        password: &str,
        keys: KeysAfterChange,
    ) -> Result<()> {
        let target = target.unwrap_or(caller.user_id);
        if target != caller.user_id && !caller.is_admin {
            return Err(AuthError::Forbidden);
        }
        let user = self.user(target)?;
        // The hash takes its time: whoever takes the caller's key or rights away meanwhile means it.
        self.store_password(&user, password, keys, &caller.origin, |db| {
            self.still_may_change(db, caller, target).map(drop)
        })
    }

    /// Changes a user's password without asking who wants it: for the command line. Ends all keys of the user.
    pub fn set_password(&self, name: &Name, password: &str) -> Result<()> {
        let user = self
            .store
            .read(|db| db.user_by_name(name))?
            .ok_or(AuthError::UnknownUser)?;
        self.store_password(&user, password, KeysAfterChange::Ended, &Origin::default(), |_| Ok(()))
    }

    /// Disables a user: no login, no key of his works until he is enabled again.
    pub fn disable_user(&self, name: &Name) -> Result<()> {
        self.change_user_by_name(Event::UserDisabled, name, |db, user| {
            keep_an_admin(db, user)?;
            db.set_disabled(user.id, true)
        })
    }

    /// Enables a user again, with the keys he had.
    pub fn enable_user(&self, name: &Name) -> Result<()> {
        self.change_user_by_name(Event::UserEnabled, name, |db, user| db.set_disabled(user.id, false))
    }

    /// Deletes a user and all his keys.
    pub fn delete_user(&self, name: &Name) -> Result<()> {
        self.change_user_by_name(Event::UserDeleted, name, |db, user| {
            keep_an_admin(db, user)?;
            db.delete_user(user.id)
        })
    }

    /// Lets a user manage others.
    pub fn grant_admin(&self, name: &Name) -> Result<()> {
        self.change_user_by_name(Event::AdminGranted, name, |db, user| db.set_admin(user.id, true))
    }

    /// Lets a user manage others no more.
    pub fn revoke_admin(&self, name: &Name) -> Result<()> {
        self.change_user_by_name(Event::AdminRevoked, name, |db, user| {
            keep_an_admin(db, user)?;
            db.set_admin(user.id, false)
        })
    }

    /// Changes one user while nobody else changes any.
    fn change_user_by_name(
        &self,
        event: Event,
        name: &Name,
        change: impl Fn(&mut DbConnection, &User) -> Result<()>,
    ) -> Result<()> {
        let changed = self.store.write(|db| {
            db.lock_users()?;
            let user = db.user_by_name(name)?.ok_or(AuthError::UnknownUser)?;
            change(db, &user)?;
            Ok::<_, AuthError>(user)
        })?;
        self.callers.forget(changed.id);
        audit::log(event, &changed.name, "", &Origin::default());
        Ok(())
    }

    /// Lets whoever knows the password of this user log in at once again.
    pub fn unlock(&self, name: &Name) -> Result<()> {
        self.store.write(|db| {
            db.user_by_name(name)?.ok_or(AuthError::UnknownUser)?;
            db.delete_failures_of(name.folded())
        })?;
        audit::log(Event::UserUnlocked, name.shown(), "", &Origin::default());
        Ok(())
    }

    /// Every change of a password comes through here: the new hash and what becomes of the keys in one transaction.
    fn store_password(
        &self,
        user: &User,
        password: &str,
        keys: KeysAfterChange,
        origin: &Origin,
        allowed: impl FnOnce(&mut DbConnection) -> Result<()>,
    ) -> Result<()> {
        self.passwords.check_new(password, &user.name)?;
        let hash = self.hash(password, origin)?;
        self.store.write(|db| {
            // First the user's row, whose lock orders this against logins; then everything that depends on it.
            if !db.set_password(user.id, &hash)? {
                return Err(AuthError::UnknownUser);
            }
            allowed(db)?;
            match keys {
                KeysAfterChange::Ended => db.delete_keys_of_user(user.id).map(drop),
                KeysAfterChange::Kept => Ok(()),
            }
        })?;
        self.callers.forget(user.id);
        audit::log(Event::PasswordChanged, &user.name, "", origin);
        Ok(())
    }
}

fn note_made(user: &User, origin: &Origin) {
    audit::log(Event::UserMade, &user.name, "", origin);
    if user.is_admin {
        audit::log(Event::AdminGranted, &user.name, "", origin);
    }
}

impl Auth {
    /// Returns the caller as stored now. Fails unless the key still works and the caller may still change user `target`,
    /// which takes an administrator when it is not the caller's own user.
    fn still_may_change(&self, db: &mut DbConnection, caller: &Caller, target: i32) -> Result<Caller> {
        let current = db
            .lock_caller(caller.key_id, self.now())?
            .ok_or(AuthError::InvalidKey)?;
        let allowed = target == current.user_id || current.is_admin;
        if allowed {
            Ok(current)
        } else {
            Err(AuthError::Forbidden)
        }
    }

    /// Fails unless the caller's key still works and the caller is still an administrator.
    pub(super) fn still_is_admin(&self, db: &mut DbConnection, caller: &Caller) -> Result<()> {
        let current = db
            .lock_caller(caller.key_id, self.now())?
            .ok_or(AuthError::InvalidKey)?;
        if current.is_admin {
            Ok(())
        } else {
            Err(AuthError::Forbidden)
        }
    }
}

fn apply(db: &mut DbConnection, user: &User, change: &UserChange) -> Result<User> {
    if let Some(name) = &change.name {
        if db.is_taken(name, Some(user.id))? {
            return Err(AuthError::NameTaken);
        }
        db.rename_user(user.id, name)?;
    }
    if let Some(is_admin) = change.is_admin {
        if !is_admin {
            keep_an_admin(db, user)?;
        }
        db.set_admin(user.id, is_admin)?;
    }
    db.change_profile(user.id, &change.profile)?;
    db.user(user.id)?.ok_or(AuthError::UnknownUser)
}

/// What nobody may change of the own user without being an administrator stays as it is.
fn keep_what_is_an_admins(user: &User, change: &UserChange) -> Result<()> {
    let differs = |new: &Option<String>, old: &str| new.as_ref().is_some_and(|new| new != old);
    let profile = &change.profile;
    for (changed, attribute) in [
        (
            change.name.as_ref().is_some_and(|name| name.shown() != user.name),
            Attribute::Name,
        ),
        (
            change.is_admin.is_some_and(|is_admin| is_admin != user.is_admin),
            Attribute::Admin,
        ),
        (
            differs(&profile.community_sites, &user.profile.community_sites),
            Attribute::CommunitySites,
        ),
        (
            differs(&profile.restricted_tags, &user.profile.restricted_tags),
            Attribute::RestrictedTags,
        ),
    ] {
        if changed {
            return Err(AuthError::AdminOnly(attribute));
        }
    }
    Ok(())
}

/// With all users locked: refuses, when without this user nobody could manage users.
fn keep_an_admin(db: &mut DbConnection, user: &User) -> Result<()> {
    let manages = user.is_admin && !user.is_disabled;
    if manages && !db.has_other_admin(user.id)? {
        return Err(AuthError::LastAdmin);
    }
    Ok(())
}

fn insert_user(db: &mut DbConnection, user: &NewUser, hash: &str, now: NaiveDateTime) -> Result<User> {
    db.lock_users()?;
    let taken = db.is_taken(&user.name, None)?
        || match &user.email {
            Some(email) => db.is_taken(email, None)?,
            None => false,
        };
    if taken {
        return Err(AuthError::NameTaken);
    }
    db.insert_user(None, user, hash, now)
}
