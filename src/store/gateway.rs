//! Queries for the cookies with which browsers pass forward-auth. Each is a second way to find a session.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::keys::{HolderRow, SESSION};
use super::schema::{api_keys, users};
use super::{DbConnection, Reader, Transaction};
use crate::error::Result;
use crate::model::{KeyHolder, KeyKind};
use crate::secret::key::KeyHash;

impl Reader {
    /// Returns the holders of those sessions that have not expired and whose users are not disabled, by the hashes of
    /// their gateway cookies.
    pub fn gateway_holders(
        &mut self,
        hashes: &[KeyHash],
        now: NaiveDateTime,
    ) -> Result<HashMap<KeyHash, Arc<KeyHolder>>> {
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let valid = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::kind.eq(SESSION))
            .filter(api_keys::epoch.eq(users::key_epoch))
            .filter(api_keys::expires_at.gt(now))
            .filter(users::is_disabled.eq(false));
        let rows: Vec<(Option<Vec<u8>>, HolderRow)> = match self.connection() {
            DbConnection::Postgres(c) => {
                let hashes = hashes.iter().map(KeyHash::as_slice);
                let valid = valid.filter(api_keys::gateway_hash.eq_any(hashes));
                valid.select((api_keys::gateway_hash, HolderRow::as_select())).load(c)?
            }
            // As for keys, one prepared statement runs for each hash.
            DbConnection::Sqlite(c) => {
                let mut rows = Vec::new();
                for hash in hashes {
                    let valid = valid.filter(api_keys::gateway_hash.eq(hash.as_slice()));
                    rows.extend(valid.select((api_keys::gateway_hash, HolderRow::as_select())).load(c)?);
                }
                rows
            }
        };
        Ok(rows.into_iter().filter_map(into_pair).collect())
    }
}

fn into_pair((hash, row): (Option<Vec<u8>>, HolderRow)) -> Option<(KeyHash, Arc<KeyHolder>)> {
    let hash = hash?.as_slice().try_into().ok()?;
    let kind = KeyKind::GatewayCookie;
    Some((
        hash,
        Arc::new(KeyHolder {
            kind,
            ..row.into_holder()
        }),
    ))
}

impl Transaction {
    /// Stores the hash of the gateway cookie of a session, which replaces an earlier one. Returns `false` if there is no
    /// such session.
    pub fn set_gateway_hash(&mut self, key_id: i64, hash: &KeyHash) -> Result<bool> {
        let session = api_keys::table.find(key_id).filter(api_keys::kind.eq(SESSION));
        let updated = diesel::update(session)
            .set(api_keys::gateway_hash.eq(hash.as_slice()))
            .execute(self.connection())?;
        Ok(updated > 0)
    }
}
