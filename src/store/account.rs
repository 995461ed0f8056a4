//! Queries for the pages and the API of the account: keys and users by pages, and sessions.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::keys::{DEVICE, FULL, KeyRow, SESSION};
use super::schema::{api_keys, users};
use super::users::Credential;
use super::{KeyOwner, Reader, Transaction};
use crate::error::Result;
use crate::model::{KeyInfo, Name, NewName, UserEntry};
use crate::secret::key::KeyHash;
use crate::secret::password::NO_PASSWORD;

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The number of the page, from 0.
    pub index: u32,
    /// The maximum number of items on a page.
    pub size: u32,
}

impl Page {
    fn offset(self) -> i64 {
        i64::from(self.index) * i64::from(self.size)
    }
}

fn number(count: i64) -> usize {
    usize::try_from(count).unwrap_or_default()
}

impl Reader {
    /// Returns a page of a user's unexpired keys and sessions, and the number of all. The key `first` is the first, and
    /// the others are ordered by device and age.
    pub fn keys_page(
        &mut self,
        user_id: i32,
        first: i64,
        page: Page,
        now: NaiveDateTime,
    ) -> Result<(Vec<KeyInfo>, usize)> {
        let valid = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::user_id.eq(user_id))
            .filter(api_keys::epoch.eq(users::key_epoch))
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)));
        let total: i64 = valid.count().get_result(self.connection())?;
        let rows: Vec<KeyRow> = valid
            .order((api_keys::id.ne(first), api_keys::device_folded, api_keys::id))
            .limit(page.size.into())
            .offset(page.offset())
            .select(KeyRow::as_select())
            .load(self.connection())?;
        Ok((rows.into_iter().map(KeyInfo::from).collect(), number(total)))
    }

    /// Returns the id of the key with this hash.
    pub fn key_id(&mut self, hash: &KeyHash) -> Result<Option<i64>> {
        let key = api_keys::table.filter(api_keys::hash.eq(hash.as_slice()));
        Ok(key.select(api_keys::id).first(self.connection()).optional()?)
    }

    /// Returns information about a key that is not revoked.
    pub fn key_info(&mut self, key_id: i64) -> Result<Option<KeyInfo>> {
        let row: Option<KeyRow> = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::id.eq(key_id))
            .filter(api_keys::epoch.eq(users::key_epoch))
            .select(KeyRow::as_select())
            .first(self.connection())
            .optional()?;
        Ok(row.map(KeyInfo::from))
    }

    /// Returns how many unexpired sessions a user has.
    pub fn count_sessions(&mut self, credential: &Credential, now: NaiveDateTime) -> Result<usize> {
        let sessions: i64 = api_keys::table
            .filter(api_keys::user_id.eq(credential.user_id))
            .filter(api_keys::epoch.eq(credential.key_epoch))
            .filter(api_keys::expires_at.gt(now))
            .filter(api_keys::kind.eq(SESSION))
            .count()
            .get_result(self.connection())?;
        Ok(number(sessions))
    }

    /// Returns whether a device has a lasting full key, even one that no login returns.
    pub fn has_lasting_key(&mut self, credential: &Credential, device: &Name) -> Result<bool> {
        let found: i64 = api_keys::table
            .filter(api_keys::user_id.eq(credential.user_id))
            .filter(api_keys::epoch.eq(credential.key_epoch))
            .filter(api_keys::device_folded.eq(device.normalized()))
            .filter(api_keys::kind.eq(DEVICE))
            .filter(api_keys::scope.eq(FULL))
            .filter(api_keys::expires_at.is_null())
            .count()
            .get_result(self.connection())?;
        Ok(found > 0)
    }

    /// Returns a page of the users whose normalized name or e-mail address contains `search`, ordered by id, and the
    /// number of all these users.
    pub fn users_page(&mut self, search: &str, page: Page) -> Result<(Vec<UserEntry>, usize)> {
        let escaped = search.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let pattern = format!("%{escaped}%");
        let by_name = users::name_folded.like(&pattern).escape('\\').nullable();
        let found = users::table.filter(by_name.or(users::email_folded.like(&pattern).escape('\\')));
        let total: i64 = found.clone().count().get_result(self.connection())?;
        let rows: Vec<EntryRow> = found
            .order(users::id)
            .limit(page.size.into())
            .offset(page.offset())
            .select(EntryRow::as_select())
            .load(self.connection())?;
        Ok((rows.into_iter().map(UserEntry::from).collect(), number(total)))
    }

    /// Returns what administrators see of a user.
    pub fn user_entry(&mut self, user_id: i32) -> Result<Option<UserEntry>> {
        let row: Option<EntryRow> = users::table
            .find(user_id)
            .select(EntryRow::as_select())
            .first(self.connection())
            .optional()?;
        Ok(row.map(UserEntry::from))
    }

    /// Returns the names of all users.
    pub fn user_names(&mut self) -> Result<Vec<String>> {
        Ok(users::table.select(users::name).load(self.connection())?)
    }
}

