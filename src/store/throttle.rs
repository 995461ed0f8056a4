//! Queries on `login_failures` and `known_networks`.

use chrono::NaiveDateTime;
use diesel::prelude::{AsChangeset, ExpressionMethods, Insertable, QueryDsl, Queryable, RunQueryDsl, Selectable};
use diesel::upsert::excluded;
use diesel::{BoolExpressionMethods, SelectableHelper};

use super::schema::{known_networks, login_failures};
use super::{DbConnection, Reader, Transaction};
use crate::error::Result;

/// The count of failed logins of a network or of an account. A network has one row, in which `account` is empty. An
/// account has one row for each known network, and one row with an empty `network` for all other networks.
#[derive(Clone, Debug, Queryable, Selectable, Insertable, AsChangeset, PartialEq, Eq)]
#[diesel(table_name = login_failures)]
pub struct Failures {
    /// A normalized name, or empty.
    pub account: String,
    /// An address with a prefix length, or empty.
    pub network: String,
    pub failures: i32,
    pub first_at: NaiveDateTime,
    pub last_at: NaiveDateTime,
    /// How many attempts have been recorded but not settled.
    pub pending: i32,
    /// When the last unsettled attempt was recorded.
    pub pending_at: NaiveDateTime,
}

impl Reader {
    /// Returns the rows that exist for these two (account, network) pairs.
    pub fn failures(&mut self, of: [(&str, &str); 2]) -> Result<Vec<Failures>> {
        let [(account, network), (other_account, other_network)] = of;
        let one = login_failures::account
            .eq(account)
            .and(login_failures::network.eq(network));
        let other = login_failures::account
            .eq(other_account)
            .and(login_failures::network.eq(other_network));
        let rows = login_failures::table
            .filter(one.or(other))
            .order((login_failures::account, login_failures::network));
        Ok(rows.select(Failures::as_select()).load(self.connection())?)
    }

    /// Returns the rows of all accounts.
    pub fn failures_of_accounts(&mut self) -> Result<Vec<Failures>> {
        Ok(login_failures::table
            .filter(login_failures::account.ne(""))
            .select(Failures::as_select())
            .load(self.connection())?)
    }

    /// Returns whether the user has logged in from this network at or after `since`.
    pub fn is_known_network(&mut self, user_id: i32, network: &str, since: NaiveDateTime) -> Result<bool> {
        let found: i64 = known_networks::table
            .filter(known_networks::user_id.eq(user_id))
            .filter(known_networks::network.eq(network))
            .filter(known_networks::last_login_at.ge(since))
            .count()
            .get_result(self.connection())?;
        Ok(found > 0)
    }
}

impl Transaction {
    /// Locks two rows until the transaction ends and returns them. Inserts a row of `new` if the database has no row
    /// for its account and network.
    pub fn lock_failures(&mut self, new: &[Failures; 2]) -> Result<Vec<Failures>> {
        // The order is the same for all attempts, so that two transactions cannot deadlock.
        for row in new {
            let insert = diesel::insert_into(login_failures::table)
                .values(row)
                .on_conflict((login_failures::account, login_failures::network))
                .do_update()
                // A no-op update that locks the row. If another transaction is deleting the row, it is inserted again.
                .set(login_failures::account.eq(excluded(login_failures::account)));
            match self.connection() {
                DbConnection::Postgres(c) => insert.execute(c),
                DbConnection::Sqlite(c) => insert.execute(c),
            }?;
        }
        let [one, other] = new;
        self.failures([(&one.account, &one.network), (&other.account, &other.network)])
    }

    /// Updates a row that exists.
    pub fn store_failures(&mut self, failures: &Failures) -> Result<()> {
        let row = login_failures::table.find((&failures.account, &failures.network));
        diesel::update(row).set(failures).execute(self.connection())?;
        Ok(())
    }

    /// Deletes all rows of the account with this normalized name.
    pub fn delete_failures_of(&mut self, account: &str) -> Result<()> {
        diesel::delete(login_failures::table.filter(login_failures::account.eq(account))).execute(self.connection())?;
        Ok(())
    }

    /// Deletes the rows of networks whose counts have not changed since `since`. Do not call it in the same transaction
    /// as [`Self::delete_old_failures_of_accounts`]: an attempt also locks a row of each kind, so it could deadlock
    /// with a transaction that deletes both.
    pub fn delete_old_failures_of_networks(&mut self, since: NaiveDateTime) -> Result<()> {
        let of_networks = login_failures::account.eq("");
        let old = login_failures::last_at
            .lt(since)
            .and(login_failures::pending_at.lt(since));
        diesel::delete(login_failures::table.filter(of_networks.and(old))).execute(self.connection())?;
        Ok(())
    }

    /// Deletes the rows of accounts whose counts have not changed since `since`. Do not call it in the same transaction
    /// as [`Self::delete_old_failures_of_networks`], which explains why.
    pub fn delete_old_failures_of_accounts(&mut self, since: NaiveDateTime) -> Result<()> {
        let of_accounts = login_failures::account.ne("");
        let old = login_failures::last_at
            .lt(since)
            .and(login_failures::pending_at.lt(since));
        diesel::delete(login_failures::table.filter(of_accounts.and(old))).execute(self.connection())?;
        Ok(())
    }

    /// Records that the user has logged in from this network. Does nothing if a login from there at or after
    /// `unless_since` is already recorded.
    pub fn record_known_network(
        &mut self,
        user_id: i32,
        network: &str,
        now: NaiveDateTime,
        unless_since: NaiveDateTime,
    ) -> Result<()> {
        let values = (
            known_networks::user_id.eq(user_id),
            known_networks::network.eq(network),
            known_networks::last_login_at.eq(now),
        );
        let upsert = diesel::insert_into(known_networks::table)
            .values(values)
            .on_conflict((known_networks::user_id, known_networks::network))
            .do_update()
            .set(known_networks::last_login_at.eq(excluded(known_networks::last_login_at)));
        let upsert =
            diesel::query_dsl::methods::FilterDsl::filter(upsert, known_networks::last_login_at.lt(unless_since));
        match self.connection() {
            DbConnection::Postgres(c) => upsert.execute(c),
            DbConnection::Sqlite(c) => upsert.execute(c),
        }?;
        Ok(())
    }

    /// Deletes the known networks from which the user's last login was before `since`.
    pub fn delete_old_networks(&mut self, since: NaiveDateTime) -> Result<()> {
        diesel::delete(known_networks::table.filter(known_networks::last_login_at.lt(since)))
            .execute(self.connection())?;
        Ok(())
    }
}
