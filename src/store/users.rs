//! Queries on `users`.

use chrono::NaiveDateTime;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::keys::FULL;
use super::schema::{api_keys, users};
use super::{DbConnection, Reader, Transaction};
use crate::error::{Result, ServiceError};
use crate::model::{Name, NewUser, Profile, ProfileChange, User, UserRef, UserSummary};
use crate::secret::password::NO_PASSWORD;

/// A user with the stored hash of their password.
#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct Credential {
    #[diesel(column_name = id)]
    pub user_id: i32,
    /// The user's name as typed.
    pub name: String,
    /// A PHC string, with a prefix if it was imported from Shoko, or [`NO_PASSWORD`].
    pub password: String,
    /// Increases when the password changes, but not when the same password is hashed again.
    pub password_version: i32,
    pub is_admin: bool,
    pub is_disabled: bool,
    /// See [`User::is_automatic`].
    pub is_automatic: bool,
    /// The epoch of the user's keys. A key with another epoch is revoked.
    pub key_epoch: i32,
    /// Distinguishes the user from a deleted user with the same id, because an import may reuse the id.
    pub created_at: NaiveDateTime,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
struct UserRow {
    id: i32,
    name: String,
    email: Option<String>,
    is_admin: bool,
    is_disabled: bool,
    is_automatic: bool,
    created_at: NaiveDateTime,
    community_sites: String,
    restricted_tags: String,
    avatar: String,
    plex_usernames: String,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            email: row.email,
            is_admin: row.is_admin,
            is_disabled: row.is_disabled,
            is_automatic: row.is_automatic,
            created_at: row.created_at,
            profile: Profile {
                community_sites: row.community_sites,
                restricted_tags: row.restricted_tags,
                avatar: row.avatar,
                plex_usernames: row.plex_usernames,
            },
        }
    }
}

impl Reader {
    /// Returns the credential of the user with this name or e-mail address.
    pub fn credential(&mut self, name: &Name) -> Result<Option<Credential>> {
        let (by_name, by_email) = (
            users::name_folded.eq(name.normalized()),
            users::email_folded.eq(name.normalized()),
        );
        Ok(users::table
            .filter(by_name.nullable().or(by_email))
            .select(Credential::as_select())
            .first(self.connection())
            .optional()?)
    }

    pub fn user(&mut self, user_id: i32) -> Result<Option<User>> {
        let row: Option<UserRow> = users::table
            .find(user_id)
            .select(UserRow::as_select())
            .first(self.connection())
            .optional()?;
        Ok(row.map(User::from))
    }

    pub fn user_by_name(&mut self, name: &Name) -> Result<Option<User>> {
        let row: Option<UserRow> = users::table
            .filter(users::name_folded.eq(name.normalized()))
            .select(UserRow::as_select())
            .first(self.connection())
            .optional()?;
        Ok(row.map(User::from))
    }

    pub fn find_user(&mut self, user: &UserRef) -> Result<Option<User>> {
        match user {
            UserRef::Id(user_id) => self.user(*user_id),
            UserRef::Name(name) => self.user_by_name(name),
        }
    }

    /// Returns all users, by id.
    pub fn users(&mut self) -> Result<Vec<User>> {
        let rows: Vec<UserRow> = users::table
            .order(users::id)
            .select(UserRow::as_select())
            .load(self.connection())?;
        Ok(rows.into_iter().map(User::from).collect())
    }

    /// Returns all users that are not disabled, by id. Reads only the columns of a summary, which is cheaper.
    pub fn user_summaries(&mut self) -> Result<Vec<UserSummary>> {
        let rows: Vec<(i32, String, bool)> = users::table
            .filter(users::is_disabled.eq(false))
            .order(users::id)
            .select((users::id, users::name, users::is_admin))
            .load(self.connection())?;
        let summary = |(user_id, name, is_admin)| UserSummary {
            user_id,
            name,
            is_admin,
        };
        Ok(rows.into_iter().map(summary).collect())
    }

    /// Returns the ids of the users who cannot log in until a password is set.
    pub fn users_without_password(&mut self) -> Result<Vec<i32>> {
        Ok(users::table
            .filter(users::password.eq(NO_PASSWORD))
            .select(users::id)
            .load(self.connection())?)
    }

