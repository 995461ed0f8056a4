//! Queries on `login_failures` and `known_networks`.

use chrono::{DateTime, NaiveDateTime};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer};
use diesel::upsert::excluded;

use super::schema::{known_networks, login_failures};
use super::{DbConnection, Reader, Transaction};
use crate::error::{Result, ThrottleScope};
use crate::model::{NameDigest, Network};

/// The maximum number of rows that one transaction deletes. On SQLite, other writers wait until it ends.
const MAX_BATCH: usize = 1000;

/// The maximum number of accounts in one query. SQLite limits the parameters of a query.
const MAX_ACCOUNTS: usize = 500;

/// Deletes stale rows on PostgreSQL. Skips rows that an attempt has locked: they are no longer stale after the attempt,
/// and waiting for it could deadlock.
const DELETE_STALE: &str = "\
    WITH stale AS (SELECT account, network FROM login_failures WHERE stale_minute <= $1 LIMIT $2
                   FOR UPDATE SKIP LOCKED)
    DELETE FROM login_failures USING stale
    WHERE login_failures.account = stale.account AND login_failures.network = stale.network";

/// Deletes stale rows on SQLite, which has only one writer.
const DELETE_STALE_ON_SQLITE: &str = "\
    DELETE FROM login_failures
    WHERE rowid IN (SELECT rowid FROM login_failures WHERE stale_minute <= ? LIMIT ?)";

/// The key of a count of failed logins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CountKey {
    /// The digest of a normalized name, or empty for the count of a network.
    account: Vec<u8>,
    /// See [`Network::to_bytes`]. Empty for the count that an account has for all unknown networks.
    network: Vec<u8>,
}

impl CountKey {
    /// Returns the key of the count of a network.
    #[must_use]
    pub fn of_network(network: Network) -> Self {
        Self {
            account: Vec::new(),
            network: network.to_bytes(),
        }
    }

    /// Returns the key of the count that an account has for a known network, or for all other networks together.
    #[must_use]
    pub fn of_account(account: NameDigest, known_network: Option<Network>) -> Self {
        Self {
            account: account.to_vec(),
            network: known_network.map(Network::to_bytes).unwrap_or_default(),
        }
    }

    #[must_use]
    pub fn scope(&self) -> ThrottleScope {
        match (self.account.is_empty(), self.network.first()) {
            (false, _) => ThrottleScope::Account,
            (true, Some(56)) => ThrottleScope::Network56,
            (true, Some(48)) => ThrottleScope::Network48,
            (true, _) => ThrottleScope::Network,
        }
    }
}

/// The count of failed logins of a network or of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    pub key: CountKey,
    pub failures: i32,
    /// For a network, the time of the first of these failures. For an account, the time of the last one.
    pub failed_at: NaiveDateTime,
    /// How many attempts have been recorded but not settled.
    pub pending: i32,
    /// When the last attempt was recorded.
    pub pending_at: NaiveDateTime,
    /// When the count no longer matters. The database stores it rounded up to a minute.
    pub stale_at: NaiveDateTime,
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = login_failures, primary_key(account, network))]
struct Row {
    failed_at: i64,
    pending_at: i64,
    failures: i32,
    pending: i32,
    stale_minute: i32,
    account: Vec<u8>,
    network: Vec<u8>,
}

impl From<&Failures> for Row {
    fn from(count: &Failures) -> Self {
        Self {
            failed_at: micros(count.failed_at),
            pending_at: micros(count.pending_at),
            failures: count.failures,
            pending: count.pending,
            // Rounded up.
            stale_minute: minute(count.stale_at).saturating_add(1),
            account: count.key.account.clone(),
            network: count.key.network.clone(),
        }
    }
}

impl From<Row> for Failures {
    fn from(row: Row) -> Self {
        let time = |micros| DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc();
        Self {
            key: CountKey {
                account: row.account,
                network: row.network,
            },
            failures: row.failures,
            failed_at: time(row.failed_at),
            pending: row.pending,
            pending_at: time(row.pending_at),
            stale_at: time(i64::from(row.stale_minute) * 60_000_000),
        }
    }
}

fn micros(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_micros()
}

/// Returns the minute since the Unix epoch that contains `time`.
fn minute(time: NaiveDateTime) -> i32 {
    i32::try_from(time.and_utc().timestamp().div_euclid(60)).unwrap_or(i32::MAX)
}

impl Reader {
    /// Returns the counts that exist for these keys, in the order of the keys.
    pub fn failures(&mut self, keys: &[CountKey]) -> Result<Vec<Failures>> {
        let accounts: Vec<&[u8]> = keys.iter().map(|key| key.account.as_slice()).collect();
        let networks: Vec<&[u8]> = keys.iter().map(|key| key.network.as_slice()).collect();
        // Two lists find all rows by the primary key in one query. They also match an account of one key with a network
        // of another, so such rows are removed below.
        let query = login_failures::table
            .filter(login_failures::account.eq_any(accounts))
            .filter(login_failures::network.eq_any(networks));
        let rows: Vec<Row> = match self.connection() {
            DbConnection::Postgres(c) => query.select(Row::as_select()).load(c),
            DbConnection::Sqlite(c) => query.select(Row::as_select()).load(c),
        }?;
        let mut found: Vec<Failures> = rows.into_iter().map(Failures::from).collect();
        found.retain(|count| keys.contains(&count.key));
        found.sort_by_key(|count| keys.iter().position(|key| *key == count.key));
        Ok(found)
    }

