//! Queries for the cookies with which browsers pass forward-auth. Each is a second way to find a session.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::keys::{HolderRow, SESSION};
use super::schema::{api_keys, users};
use super::{Reader, Transaction};
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
        let mut found = HashMap::new();
        for hash in hashes {
            let row: Option<HolderRow> = api_keys::table
                .inner_join(users::table)
                .filter(api_keys::gateway_hash.eq(hash.as_slice()))
                .filter(api_keys::kind.eq(SESSION))
                .filter(api_keys::epoch.eq(users::key_epoch))
                .filter(api_keys::expires_at.gt(now))
                .filter(users::is_disabled.eq(false))
                .select(HolderRow::as_select())
                .first(self.connection())
                .optional()?;
            let kind = KeyKind::GatewayCookie;
            let holder = row.map(|row| KeyHolder {
                kind,
                ..row.into_holder()
            });
            found.extend(holder.map(|holder| (*hash, Arc::new(holder))));
        }
        Ok(found)
    }
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
