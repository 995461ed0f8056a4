//! Queries on `users`.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::DbConnection;
use super::schema::users;
use crate::error::{AuthError, Result};
use crate::model::{Account, Name, NewUser, Profile, ProfileChange, User};
use crate::secret::password::NO_PASSWORD;

/// What a login is checked against.
#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct Credential {
    /// The user's id.
    #[diesel(column_name = id)]
    pub user_id: i32,
    /// The user's name, as typed.
    pub name: String,
    /// The PHC string.
    pub password: String,
    /// Rises whenever the password changes, and not when the same password is hashed anew.
    pub password_version: i32,
    /// Whether the user may manage others.
    pub is_admin: bool,
    /// Whether the user may not log in at all.
    pub is_disabled: bool,
    /// Whether nobody has logged in yet as the administrator that the first start made.
    pub is_automatic: bool,
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

impl DbConnection {
    /// What a login as `name`, or with it as e-mail address, is checked against.
    pub fn credential(&mut self, name: &Name) -> Result<Option<Credential>> {
        let (by_name, by_email) = (
            users::name_folded.eq(name.folded()),
            users::email_folded.eq(name.folded()),
        );
        Ok(users::table
            .filter(by_name.nullable().or(by_email))
            .select(Credential::as_select())
            .first(self)
            .optional()?)
    }

    /// The same for a known user, whose row then cannot change until the transaction ends.
    pub fn lock_credential(&mut self, user_id: i32) -> Result<Option<Credential>> {
        let row = users::table.find(user_id);
        Ok(match self {
            Self::Postgres(c) => row.select(Credential::as_select()).for_no_key_update().first(c),
            // The transaction holds the one writer's lock.
            Self::Sqlite(c) => row.select(Credential::as_select()).first(c),
        }
        .optional()?)
    }

    /// A user by id.
    pub fn user(&mut self, user_id: i32) -> Result<Option<User>> {
        let row: Option<UserRow> = users::table
            .find(user_id)
            .select(UserRow::as_select())
            .first(self)
            .optional()?;
        Ok(row.map(User::from))
    }

    /// A user by name.
    pub fn user_by_name(&mut self, name: &Name) -> Result<Option<User>> {
        let row: Option<UserRow> = users::table
            .filter(users::name_folded.eq(name.folded()))
            .select(UserRow::as_select())
            .first(self)
            .optional()?;
        Ok(row.map(User::from))
    }

    /// All users, by id.
    pub fn users(&mut self) -> Result<Vec<User>> {
        let rows: Vec<UserRow> = users::table.order(users::id).select(UserRow::as_select()).load(self)?;
        Ok(rows.into_iter().map(User::from).collect())
    }

    /// Who is not disabled, by id: no more of them than this, so that it costs little.
    pub fn accounts(&mut self) -> Result<Vec<Account>> {
        let rows: Vec<(i32, String, bool)> = users::table
            .filter(users::is_disabled.eq(false))
            .order(users::id)
            .select((users::id, users::name, users::is_admin))
            .load(self)?;
        let account = |(user_id, name, is_admin)| Account {
            user_id,
            name,
            is_admin,
        };
        Ok(rows.into_iter().map(account).collect())
    }

    /// The ids of those who cannot log in before a password is set.
    pub fn users_without_password(&mut self) -> Result<Vec<i32>> {
        Ok(users::table
            .filter(users::password.eq(NO_PASSWORD))
            .select(users::id)
            .load(self)?)
    }

    /// Whether anybody may manage others.
    pub fn has_admin(&mut self) -> Result<bool> {
        let admins: i64 = users::table.filter(users::is_admin.eq(true)).count().get_result(self)?;
        Ok(admins > 0)
    }

    /// Whether anybody but this user may manage others, and is not disabled.
    pub fn has_other_admin(&mut self, user_id: i32) -> Result<bool> {
        let others: i64 = users::table
            .filter(users::is_admin.eq(true))
            .filter(users::is_disabled.eq(false))
            .filter(users::id.ne(user_id))
            .count()
            .get_result(self)?;
        Ok(others > 0)
    }

    /// Lets no other transaction change users until this one ends: for rules about all of them together. Names and
    /// e-mail addresses share one namespace, over two columns; and one administrator must be left.
    pub fn lock_users(&mut self) -> Result<()> {
        if let Self::Postgres(c) = self {
            diesel::sql_query("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE").execute(c)?;
        }
        Ok(())
    }

    /// Whether somebody has this name, or this e-mail address; other than the user `except`.
    pub fn is_taken(&mut self, name: &Name, except: Option<i32>) -> Result<bool> {
        // Nobody has the id 0.
        let except = except.unwrap_or(0);
        let holders: i64 = users::table
            .filter(users::id.ne(except))
            .filter(
                users::name_folded
                    .eq(name.folded())
                    .or(users::email_folded.eq(name.folded())),
            )
            .count()
            .get_result(self)?;
        Ok(holders > 0)
    }