    pub fn has_admin(&mut self) -> Result<bool> {
        let admins: i64 = users::table
            .filter(users::is_admin.eq(true))
            .count()
            .get_result(self.connection())?;
        Ok(admins > 0)
    }

    /// Returns whether another administrator can authenticate: one who is not disabled and has a password or a lasting
    /// full key.
    pub fn has_other_admin(&mut self, user_id: i32) -> Result<bool> {
        let lasting_key = api_keys::table
            .filter(api_keys::user_id.eq(users::id))
            .filter(api_keys::epoch.eq(users::key_epoch))
            .filter(api_keys::scope.eq(FULL))
            .filter(api_keys::expires_at.is_null());
        let others: i64 = users::table
            .filter(users::is_admin.eq(true))
            .filter(users::is_disabled.eq(false))
            .filter(users::id.ne(user_id))
            .filter(users::password.ne(NO_PASSWORD).or(exists(lasting_key)))
            .count()
            .get_result(self.connection())?;
        Ok(others > 0)
    }

    /// Returns whether a user other than `except` has this name or e-mail address.
    pub fn is_name_taken(&mut self, name: &Name, except: Option<i32>) -> Result<bool> {
        // No user has the id 0, so 0 excludes no user.
        let except = except.unwrap_or(0);
        let holders: i64 = users::table
            .filter(users::id.ne(except))
            .filter(
                users::name_folded
                    .eq(name.normalized())
                    .or(users::email_folded.eq(name.normalized())),
            )
            .count()
            .get_result(self.connection())?;
        Ok(holders > 0)
    }

    /// Returns the id that the next user gets if none is given.
    pub fn next_user_id(&mut self) -> Result<i64> {
        #[derive(QueryableByName)]
        struct Next {
            #[diesel(sql_type = BigInt)]
            id: i64,
        }
        let sql = match self.connection() {
            DbConnection::Postgres(_) => "SELECT last_value + is_called::int AS id FROM users_id_seq",
            DbConnection::Sqlite(_) => {
                "SELECT coalesce(max(seq), 0) + 1 AS id FROM sqlite_sequence WHERE name = 'users'"
            }
        };
        let next: Next = diesel::sql_query(sql).get_result(self.connection())?;
        Ok(next.id)
    }
}

impl Transaction {
    /// Returns the credential of a user and locks their row until the transaction ends.
    pub fn lock_credential(&mut self, user_id: i32) -> Result<Option<Credential>> {
        let row = users::table.find(user_id);
        Ok(match self.connection() {
            DbConnection::Postgres(c) => row.select(Credential::as_select()).for_no_key_update().first(c),
            // No lock is needed, because the transaction is the only writer.
            DbConnection::Sqlite(c) => row.select(Credential::as_select()).first(c),
        }
        .optional()?)
    }

    /// Prevents other transactions from changing users until this one ends. This protects two rules about all users
    /// together: a name must not be the e-mail address of another user, and one administrator must remain.
    pub fn lock_users(&mut self) -> Result<()> {
        if let DbConnection::Postgres(c) = self.connection() {
            diesel::sql_query("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE").execute(c)?;
        }
        Ok(())
    }

    /// Inserts a user. If `id` is `None`, the user gets the next id. Check first that the id, the name and the e-mail
    /// address are free.
    pub fn insert_user(&mut self, id: Option<i32>, user: &NewUser, password: &str, now: NaiveDateTime) -> Result<User> {
        diesel::insert_into(users::table)
            .values((
                id.map(|id| users::id.eq(id)),
                users::name.eq(user.name.as_typed()),
                users::name_folded.eq(user.name.normalized()),
                users::email.eq(user.email.as_ref().map(|email| email.as_typed())),
                users::email_folded.eq(user.email.as_ref().map(|email| email.normalized())),
                users::password.eq(password),
                users::is_admin.eq(user.is_admin),
                users::created_at.eq(now),
            ))
            .execute(self.connection())?;
        let inserted = |user: Option<User>| user.ok_or_else(|| ServiceError::internal("the new user is missing"));
        let user_id = inserted(self.user_by_name(&user.name)?)?.id;
        self.change_profile(user_id, &user.profile)?;
        inserted(self.user(user_id)?)
    }

