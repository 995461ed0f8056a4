//! Administers users for the pages and the API of the account: lists by pages, and changes of all attributes at once.

use chrono::NaiveDateTime;

use super::Auth;
use super::audit::{self, Event};
use super::permission::Permission;
use super::users::{keep_an_admin, log_changed};
use crate::error::{ManageError, Result};
use crate::model::{Actor, Update, User, UserEntry, UserUpdate, normalize};
use crate::store::{Page, Transaction};

/// A user in a list, with the end of the longest wait that the throttle imposes on the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUser {
    pub user: UserEntry,
    pub throttled_until: Option<NaiveDateTime>,
}

impl Auth {
    /// Returns a page of the users whose name or e-mail address contains `search`, by id, and the number of all these
    /// users. An empty text is in every name.
    pub fn users_page(&self, search: &str, page: Page) -> Result<(Vec<ListedUser>, usize)> {
        // No name contains it, and PostgreSQL rejects texts that do.
        if search.contains('\0') {
            return Ok((Vec::new(), 0));
        }
        let (users, total) = self.store.read(|db| db.users_page(&normalize(search), page))?;
        let throttled = self.throttled_names_until(users.iter().map(|user| user.name.as_str()))?;
        let listed = users.into_iter().zip(throttled);
        let listed = listed.map(|(user, throttled_until)| ListedUser { user, throttled_until });
        Ok((listed.collect(), total))
    }

    /// Returns a user as lists show them.
    pub fn listed_user(&self, user_id: i32) -> Result<ListedUser, ManageError> {
        let user = self.store.read(|db| db.user_entry(user_id))?;
        let user = user.ok_or(ManageError::UnknownUser)?;
        let throttled = self.throttled_names_until(std::iter::once(user.name.as_str()))?;
        let throttled_until = throttled.into_iter().next().flatten();
        Ok(ListedUser { user, throttled_until })
    }

    /// Changes a user. All changes take effect, or none.
    pub fn update_user(&self, actor: Actor<'_>, user_id: i32, update: &UserUpdate) -> Result<UserEntry, ManageError> {
        self.require_lasting_key(actor)?;
        let (before, after, entry) = self.store.write(|tx| -> Result<_, ManageError> {
            tx.lock_users()?;
            self.authorize(tx, actor, Permission::Administer)?;
            let before = tx.user(user_id)?.ok_or(ManageError::UnknownUser)?;
            apply(tx, &before, update)?;
            let after = tx.user(user_id)?.ok_or(ManageError::UnknownUser)?;
            let entry = tx.user_entry(user_id)?.ok_or(ManageError::UnknownUser)?;
            Ok((before, after, entry))
        })?;
        self.key_cache.invalidate_user(user_id);
        log_changed(&before, &after, actor);
        log_further_changes(&before, &after, actor);
        Ok(entry)
    }
}

fn apply(tx: &mut Transaction, user: &User, update: &UserUpdate) -> Result<(), ManageError> {
    let email = match &update.email {
        Update::Set(email) => Some(email),
        Update::Keep | Update::Remove => None,
    };
    for name in [update.name.as_ref(), email].into_iter().flatten() {
        if tx.is_name_taken(name, Some(user.id))? {
            return Err(ManageError::NameTaken);
        }
    }
    let loses_admin = user.is_admin && update.is_admin == Some(false);
    let becomes_disabled = !user.is_disabled && update.is_disabled == Some(true);
    if loses_admin || becomes_disabled {
        keep_an_admin(tx, user)?;
    }
    if let Some(name) = &update.name {
        tx.rename_user(user.id, name)?;
    }
    if update.email != Update::Keep {
        tx.set_email(user.id, email)?;
    }
    if let Some(is_admin) = update.is_admin {
        tx.set_admin(user.id, is_admin)?;
    }
    if let Some(is_disabled) = update.is_disabled {
        tx.set_disabled(user.id, is_disabled)?;
    }
    Ok(())
}

/// Logs the changes that only [`Auth::update_user`] makes together with others.
fn log_further_changes(before: &User, after: &User, actor: Actor<'_>) {
    if before.email != after.email {
        audit::log(Event::EmailChanged, &after.name, "", actor);
    }
    match (before.is_disabled, after.is_disabled) {
        (false, true) => audit::log(Event::UserDisabled, &after.name, "", actor),
        (true, false) => audit::log(Event::UserEnabled, &after.name, "", actor),
        _ => {}
    }
}
