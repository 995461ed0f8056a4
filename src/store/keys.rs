//! Queries on `api_keys`.
//!
//! A key is revoked together with all other keys of its user when the user's `key_epoch` changes or the user is
//! deleted. Its row remains until a sweep deletes it (`super::sweep`), so every query here ignores keys whose epoch is
//! not that of their user.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::schema::{api_keys, users};
use super::users::Credential;
use super::{DbConnection, Reader, Transaction};
use crate::error::Result;
use crate::model::{Expiration, Hosts, KeyHolder, KeyInfo, KeyKind, Name, Scope};
use crate::secret::key::KeyHash;
use crate::secret::seal::{SealedKey, SecretId};

/// The maximum number of keys in one statement.
pub(super) const MAX_KEYS_PER_STATEMENT: usize = 500;

/// The value of `kind` for the key of a device.
pub(super) const DEVICE: &str = "device";
/// The value of `kind` for the session of a browser.
pub(super) const SESSION: &str = "session";
/// The value of `scope` for a key that is good for everything.
pub(super) const FULL: &str = "full";

/// The columns that say what a key is good for.
#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
pub(super) struct KindRow {
    kind: String,
    scope: String,
    hosts: Option<String>,
}

impl From<KindRow> for KeyKind {
    fn from(row: KindRow) -> Self {
        match (row.kind.as_str(), row.scope.as_str()) {
            (DEVICE, FULL) => Self::Device(Scope::Full),
            (SESSION, _) => Self::Session,
            // An unknown value, which a newer program may have written, is not more than the least.
            _ => Self::Device(Scope::Gateway(Hosts::from_stored(row.hosts.as_deref()))),
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
pub(super) struct KeyRow {
    id: i64,
    user_id: i32,
    #[diesel(select_expression = users::name)]
    user: String,
    device: String,
    created_at: NaiveDateTime,
    expires_at: Option<NaiveDateTime>,
    last_used_at: Option<NaiveDateTime>,
    last_used_from: Option<String>,
    #[diesel(embed)]
    kind: KindRow,
}

impl From<KeyRow> for KeyInfo {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            user: row.user,
            device: row.device,
            kind: row.kind.into(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            last_used_from: row.last_used_from,
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
pub(super) struct HolderRow {
    hash: Vec<u8>,
    #[diesel(column_name = id)]
    key_id: i64,
    user_id: i32,
    #[diesel(select_expression = users::name)]
    user: String,
    #[diesel(select_expression = users::email)]
    email: Option<String>,
    #[diesel(select_expression = users::is_admin)]
    is_admin: bool,
    device: String,
    created_at: NaiveDateTime,
    expires_at: Option<NaiveDateTime>,
    is_renewable: bool,
    #[diesel(embed)]
    kind: KindRow,
}

impl HolderRow {
    fn into_pair(self) -> Option<(KeyHash, Arc<KeyHolder>)> {
        let hash = self.hash.as_slice().try_into().ok()?;
        Some((hash, Arc::new(self.into_holder())))
    }

    pub(super) fn into_holder(self) -> KeyHolder {
        let is_renewable = self.is_renewable;
        KeyHolder {
            key_id: self.key_id,
            user_id: self.user_id,
            user: self.user,
            email: self.email,
            is_admin: self.is_admin,
            device: self.device,
            kind: self.kind.into(),
            created_at: self.created_at,
            expiration: self.expires_at.map(|at| Expiration { at, is_renewable }),
        }
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
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let valid = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::epoch.eq(users::key_epoch))
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
        Ok(rows.into_iter().filter_map(HolderRow::into_pair).collect())
    }

    /// Returns whether the key with this hash is invalid only because its user is disabled.
    pub fn is_key_of_disabled_user(&mut self, hash: &KeyHash, now: NaiveDateTime) -> Result<bool> {
        let found: i64 = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::hash.eq(hash.as_slice()))
            .filter(api_keys::epoch.eq(users::key_epoch))
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
            .filter(users::is_disabled.eq(true))
            .count()
            .get_result(self.connection())?;
        Ok(found > 0)
    }

    /// Returns the sealed key of this device. Returns `None` if there is none, or if the password has changed or the
    /// user has been disabled or deleted since `credential` was read.
    pub fn sealed_key(&mut self, credential: &Credential, device: &Name) -> Result<Option<SealedKey>> {
        let found: Option<(Option<Vec<u8>>, Option<String>, NaiveDateTime)> = api_keys::table
            .inner_join(users::table)
            .filter(users::id.eq(credential.user_id))
            .filter(users::password_version.eq(credential.password_version))
            .filter(users::is_disabled.eq(false))
            .filter(api_keys::epoch.eq(users::key_epoch))
            .filter(api_keys::device_folded.eq(device.normalized()))
            .filter(api_keys::sealed.is_not_null())
            .select((api_keys::sealed, api_keys::sealed_with, users::created_at))
            .first(self.connection())
            .optional()?;
        let found = found.filter(|(_, _, created_at)| *created_at == credential.created_at);
        Ok(found.and_then(|(bytes, secret, _)| {
            Some(SealedKey {
                bytes: bytes?,
                secret: secret.map(SecretId::from_stored),
            })
        }))
    }

    /// Returns the ids of the keys' owners, by key hash. Keys that do not exist or are revoked are missing from the
    /// result.
    pub fn owners_of_keys(&mut self, hashes: &[KeyHash]) -> Result<HashMap<KeyHash, i32>> {
        let mut owners = HashMap::new();
        for batch in hashes.chunks(MAX_KEYS_PER_STATEMENT) {
            let batch = batch.iter().map(KeyHash::as_slice);
            let found = api_keys::table
                .inner_join(users::table)
                .filter(api_keys::epoch.eq(users::key_epoch))
                .filter(api_keys::hash.eq_any(batch))
                .select((api_keys::hash, api_keys::user_id));
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
            .filter(api_keys::epoch.eq(users::key_epoch))
            .filter(api_keys::id.eq(key_id))
            .select((users::id, users::name, api_keys::device))
            .first(self.connection())
            .optional()?;
        Ok(owner.map(KeyOwner::from))
    }

    /// Returns the normalized names of the user's devices that have a lasting key.
    pub fn sealed_devices(&mut self, user_id: i32) -> Result<Vec<String>> {
        Ok(api_keys::table
            .inner_join(users::table)
            .filter(api_keys::user_id.eq(user_id))
            .filter(api_keys::epoch.eq(users::key_epoch))
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
            .filter(api_keys::epoch.eq(users::key_epoch))
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
            .order((api_keys::user_id, api_keys::device_folded, api_keys::id))
            .select(KeyRow::as_select())
            .load(self.connection())?;
        Ok(rows.into_iter().map(KeyInfo::from).collect())
    }
}

impl Transaction {
    /// Deletes the sealed copy of the device's key. The key stays valid, but no login returns it again.
    pub fn delete_sealed_key(&mut self, credential: &Credential, device: &Name) -> Result<()> {
        diesel::update(
            api_keys::table
                .filter(api_keys::user_id.eq(credential.user_id))
                .filter(api_keys::epoch.eq(credential.key_epoch))
                .filter(api_keys::device_folded.eq(device.normalized()))
                .filter(api_keys::sealed.is_not_null()),
        )
        .set(api_keys::sealed.eq(None::<Vec<u8>>))
        .execute(self.connection())?;
        Ok(())
    }

    /// Deletes a key and returns its owner. Returns `None` if there is no such key or if it was revoked with all keys
    /// of its user.
    pub fn delete_key_by_id(&mut self, key_id: i64) -> Result<Option<KeyOwner>> {
        let Some(owner) = self.owner_of_key(key_id)? else {
            return Ok(None);
        };
        let deleted = diesel::delete(api_keys::table.find(key_id)).execute(self.connection())?;
        Ok((deleted > 0).then_some(owner))
    }

    /// Returns the current holder of the key that `holder` describes, if the key is valid. The key then cannot be
    /// revoked until the transaction ends, neither alone nor with all keys of its user.
    pub fn lock_key_holder(&mut self, holder: &KeyHolder, now: NaiveDateTime) -> Result<Option<Arc<KeyHolder>>> {
        let user = users::table.find(holder.user_id).select(users::id);
        let hash = api_keys::table.find(holder.key_id).select(api_keys::hash);
        let hash: Option<Vec<u8>> = match self.connection() {
            DbConnection::Postgres(c) => {
                // Lock the user before the key, as all transactions that lock both do. Otherwise, they could deadlock.
                user.for_share().first::<i32>(c).optional()?;
                hash.for_share().first(c)
            }
            // No lock is needed, because the transaction is the only writer.
            DbConnection::Sqlite(c) => hash.first(c),
        }
        .optional()?;
        let current = match hash.as_deref().and_then(|hash| hash.try_into().ok()) {
            Some(hash) => self.key_holder(hash, now)?,
            None => None,
        };
        // If SQL by hand has given the key to another user, that user is not locked, so the key is rejected.
        Ok(current.filter(|current| current.user_id == holder.user_id))
    }

    /// Deletes the key with this hash and returns its owner. Returns `None` if there is no such key or if it was
    /// revoked with all keys of its user.
    pub fn delete_key(&mut self, hash: &KeyHash) -> Result<Option<KeyOwner>> {
        let key = api_keys::table.filter(api_keys::hash.eq(hash.as_slice()));
        let key_id: Option<i64> = key.select(api_keys::id).first(self.connection()).optional()?;
        match key_id {
            Some(key_id) => self.delete_key_by_id(key_id),
            None => Ok(None),
        }
    }

    /// Deletes the unexpired keys of a user's device and returns how many there were. The limit on a user's keys bounds
    /// their number. A sweep deletes the expired keys.
    pub fn delete_keys_of_device(
        &mut self,
        credential: &Credential,
        device: &Name,
        now: NaiveDateTime,
    ) -> Result<usize> {
        Ok(diesel::delete(
            api_keys::table
                .filter(api_keys::user_id.eq(credential.user_id))
                .filter(api_keys::epoch.eq(credential.key_epoch))
                .filter(api_keys::device_folded.eq(device.normalized()))
                .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now))),
        )
        .execute(self.connection())?)
    }
}