    /// Sets the id that the next user gets if none is given. Does nothing on SQLite, which continues after the greatest
    /// id by itself.
    pub fn set_next_user_id(&mut self, id: i64) -> Result<()> {
        if let DbConnection::Postgres(c) = self.connection() {
            diesel::sql_query(format!("ALTER SEQUENCE users_id_seq RESTART WITH {id}")).execute(c)?;
        }
        Ok(())
    }

    /// Marks a user as the automatic administrator, which the first start creates.
    pub fn mark_automatic(&mut self, user_id: i32) -> Result<()> {
        diesel::update(users::table.find(user_id))
            .set(users::is_automatic.eq(true))
            .execute(self.connection())?;
        Ok(())
    }

    /// Clears the mark of the automatic administrator. Returns `false` if the user has been deleted or the password
    /// hash has changed.
    pub fn record_first_login(&mut self, credential: &Credential) -> Result<bool> {
        let unchanged = users::table
            .find(credential.user_id)
            .filter(users::password.eq(&credential.password));
        let changed = diesel::update(unchanged)
            .set(users::is_automatic.eq(false))
            .execute(self.connection())?;
        Ok(changed > 0)
    }

    /// Renames a user. Check first that the name is free.
    pub fn rename_user(&mut self, user_id: i32, name: &Name) -> Result<()> {
        diesel::update(users::table.find(user_id))
            .set((
                users::name.eq(name.as_typed()),
                users::name_folded.eq(name.normalized()),
                users::is_automatic.eq(false),
            ))
            .execute(self.connection())?;
        Ok(())
    }

    pub fn change_profile(&mut self, user_id: i32, change: &ProfileChange) -> Result<()> {
        if *change == ProfileChange::default() {
            return Ok(());
        }
        diesel::update(users::table.find(user_id))
            .set((
                change
                    .community_sites
                    .as_ref()
                    .map(|text| users::community_sites.eq(text)),
                change
                    .restricted_tags
                    .as_ref()
                    .map(|text| users::restricted_tags.eq(text)),
                change.avatar.as_ref().map(|avatar| users::avatar.eq(avatar.as_str())),
                change
                    .plex_usernames
                    .as_ref()
                    .map(|text| users::plex_usernames.eq(text)),
            ))
            .execute(self.connection())?;
        Ok(())
    }

    pub fn set_disabled(&mut self, user_id: i32, disabled: bool) -> Result<()> {
        diesel::update(users::table.find(user_id))
            .set(users::is_disabled.eq(disabled))
            .execute(self.connection())?;
        Ok(())
    }

    pub fn set_admin(&mut self, user_id: i32, admin: bool) -> Result<()> {
        diesel::update(users::table.find(user_id))
            .set((users::is_admin.eq(admin), users::is_automatic.eq(false)))
            .execute(self.connection())?;
        Ok(())
    }

    /// Revokes all keys of a user at once. A sweep deletes their rows later. Lock the user first.
    pub fn revoke_keys_of_user(&mut self, user_id: i32) -> Result<()> {
        diesel::update(users::table.find(user_id))
            .set(users::key_epoch.eq(users::key_epoch + 1))
            .execute(self.connection())?;
        Ok(())
    }

    /// Deletes a user and so revokes all of their keys. A sweep deletes the rows of the keys later.
    pub fn delete_user(&mut self, user_id: i32) -> Result<()> {
        diesel::delete(users::table.find(user_id)).execute(self.connection())?;
        Ok(())
    }

    /// Stores the hash of a new password. Returns `false` if there is no such user.
    pub fn set_password(&mut self, user_id: i32, password: &str) -> Result<bool> {
        let changed = diesel::update(users::table.find(user_id))
            .set((
                users::password.eq(password),
                users::password_version.eq(users::password_version + 1),
                users::is_automatic.eq(false),
            ))
            .execute(self.connection())?;
        Ok(changed > 0)
    }

    /// Replaces the hash `old` with another hash of the same password. Does nothing if the stored hash is no longer
    /// `old`.
    pub fn replace_hash(&mut self, user_id: i32, old: &str, new: &str) -> Result<()> {
        diesel::update(users::table.find(user_id).filter(users::password.eq(old)))
            .set(users::password.eq(new))
            .execute(self.connection())?;
        Ok(())
    }
}