    /// Returns all counts of these accounts.
    pub fn failures_of_accounts(&mut self, accounts: &[NameDigest]) -> Result<Vec<(NameDigest, Failures)>> {
        let mut found = Vec::new();
        for batch in accounts.chunks(MAX_ACCOUNTS) {
            let digests: Vec<&[u8]> = batch.iter().map(NameDigest::as_slice).collect();
            let query = login_failures::table.filter(login_failures::account.eq_any(digests));
            let rows: Vec<Row> = match self.connection() {
                DbConnection::Postgres(c) => query.select(Row::as_select()).load(c),
                DbConnection::Sqlite(c) => query.select(Row::as_select()).load(c),
            }?;
            found.extend(rows.into_iter().filter_map(|row| {
                let account = row.account.as_slice().try_into().ok()?;
                Some((account, row.into()))
            }));
        }
        Ok(found)
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
    /// Locks counts until the transaction ends. Inserts the counts of `new` that do not exist in the database, and
    /// returns the stored values of those that do. Counts are locked in the order of `new`, which must be the same for
    /// all transactions. Otherwise two of them could deadlock.
    pub fn lock_failures(&mut self, new: &[Failures]) -> Result<Vec<Failures>> {
        let mut existing = Vec::new();
        for count in new {
            let upsert = diesel::insert_into(login_failures::table)
                .values(Row::from(count))
                .on_conflict((login_failures::account, login_failures::network))
                .do_update()
                .set(login_failures::failures.eq(excluded(login_failures::failures)));
            // The condition is never true, so an existing row is locked but not changed. An update without effect would
            // leave a dead row in PostgreSQL. If another transaction is deleting the row, it is inserted again.
            let never = false.into_sql::<Bool>();
            let upsert = diesel::query_dsl::methods::FilterDsl::filter(upsert, never);
            let inserted = match self.connection() {
                DbConnection::Postgres(c) => upsert.execute(c),
                DbConnection::Sqlite(c) => upsert.execute(c),
            }?;
            if inserted == 0 {
                existing.push(count.key.clone());
            }
        }
        if existing.is_empty() {
            return Ok(Vec::new());
        }
        self.failures(&existing)
    }

    /// Updates a count that exists.
    pub fn store_failures(&mut self, count: &Failures) -> Result<()> {
        let row = Row::from(count);
        diesel::update(login_failures::table.find((&row.account, &row.network)))
            .set(&row)
            .execute(self.connection())?;
        Ok(())
    }

    /// Deletes all counts of an account.
    pub fn delete_failures_of(&mut self, account: &NameDigest) -> Result<()> {
        diesel::delete(login_failures::table.filter(login_failures::account.eq(account.as_slice())))
            .execute(self.connection())?;
        Ok(())
    }

    /// Deletes some of the counts that no longer matter. Returns whether there may be more of them.
    pub fn delete_stale_failures(&mut self, now: NaiveDateTime) -> Result<bool> {
        let limit = i64::try_from(MAX_BATCH).unwrap_or(i64::MAX);
        let delete = |sql| {
            diesel::sql_query(sql)
                .bind::<Integer, _>(minute(now))
                .bind::<BigInt, _>(limit)
        };
        let deleted = match self.connection() {
            DbConnection::Postgres(c) => delete(DELETE_STALE).execute(c),
            DbConnection::Sqlite(c) => delete(DELETE_STALE_ON_SQLITE).execute(c),
        }?;
        Ok(deleted >= MAX_BATCH)
    }

    /// Records that the user has logged in from this network. Does nothing if a login from there at or after
    /// `unless_since` is already recorded. Returns whether a row was written. Lock the user first.
    pub fn record_known_network(
        &mut self,
        user_id: i32,
        network: &str,
        now: NaiveDateTime,
        unless_since: NaiveDateTime,
    ) -> Result<bool> {
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
        let written = match self.connection() {
            DbConnection::Postgres(c) => upsert.execute(c),
            DbConnection::Sqlite(c) => upsert.execute(c),
        }?;
        Ok(written > 0)
    }

    /// Deletes up to `MAX_BATCH` of the least recently used known networks of a user, so that `latest` and
    /// `max_others` others stay. Ignores networks from which the last login was before `since`:
    /// [`Self::delete_old_networks`] deletes them, and could deadlock with a transaction that deletes them here. Lock the
    /// user first.
    pub fn delete_excess_networks(
        &mut self,
        user_id: i32,
        latest: &str,
        max_others: u16,
        since: NaiveDateTime,
    ) -> Result<()> {
        let of_user = known_networks::table.filter(known_networks::user_id.eq(user_id));
        let excess: Vec<String> = of_user
            .filter(known_networks::network.ne(latest))
            .filter(known_networks::last_login_at.ge(since))
            .order((known_networks::last_login_at.desc(), known_networks::network))
            .limit(i64::try_from(MAX_BATCH).unwrap_or(i64::MAX))
            .offset(max_others.into())
            .select(known_networks::network)
            .load(self.connection())?;
        if !excess.is_empty() {
            diesel::delete(of_user.filter(known_networks::network.eq_any(excess))).execute(self.connection())?;
        }
        Ok(())
    }

    /// Deletes the known networks from which the user's last login was before `since`.
    pub fn delete_old_networks(&mut self, since: NaiveDateTime) -> Result<()> {
        diesel::delete(known_networks::table.filter(known_networks::last_login_at.lt(since)))
            .execute(self.connection())?;
        Ok(())
    }
}
