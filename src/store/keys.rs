//! Queries on `api_keys`.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::schema::{api_keys, users};
use super::users::Credential;
use super::{DbConnection, Reader, Transaction};
use crate::error::Result;
use crate::model::{Expiration, KeyHolder, KeyInfo, Name};
use crate::secret::key::KeyHash;

/// A key to store, with its owner and its device.
#[derive(Debug)]
pub struct StoredKey<'a> {
    pub user_id: i32,
    pub device: &'a Name,
    pub hash: KeyHash,
    /// The sealed key, from which the device's next login gets the same key. `None` for a key that no login returns.
    pub sealed: Option<Vec<u8>>,
    /// `None` means that the key never expires.
    pub expiration: Option<Expiration>,
}

/// The maximum number of rows in one statement.
const MAX_BATCH: usize = 500;

#[derive(Insertable)]
#[diesel(table_name = api_keys)]
struct NewKeyRow<'a> {
    user_id: i32,
    device: &'a str,
    device_folded: &'a str,
    hash: &'a [u8],
    sealed: Option<&'a [u8]>,
    created_at: NaiveDateTime,
    expires_at: Option<NaiveDateTime>,
    is_renewable: bool,
}

impl<'a> NewKeyRow<'a> {
    fn new(key: &'a StoredKey<'_>, now: NaiveDateTime) -> Self {
        Self {
            user_id: key.user_id,
            device: key.device.as_typed(),
            device_folded: key.device.normalized(),
            hash: &key.hash,
            sealed: key.sealed.as_deref(),
            created_at: now,
            expires_at: key.expiration.map(|expiration| expiration.at),
            is_renewable: key.expiration.is_some_and(|expiration| expiration.is_renewable),
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
struct KeyRow {
    id: i64,
    user_id: i32,
    #[diesel(select_expression = users::name)]
    user: String,
    device: String,
    created_at: NaiveDateTime,
    expires_at: Option<NaiveDateTime>,
    last_used_at: Option<NaiveDateTime>,
    last_used_from: Option<String>,
}

impl From<KeyRow> for KeyInfo {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            user: row.user,
            device: row.device,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            last_used_from: row.last_used_from,
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
struct HolderRow {
    hash: Vec<u8>,
    #[diesel(column_name = id)]
    key_id: i64,
    user_id: i32,
    #[diesel(select_expression = users::name)]
    user: String,
    #[diesel(select_expression = users::is_admin)]
    is_admin: bool,
    device: String,
    expires_at: Option<NaiveDateTime>,
    is_renewable: bool,
}

impl HolderRow {
    fn into_holder(self) -> Option<(KeyHash, Arc<KeyHolder>)> {
        let is_renewable = self.is_renewable;
        let holder = KeyHolder {
            key_id: self.key_id,
            user_id: self.user_id,
            user: self.user,
            is_admin: self.is_admin,
            device: self.device,
            expiration: self.expires_at.map(|at| Expiration { at, is_renewable }),
        };
        Some((self.hash.try_into().ok()?, Arc::new(holder)))
    }
}

/// The user and device of a key.
#[derive(Debug)]
pub struct KeyOwner {
    pub user_id: i32,
    /// The user's name as typed.
    pub user: String,
    /// The device's name as typed, or empty for several devices.
    pub device: String,
}

impl From<(i32, String, String)> for KeyOwner {
    fn from((user_id, user, device): (i32, String, String)) -> Self {
        Self { user_id, user, device }
    }
}

impl Reader {
    /// Returns the holder of the key with this hash if the key has not expired and its user is not disabled.
    pub fn key_holder(&mut self, hash: &KeyHash, now: NaiveDateTime) -> Result<Option<Arc<KeyHolder>>> {
        Ok(self.key_holders(&[*hash], now)?.remove(hash))
    }

    /// Returns the holders of those keys that have not expired and whose users are not disabled.
    pub fn key_holders(&mut self, hashes: &[KeyHash], now: NaiveDateTime) -> Result<HashMap<KeyHash, Arc<KeyHolder>>> {
        let valid = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
            .filter(users::is_disabled.eq(false));
        let rows: Vec<HolderRow> = match self.connection() {
            DbConnection::Postgres(c) => {
                let hashes = hashes.iter().map(KeyHash::as_slice);
                let valid = valid.filter(api_keys::hash.eq_any(hashes));
                valid.select(HolderRow::as_select()).load(c)?
            }
            // One prepared statement runs for each hash. A single query for all hashes would be no faster.
            DbConnection::Sqlite(c) => {
                let mut rows = Vec::new();
                for hash in hashes {
                    let valid = valid.filter(api_keys::hash.eq(hash.as_slice()));
                    rows.extend(valid.select(HolderRow::as_select()).load(c)?);
                }
                rows
            }
        };
        Ok(rows.into_iter().filter_map(HolderRow::into_holder).collect())
    }

    /// Returns whether the key with this hash is invalid only because its user is disabled.
    pub fn is_key_of_disabled_user(&mut self, hash: &KeyHash, now: NaiveDateTime) -> Result<bool> {
        let found: i64 = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::hash.eq(hash.as_slice()))
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
            .filter(users::is_disabled.eq(true))
            .count()
            .get_result(self.connection())?;
        Ok(found > 0)
    }

    /// Returns the sealed key of this device. Returns `None` if there is none, or if the password has changed or the
    /// user has been disabled since `credential` was read.
    pub fn sealed_key(&mut self, credential: &Credential, device: &Name) -> Result<Option<Vec<u8>>> {
        let sealed: Option<Option<Vec<u8>>> = api_keys::table
            .inner_join(users::table)
            .filter(users::id.eq(credential.user_id))
            .filter(users::password_version.eq(credential.password_version))
            .filter(users::is_disabled.eq(false))
            .filter(api_keys::device_folded.eq(device.normalized()))
            .filter(api_keys::sealed.is_not_null())
            .select(api_keys::sealed)
            .first(self.connection())
            .optional()?;
        Ok(sealed.flatten())
    }

    /// Returns the ids of the keys' owners, by key hash. Keys that do not exist are missing from the result.
    pub fn owners_of_keys(&mut self, hashes: &[KeyHash]) -> Result<HashMap<KeyHash, i32>> {
        let mut owners = HashMap::new();
        for batch in hashes.chunks(MAX_BATCH) {
            let batch = batch.iter().map(KeyHash::as_slice);
            let found = api_keys::table.select((api_keys::hash, api_keys::user_id));
            let found = found.filter(api_keys::hash.eq_any(batch));
            let found: Vec<(Vec<u8>, i32)> = match self.connection() {
                DbConnection::Postgres(c) => found.load(c),
                DbConnection::Sqlite(c) => found.load(c),
            }?;
            owners.extend(
                found
                    .into_iter()
                    .filter_map(|(hash, user)| Some((hash.try_into().ok()?, user))),
            );
        }
        Ok(owners)
    }

    pub fn owner_of_key(&mut self, key_id: i64) -> Result<Option<KeyOwner>> {
        let owner: Option<(i32, String, String)> = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::id.eq(key_id))
            .select((users::id, users::name, api_keys::device))
            .first(self.connection())
            .optional()?;
        Ok(owner.map(KeyOwner::from))
    }

    /// Returns the normalized names of the user's devices that have a lasting key.
    pub fn sealed_devices(&mut self, user_id: i32) -> Result<Vec<String>> {
        Ok(api_keys::table
            .filter(api_keys::user_id.eq(user_id))
            .filter(api_keys::sealed.is_not_null())
            .select(api_keys::device_folded)
            .load(self.connection())?)
    }

    /// Returns the unexpired keys of one user or of all users, ordered by user, device and age.
    pub fn keys(&mut self, user_id: Option<i32>, now: NaiveDateTime) -> Result<Vec<KeyInfo>> {
        // Without a user, the range covers all ids. A boxed query is no option: diesel cannot run one on two databases.
        let (min, max) = user_id.map_or((i32::MIN, i32::MAX), |id| (id, id));
        let rows: Vec<KeyRow> = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::user_id.between(min, max))
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
            .order((api_keys::user_id, api_keys::device_folded, api_keys::id))
            .select(KeyRow::as_select())
            .load(self.connection())?;
        Ok(rows.into_iter().map(KeyInfo::from).collect())
    }
}

impl Transaction {
    /// Deletes the sealed copy of the device's key. The key stays valid, but no login returns it again.
    pub fn delete_sealed_key(&mut self, user_id: i32, device: &Name) -> Result<()> {
        diesel::update(
            api_keys::table
                .filter(api_keys::user_id.eq(user_id))
                .filter(api_keys::device_folded.eq(device.normalized())),
        )
        .set(api_keys::sealed.eq(None::<Vec<u8>>))
        .execute(self.connection())?;
        Ok(())
    }

