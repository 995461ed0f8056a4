//! Queries on `api_keys` that issue keys.

use chrono::NaiveDateTime;
use diesel::dsl::exists;
use diesel::prelude::*;

use super::keys::{DEVICE, FULL, MAX_KEYS_PER_STATEMENT, SESSION};
use super::schema::{api_keys, users};
use super::users::Credential;
use super::{DbConnection, KeyOwner, Reader, Transaction};
use crate::error::Result;
use crate::model::{Expiration, KeyKind, Name, Scope};
use crate::secret::key::KeyHash;
use crate::secret::seal::SealedKey;

/// A key to store, with its owner and its device.
#[derive(Debug)]
pub struct StoredKey<'a> {
    pub user_id: i32,
    /// The current epoch of the user's keys. The user must be locked, so that it cannot change meanwhile.
    pub epoch: i32,
    pub device: &'a Name,
    pub kind: KeyKind,
    pub hash: KeyHash,
    /// The sealed key, from which the device's next login gets the same key. `None` for a key that no login returns.
    pub sealed: Option<SealedKey>,
    /// `None` means that the key never expires.
    pub expiration: Option<Expiration>,
    /// The hash of the cookie with which the browser of a session passes forward-auth.
    pub gateway_hash: Option<KeyHash>,
}

#[derive(Insertable)]
#[diesel(table_name = api_keys)]
struct NewKeyRow<'a> {
    user_id: i32,
    device: &'a str,
    device_folded: &'a str,
    hash: &'a [u8],
    sealed: Option<&'a [u8]>,
    sealed_with: Option<&'a str>,
    created_at: NaiveDateTime,
    expires_at: Option<NaiveDateTime>,
    is_renewable: bool,
    epoch: i32,
    kind: &'static str,
    scope: &'static str,
    hosts: Option<String>,
    gateway_hash: Option<&'a [u8]>,
}

impl<'a> NewKeyRow<'a> {
    fn new(key: &'a StoredKey<'_>, now: NaiveDateTime) -> Self {
        let (kind, scope, hosts) = match &key.kind {
            KeyKind::Device(Scope::Full) => (DEVICE, FULL, None),
            KeyKind::Device(scope @ Scope::Gateway(hosts)) => (DEVICE, scope.name(), hosts.to_stored()),
            KeyKind::Session | KeyKind::GatewayCookie => (SESSION, FULL, None),
        };
        Self {
            user_id: key.user_id,
            device: key.device.as_typed(),
            device_folded: key.device.normalized(),
            hash: &key.hash,
            sealed: key.sealed.as_ref().map(|sealed| sealed.bytes.as_slice()),
            sealed_with: key
                .sealed
                .as_ref()
                .and_then(|sealed| Some(sealed.secret.as_ref()?.as_str())),
            created_at: now,
            expires_at: key.expiration.map(|expiration| expiration.at),
            is_renewable: key.expiration.is_some_and(|expiration| expiration.is_renewable),
            epoch: key.epoch,
            kind,
            scope,
            hosts,
            gateway_hash: key.gateway_hash.as_ref().map(KeyHash::as_slice),
        }
    }
}

impl Reader {
    /// Returns how many unexpired keys of devices a user has. Reads only these keys, because there may be many more
    /// expired ones.
    pub fn count_keys(&mut self, credential: &Credential, now: NaiveDateTime) -> Result<usize> {
        let lasting: i64 = api_keys::table
            .filter(api_keys::user_id.eq(credential.user_id))
            .filter(api_keys::epoch.eq(credential.key_epoch))
            .filter(api_keys::expires_at.is_null())
            .filter(api_keys::kind.eq(DEVICE))
            .count()
            .get_result(self.connection())?;
        let expiring: i64 = api_keys::table
            .filter(api_keys::user_id.eq(credential.user_id))
            .filter(api_keys::epoch.eq(credential.key_epoch))
            .filter(api_keys::expires_at.gt(now))
            .filter(api_keys::kind.eq(DEVICE))
            .count()
            .get_result(self.connection())?;
        Ok(usize::try_from(lasting + expiring).unwrap_or(usize::MAX))
    }
}

impl Transaction {
    /// Deletes the unexpired key of a device that expires first, and returns its owner. Returns `None` if all keys of
    /// the user are lasting keys.
    pub fn delete_first_key_to_expire(
        &mut self,
        credential: &Credential,
        now: NaiveDateTime,
    ) -> Result<Option<KeyOwner>> {
        let first: Option<i64> = api_keys::table
            .filter(api_keys::user_id.eq(credential.user_id))
            .filter(api_keys::epoch.eq(credential.key_epoch))
            .filter(api_keys::expires_at.gt(now))
            .filter(api_keys::kind.eq(DEVICE))
            .order(api_keys::expires_at)
            .select(api_keys::id)
            .first(self.connection())
            .optional()?;
        match first {
            Some(key_id) => self.delete_key_by_id(key_id),
            None => Ok(None),
        }
    }

    /// Deletes the keys with these hashes that were revoked with all keys of their user. Otherwise, the hashes could
    /// not be inserted again until a sweep has deleted the keys.
    pub fn delete_revoked_keys(&mut self, hashes: &[KeyHash]) -> Result<()> {
        for batch in hashes.chunks(MAX_KEYS_PER_STATEMENT) {
            let batch = batch.iter().map(KeyHash::as_slice);
            let owner = users::table
                .filter(users::id.eq(api_keys::user_id))
                .filter(users::key_epoch.eq(api_keys::epoch));
            let revoked = api_keys::table
                .filter(api_keys::hash.eq_any(batch))
                .filter(diesel::dsl::not(exists(owner)));
            match self.connection() {
                DbConnection::Postgres(c) => diesel::delete(revoked).execute(c),
                DbConnection::Sqlite(c) => diesel::delete(revoked).execute(c),
            }?;
        }
        Ok(())
    }

    pub fn insert_key(&mut self, key: &StoredKey<'_>, now: NaiveDateTime) -> Result<()> {
        self.insert_keys(std::slice::from_ref(key), now)
    }

    pub fn insert_keys(&mut self, keys: &[StoredKey<'_>], now: NaiveDateTime) -> Result<()> {
        for batch in keys.chunks(MAX_KEYS_PER_STATEMENT) {
            let rows: Vec<NewKeyRow<'_>> = batch.iter().map(|key| NewKeyRow::new(key, now)).collect();
            let insert = diesel::insert_into(api_keys::table).values(&rows);
            match self.connection() {
                DbConnection::Postgres(c) => insert.execute(c),
                DbConnection::Sqlite(c) => insert.execute(c),
            }?;
        }
        Ok(())
    }
}
