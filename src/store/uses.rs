//! Writing down when keys were used last.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamp};

use super::schema::api_keys;
use super::{DbConnection, Store};
use crate::error::Result;
use crate::model::KeyUse;

/// How many keys one transaction is about at most: others wait for it on SQLite.
const BATCH: usize = 500;

/// A key that somebody is ending now is left out: two that wait for each other's rows would be stuck.
const WRITE: &str = "\
    WITH used AS (SELECT * FROM unnest($1, $2, $3) AS used (id, at, address)),
         free AS (SELECT id FROM api_keys WHERE id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE api_keys SET last_used_at = used.at, last_used_from = used.address
    FROM used JOIN free USING (id)
    WHERE api_keys.id = used.id AND (last_used_at IS NULL OR last_used_at < used.at)";

impl Store {
    /// Notes when keys were used last; how many of them there still were.
    pub fn write_uses(&self, uses: &[KeyUse]) -> Result<usize> {
        let mut written = 0;
        for batch in uses.chunks(BATCH) {
            written += self.write(|db| db.write_uses(batch))?;
        }
        Ok(written)
    }
}

impl DbConnection {
    fn write_uses(&mut self, uses: &[KeyUse]) -> Result<usize> {
        let address = |used: &KeyUse| used.from.map(|address| address.to_string());
        Ok(match self {
            Self::Postgres(c) => {
                let ids: Vec<_> = uses.iter().map(|used| used.key_id).collect();
                let times: Vec<_> = uses.iter().map(|used| used.at).collect();
                let addresses: Vec<_> = uses.iter().map(address).collect();
                diesel::sql_query(WRITE)
                    .bind::<Array<BigInt>, _>(ids)
                    .bind::<Array<Timestamp>, _>(times)
                    .bind::<Array<Nullable<Text>>, _>(addresses)
                    .execute(c)?
            }
            Self::Sqlite(c) => {
                let mut written = 0;
                for used in uses {
                    // Another server may know of a later use.
                    let is_later = api_keys::last_used_at.is_null().or(api_keys::last_used_at.lt(used.at));
                    written += diesel::update(api_keys::table.find(used.key_id))
                        .filter(is_later)
                        .set((
                            api_keys::last_used_at.eq(used.at),
                            api_keys::last_used_from.eq(address(used)),
                        ))
                        .execute(c)?;
                }
                written
            }
        })
    }
}