    pub fn insert_key(&mut self, key: &StoredKey<'_>, now: NaiveDateTime) -> Result<()> {
        self.insert_keys(std::slice::from_ref(key), now)
    }

    pub fn insert_keys(&mut self, keys: &[StoredKey<'_>], now: NaiveDateTime) -> Result<()> {
        for batch in keys.chunks(MAX_BATCH) {
            let rows: Vec<NewKeyRow<'_>> = batch.iter().map(|key| NewKeyRow::new(key, now)).collect();
            let insert = diesel::insert_into(api_keys::table).values(&rows);
            match self.connection() {
                DbConnection::Postgres(c) => insert.execute(c),
                DbConnection::Sqlite(c) => insert.execute(c),
            }?;
        }
        Ok(())
    }

    /// Deletes expired keys and returns how many there were.
    pub fn delete_expired_keys(&mut self, now: NaiveDateTime) -> Result<usize> {
        Ok(diesel::delete(api_keys::table.filter(api_keys::expires_at.le(now))).execute(self.connection())?)
    }

    /// Deletes a key and returns its owner, if there was such a key.
    pub fn delete_key_by_id(&mut self, key_id: i64) -> Result<Option<KeyOwner>> {
        let owner = self.owner_of_key(key_id)?;
        let deleted = diesel::delete(api_keys::table.find(key_id)).execute(self.connection())?;
        Ok(owner.filter(|_| deleted > 0))
    }

    /// Returns the holder of a key if the key is valid. The key then cannot be revoked until the transaction ends.
    pub fn lock_key_holder(&mut self, key_id: i64, now: NaiveDateTime) -> Result<Option<Arc<KeyHolder>>> {
        let hash = api_keys::table.find(key_id).select(api_keys::hash);
        let hash: Option<Vec<u8>> = match self.connection() {
            DbConnection::Postgres(c) => hash.for_share().first(c),
            // No lock is needed, because the transaction is the only writer.
            DbConnection::Sqlite(c) => hash.first(c),
        }
        .optional()?;
        match hash.as_deref().and_then(|hash| hash.try_into().ok()) {
            Some(hash) => self.key_holder(hash, now),
            None => Ok(None),
        }
    }

    /// Deletes the key with this hash and returns its owner, if there was such a key.
    pub fn delete_key(&mut self, hash: &KeyHash) -> Result<Option<KeyOwner>> {
        let key = api_keys::table.filter(api_keys::hash.eq(hash.as_slice()));
        let key_id: Option<i64> = key.select(api_keys::id).first(self.connection()).optional()?;
        match key_id {
            Some(key_id) => self.delete_key_by_id(key_id),
            None => Ok(None),
        }
    }

    /// Deletes all keys of a user's device and returns how many there were.
    pub fn delete_keys_of_device(&mut self, user_id: i32, device: &Name) -> Result<usize> {
        Ok(diesel::delete(
            api_keys::table
                .filter(api_keys::user_id.eq(user_id))
                .filter(api_keys::device_folded.eq(device.normalized())),
        )
        .execute(self.connection())?)
    }

    /// Deletes all keys of a user and returns how many there were.
    pub fn delete_keys_of_user(&mut self, user_id: i32) -> Result<usize> {
        Ok(diesel::delete(api_keys::table.filter(api_keys::user_id.eq(user_id))).execute(self.connection())?)
    }
}
