//! Queries on sealed keys, for the rotation of the sealing secret.

use diesel::dsl::count_star;
use diesel::prelude::*;

use super::schema::api_keys;
use super::{DbConnection, Reader, Transaction};
use crate::error::Result;
use crate::secret::seal::{SealedKey, SecretId};

/// The maximum number of keys that one transaction seals again. On SQLite, other writers wait until it ends.
const MAX_BATCH: u8 = 100;

/// A sealed key, with the user and the device to which its seal is bound.
#[derive(Debug)]
pub struct SealedRow {
    pub key_id: i64,
    pub user_id: i32,
    /// The device's normalized name.
    pub device: String,
    pub sealed: SealedKey,
}

type Columns = (i64, i32, String, Option<Vec<u8>>, Option<String>);

impl SealedRow {
    fn of((key_id, user_id, device, bytes, secret): Columns) -> Option<Self> {
        let secret = secret.map(SecretId::from_stored);
        Some(Self {
            key_id,
            user_id,
            device,
            sealed: SealedKey { bytes: bytes?, secret },
        })
    }
}

impl Reader {
    /// Returns how many keys are sealed with each secret. Reads the whole table.
    pub fn sealed_counts(&mut self) -> Result<Vec<(Option<SecretId>, usize)>> {
        let counts = api_keys::table
            .filter(api_keys::sealed.is_not_null())
            .group_by(api_keys::sealed_with)
            .select((api_keys::sealed_with, count_star()));
        let counts: Vec<(Option<String>, i64)> = match self.connection() {
            DbConnection::Postgres(c) => counts.load(c),
            DbConnection::Sqlite(c) => counts.load(c),
        }?;
        let count = |(id, count): (Option<String>, i64)| {
            let count = usize::try_from(count).unwrap_or_default();
            (id.map(SecretId::from_stored), count)
        };
        Ok(counts.into_iter().map(count).collect())
    }
}

impl Transaction {
    /// Returns the first keys with a higher id than `after` that are not sealed with `active`, in the order of their ids,
    /// and locks them. Skips keys that others have locked: waiting for them could deadlock.
    pub fn lock_keys_sealed_otherwise(&mut self, active: &SecretId, after: i64) -> Result<Vec<SealedRow>> {
        let otherwise = api_keys::sealed_with
            .is_null()
            .or(api_keys::sealed_with.ne(active.as_str()));
        let keys = api_keys::table
            .filter(api_keys::id.gt(after))
            .filter(api_keys::sealed.is_not_null())
            .filter(otherwise)
            .order(api_keys::id)
            .limit(MAX_BATCH.into())
            .select((
                api_keys::id,
                api_keys::user_id,
                api_keys::device_folded,
                api_keys::sealed,
                api_keys::sealed_with,
            ));
        let rows: Vec<Columns> = match self.connection() {
            DbConnection::Postgres(c) => keys.for_update().skip_locked().load(c),
            DbConnection::Sqlite(c) => keys.load(c),
        }?;
        Ok(rows.into_iter().filter_map(SealedRow::of).collect())
    }

    /// Replaces the sealed copy of a key, which must be locked. The key itself does not change.
    pub fn replace_sealed(&mut self, key_id: i64, sealed: &SealedKey) -> Result<()> {
        let secret = sealed.secret.as_ref().map(SecretId::as_str);
        diesel::update(api_keys::table.find(key_id))
            .set((
                api_keys::sealed.eq(Some(sealed.bytes.as_slice())),
                api_keys::sealed_with.eq(secret),
            ))
            .execute(self.connection())?;
        Ok(())
    }
}
