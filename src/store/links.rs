//! Queries on `one_time_links`. A trigger deletes the link of a user whose password changes.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::schema::{one_time_links, users};
use super::{Reader, Transaction};
use crate::error::Result;
use crate::secret::key::KeyHash;

impl Reader {
    /// Returns the id and the name of the user whose link has this hash. Returns `None` if there is no such link, or if
    /// it has expired or its user is disabled.
    pub fn user_of_link(&mut self, hash: &KeyHash, now: NaiveDateTime) -> Result<Option<(i32, String)>> {
        Ok(one_time_links::table
            .inner_join(users::table)
            .filter(one_time_links::hash.eq(hash.as_slice()))
            .filter(one_time_links::expires_at.gt(now))
            .filter(users::is_disabled.eq(false))
            .select((users::id, users::name))
            .first(self.connection())
            .optional()?)
    }
}

impl Transaction {
    /// Stores a user's link and so revokes the earlier one. Lock the user first.
    pub fn store_link(&mut self, user_id: i32, hash: &KeyHash, expires_at: NaiveDateTime) -> Result<()> {
        diesel::delete(one_time_links::table.find(user_id)).execute(self.connection())?;
        diesel::insert_into(one_time_links::table)
            .values((
                one_time_links::user_id.eq(user_id),
                one_time_links::hash.eq(hash.as_slice()),
                one_time_links::expires_at.eq(expires_at),
            ))
            .execute(self.connection())?;
        Ok(())
    }

    /// Deletes the link of a user if it has this hash, and returns whether it did. Of two transactions that use the
    /// same link at once, only one deletes it.
    pub fn use_link(&mut self, user_id: i32, hash: &KeyHash, now: NaiveDateTime) -> Result<bool> {
        let valid = one_time_links::table
            .find(user_id)
            .filter(one_time_links::hash.eq(hash.as_slice()))
            .filter(one_time_links::expires_at.gt(now));
        Ok(diesel::delete(valid).execute(self.connection())? > 0)
    }
}