/// The columns of a user that lists need. The others, such as the avatar, can be large.
#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
struct EntryRow {
    id: i32,
    name: String,
    email: Option<String>,
    is_admin: bool,
    is_disabled: bool,
    created_at: NaiveDateTime,
    #[diesel(select_expression = users::password.ne(NO_PASSWORD))]
    #[diesel(select_expression_type = diesel::dsl::NotEq<users::password, &'static str>)]
    has_password: bool,
}

impl From<EntryRow> for UserEntry {
    fn from(row: EntryRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            email: row.email,
            is_admin: row.is_admin,
            is_disabled: row.is_disabled,
            has_password: row.has_password,
            created_at: row.created_at,
        }
    }
}

impl Transaction {
    /// Deletes the oldest sessions of a user until at most `max` are left, and returns their browsers. The user must be
    /// locked.
    pub fn delete_excess_sessions(
        &mut self,
        credential: &Credential,
        max: u32,
        now: NaiveDateTime,
    ) -> Result<Vec<String>> {
        let ids: Vec<i64> = api_keys::table
            .filter(api_keys::user_id.eq(credential.user_id))
            .filter(api_keys::epoch.eq(credential.key_epoch))
            .filter(api_keys::expires_at.gt(now))
            .filter(api_keys::kind.eq(SESSION))
            .order((api_keys::created_at.desc(), api_keys::id.desc()))
            .offset(max.into())
            .limit(i64::from(u16::MAX))
            .select(api_keys::id)
            .load(self.connection())?;
        let mut browsers = Vec::new();
        for id in ids {
            browsers.extend(self.delete_key_by_id(id)?.map(|owner| owner.device));
        }
        Ok(browsers)
    }

    /// Moves the expiry of a session that has not expired.
    pub fn extend_session(&mut self, key_id: i64, expires_at: NaiveDateTime, now: NaiveDateTime) -> Result<()> {
        let valid = api_keys::table
            .find(key_id)
            .filter(api_keys::kind.eq(SESSION))
            .filter(api_keys::expires_at.gt(now));
        diesel::update(valid)
            .set(api_keys::expires_at.eq(expires_at))
            .execute(self.connection())?;
        Ok(())
    }

    /// Deletes a key of this user and returns its owner. Returns `None` if the user has no such key.
    pub fn delete_key_of_user(&mut self, user_id: i32, key_id: i64) -> Result<Option<KeyOwner>> {
        match self.owner_of_key(key_id)? {
            Some(owner) if owner.user_id == user_id => self.delete_key_by_id(key_id),
            _ => Ok(None),
        }
    }

    /// Revokes all keys of a user but one. The user must be locked.
    pub fn revoke_other_keys(&mut self, credential: &Credential, key_id: i64) -> Result<()> {
        self.revoke_keys_of_user(credential.user_id)?;
        diesel::update(api_keys::table.find(key_id))
            .set(api_keys::epoch.eq(credential.key_epoch + 1))
            .execute(self.connection())?;
        Ok(())
    }

    /// Sets or clears a user's e-mail address. Check first that it is free.
    pub fn set_email(&mut self, user_id: i32, email: Option<&NewName>) -> Result<()> {
        diesel::update(users::table.find(user_id))
            .set((
                users::email.eq(email.map(|email| email.as_typed())),
                users::email_folded.eq(email.map(|email| email.normalized())),
            ))
            .execute(self.connection())?;
        Ok(())
    }
}
