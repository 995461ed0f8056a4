//! Queries on `login_failures` and `known_networks`.

use chrono::NaiveDateTime;
use diesel::prelude::{AsChangeset, ExpressionMethods, Insertable, QueryDsl, Queryable, RunQueryDsl, Selectable};
use diesel::upsert::excluded;
use diesel::{BoolExpressionMethods, SelectableHelper};

use super::DbConnection;
use super::schema::{known_networks, login_failures};
use crate::error::Result;

/// What was counted, of a network (the account is empty) or of an account (the network is empty for all that are not
/// known).
#[derive(Clone, Debug, Queryable, Selectable, Insertable, AsChangeset, PartialEq, Eq)]
#[diesel(table_name = login_failures)]
pub struct Failures {
    /// A folded name.
    pub account: String,
    /// A network's text.
    pub network: String,
    /// How many tries have failed.
    pub failures: i32,
    /// When the first of them did.
    pub first_at: NaiveDateTime,
    /// When the last of them did.
    pub last_at: NaiveDateTime,
    /// How many tries have begun and are not counted yet.
    pub pending: i32,
    /// When the last of those began.
    pub pending_at: NaiveDateTime,
}

impl DbConnection {
    /// Two counts, each if there is one.
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
        Ok(rows.select(Failures::as_select()).load(self)?)
    }

    /// Both counts, made where missing, and locked until the transaction ends.
    pub fn lock_failures(&mut self, new: &[Failures; 2]) -> Result<Vec<Failures>> {
        // In their order, so that no two wait for each other.
        for row in new {
            let insert = diesel::insert_into(login_failures::table)
                .values(row)
                .on_conflict((login_failures::account, login_failures::network))
                .do_update()
                // Nothing, but with a lock; a row that somebody is deleting is made again.
                .set(login_failures::account.eq(excluded(login_failures::account)));
            match self {
                Self::Postgres(c) => insert.execute(c),
                Self::Sqlite(c) => insert.execute(c),
            }?;
        }
        let [one, other] = new;
        self.failures([(&one.account, &one.network), (&other.account, &other.network)])
    }

    /// Stores a count that is there.
    pub fn store_failures(&mut self, failures: &Failures) -> Result<()> {
        let row = login_failures::table.find((&failures.account, &failures.network));
        diesel::update(row).set(failures).execute(self)?;
        Ok(())
    }

    /// Forgets all counts of an account.
    pub fn delete_failures_of(&mut self, account: &str) -> Result<()> {
        diesel::delete(login_failures::table.filter(login_failures::account.eq(account))).execute(self)?;
        Ok(())
    }

    /// The counts of all accounts.
    pub fn failures_of_accounts(&mut self) -> Result<Vec<Failures>> {
        Ok(login_failures::table
            .filter(login_failures::account.ne(""))
            .select(Failures::as_select())
            .load(self)?)
    }

    /// Forgets counts of networks that nothing was added to since. Not in one transaction with those of accounts: a try
    /// locks one of either kind.
    pub fn delete_old_failures_of_networks(&mut self, since: NaiveDateTime) -> Result<()> {
        let of_networks = login_failures::account.eq("");
        let old = login_failures::last_at
            .lt(since)
            .and(login_failures::pending_at.lt(since));
        diesel::delete(login_failures::table.filter(of_networks.and(old))).execute(self)?;
        Ok(())
    }

    /// The same of accounts.
    pub fn delete_old_failures_of_accounts(&mut self, since: NaiveDateTime) -> Result<()> {
        let of_accounts = login_failures::account.ne("");
        let old = login_failures::last_at
            .lt(since)
            .and(login_failures::pending_at.lt(since));
        diesel::delete(login_failures::table.filter(of_accounts.and(old))).execute(self)?;
        Ok(())
    }

    /// Whether the user has logged in from this network since.
    pub fn is_known_network(&mut self, user_id: i32, network: &str, since: NaiveDateTime) -> Result<bool> {
        let found: i64 = known_networks::table
            .filter(known_networks::user_id.eq(user_id))
            .filter(known_networks::network.eq(network))
            .filter(known_networks::last_login_at.ge(since))
            .count()
            .get_result(self)?;
        Ok(found > 0)
    }

    /// Remembers that the user has logged in from this network; again only when that was before `unless_since`.
    pub fn note_known_network(
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
        match self {
            Self::Postgres(c) => upsert.execute(c),
            Self::Sqlite(c) => upsert.execute(c),
        }?;
        Ok(())
    }

    /// Forgets networks from which the users have not logged in since.
    pub fn delete_old_networks(&mut self, since: NaiveDateTime) -> Result<()> {
        diesel::delete(known_networks::table.filter(known_networks::last_login_at.lt(since))).execute(self)?;
        Ok(())
    }
}