    /// Adds a user with this id, or the next one; the caller has seen to it that id and names are free.
    pub fn insert_user(&mut self, id: Option<i32>, user: &NewUser, password: &str, now: NaiveDateTime) -> Result<User> {
        diesel::insert_into(users::table)
            .values((
                id.map(|id| users::id.eq(id)),
                users::name.eq(user.name.shown()),
                users::name_folded.eq(user.name.folded()),
                users::email.eq(user.email.as_ref().map(Name::shown)),
                users::email_folded.eq(user.email.as_ref().map(Name::folded)),
                users::password.eq(password),
                users::is_admin.eq(user.is_admin),
                users::created_at.eq(now),
            ))
            .execute(self)?;
        let made =
            |user: Option<User>| user.ok_or_else(|| AuthError::Internal("the user just made is not there".to_owned()));
        let user_id = made(self.user_by_name(&user.name)?)?.id;
        self.change_profile(user_id, &user.profile)?;
        made(self.user(user_id)?)
    }

    /// The id of the next user who is added without one.
    pub fn next_user_id(&mut self) -> Result<i64> {
        #[derive(QueryableByName)]
        struct Next {
            #[diesel(sql_type = BigInt)]
            id: i64,
        }
        let sql = match self {
            Self::Postgres(_) => "SELECT last_value + is_called::int AS id FROM users_id_seq",
            Self::Sqlite(_) => "SELECT coalesce(max(seq), 0) + 1 AS id FROM sqlite_sequence WHERE name = 'users'",
        };
        let next: Next = diesel::sql_query(sql).get_result(self)?;
        Ok(next.id)
    }

    /// Lets the next user who is added without an id have this one. SQLite goes on behind the greatest by itself.
    pub fn set_next_user_id(&mut self, id: i64) -> Result<()> {
        if let Self::Postgres(c) = self {
            diesel::sql_query(format!("ALTER SEQUENCE users_id_seq RESTART WITH {id}")).execute(c)?;
        }
        Ok(())
    }

    /// Marks the administrator that the first start makes.
    pub fn mark_automatic(&mut self, user_id: i32) -> Result<()> {
        diesel::update(users::table.find(user_id))
            .set(users::is_automatic.eq(true))
            .execute(self)?;
        Ok(())
    }

    /// From now on he is somebody's. `false`: he is not there any more, or has another password.
    pub fn note_first_login(&mut self, credential: &Credential) -> Result<bool> {
        let same = users::table
            .find(credential.user_id)
            .filter(users::password.eq(&credential.password));
        let changed = diesel::update(same).set(users::is_automatic.eq(false)).execute(self)?;
        Ok(changed > 0)
    }

    /// Renames a user; the caller has seen to it that the name is free.
    pub fn rename_user(&mut self, user_id: i32, name: &Name) -> Result<()> {
        diesel::update(users::table.find(user_id))
            .set((
                users::name.eq(name.shown()),
                users::name_folded.eq(name.folded()),
                users::is_automatic.eq(false),
            ))
            .execute(self)?;
        Ok(())
    }

    /// Changes what clients keep with a user.
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
                change.avatar.as_ref().map(|text| users::avatar.eq(text)),
                change
                    .plex_usernames
                    .as_ref()
                    .map(|text| users::plex_usernames.eq(text)),
            ))
            .execute(self)?;
        Ok(())
    }

    /// Disables or enables a user.
    pub fn set_disabled(&mut self, user_id: i32, disabled: bool) -> Result<()> {
        diesel::update(users::table.find(user_id))
            .set(users::is_disabled.eq(disabled))
            .execute(self)?;
        Ok(())
    }

    /// Makes a user an administrator, or one no more.
    pub fn set_admin(&mut self, user_id: i32, admin: bool) -> Result<()> {
        diesel::update(users::table.find(user_id))
            .set((users::is_admin.eq(admin), users::is_automatic.eq(false)))
            .execute(self)?;
        Ok(())
    }

    /// Deletes a user, and all keys with him.
    pub fn delete_user(&mut self, user_id: i32) -> Result<()> {
        diesel::delete(users::table.find(user_id)).execute(self)?;
        Ok(())
    }

    /// Stores a new password. `false`: there is no such user.
    pub fn set_password(&mut self, user_id: i32, password: &str) -> Result<bool> {
        let changed = diesel::update(users::table.find(user_id))
            .set((
                users::password.eq(password),
                users::password_version.eq(users::password_version + 1),
                users::is_automatic.eq(false),
            ))
            .execute(self)?;
        Ok(changed > 0)
    }

    /// Puts another hash of the same password in the place of `old`, unless the password has changed meanwhile.
    pub fn replace_hash(&mut self, user_id: i32, old: &str, new: &str) -> Result<()> {
        diesel::update(users::table.find(user_id).filter(users::password.eq(old)))
            .set(users::password.eq(new))
            .execute(self)?;
        Ok(())
    }
}
