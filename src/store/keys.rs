//! Queries on `api_keys`.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::DbConnection;
use super::schema::{api_keys, users};
use super::users::Credential;
use crate::error::Result;
use crate::model::{Caller, End, KeyInfo, Name, Origin};
use crate::secret::key::KeyHash;

/// A key to be stored.
#[derive(Debug)]
pub struct StoredKey<'a> {
    /// Whose it is.
    pub user_id: i32,
    /// For which device.
    pub device: &'a Name,
    /// What it is looked up by.
    pub hash: KeyHash,
    /// What it is handed out from at the device's next login; `None`: it is not handed out again.
    pub sealed: Option<Vec<u8>>,
    /// When it stops working; `None`: never by itself.
    pub end: Option<End>,
}

/// How many rows one statement is about at most.
const BATCH: usize = 500;

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
    fn of(key: &'a StoredKey<'_>, now: NaiveDateTime) -> Self {
        Self {
            user_id: key.user_id,
            device: key.device.shown(),
            device_folded: key.device.folded(),
            hash: &key.hash,
            sealed: key.sealed.as_deref(),
            created_at: now,
            expires_at: key.end.map(|end| end.at),
            is_renewable: key.end.is_some_and(|end| end.is_renewable),
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
struct CallerRow {
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

impl CallerRow {
    fn caller(self) -> Option<(KeyHash, Caller)> {
        let is_renewable = self.is_renewable;
        let caller = Caller {
            key_id: self.key_id,
            user_id: self.user_id,
            user: self.user,
            is_admin: self.is_admin,
            device: self.device,
            end: self.expires_at.map(|at| End { at, is_renewable }),
            origin: Origin::default(),
        };
        Some((self.hash.try_into().ok()?, caller))
    }
}

/// Whose a key was.
#[derive(Debug)]
pub struct KeyOwner {
    /// The user's id.
    pub user_id: i32,
    /// The user's name.
    pub user: String,
    /// The device's name.
    pub device: String,
}

impl From<(i32, String, String)> for KeyOwner {
    fn from((user_id, user, device): (i32, String, String)) -> Self {
        Self { user_id, user, device }
    }
}

impl DbConnection {
    /// Who presents the key with this hash, if it works now: not expired, its user not disabled.
    pub fn caller(&mut self, hash: &KeyHash, now: NaiveDateTime) -> Result<Option<Caller>> {
        Ok(self.callers(&[*hash], now)?.remove(hash))
    }

    /// The same of many keys; those that do not work are left out.
    pub fn callers(&mut self, hashes: &[KeyHash], now: NaiveDateTime) -> Result<HashMap<KeyHash, Caller>> {
        let working = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
            .filter(users::is_disabled.eq(false));
        let rows: Vec<CallerRow> = match self {
            Self::Postgres(c) => {
                let hashes = hashes.iter().map(KeyHash::as_slice);
                let working = working.filter(api_keys::hash.eq_any(hashes));
                working.select(CallerRow::as_select()).load(c)?
            }
            // A statement that is prepared once; nothing is won by asking for many.
            Self::Sqlite(c) => {
                let mut rows = Vec::new();
                for hash in hashes {
                    let working = working.filter(api_keys::hash.eq(hash.as_slice()));
                    rows.extend(working.select(CallerRow::as_select()).load(c)?);
                }
                rows
            }
        };
        Ok(rows.into_iter().filter_map(CallerRow::caller).collect())
    }

    /// Whether the key with this hash would work, were its user not disabled.
    pub fn is_key_of_disabled_user(&mut self, hash: &KeyHash, now: NaiveDateTime) -> Result<bool> {
        let found: i64 = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::hash.eq(hash.as_slice()))
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
            .filter(users::is_disabled.eq(true))
            .count()
            .get_result(self)?;
        Ok(found > 0)
    }

    /// The key to hand out to this device again, sealed; none for a credential that is not the current one any more.
    pub fn sealed_key(&mut self, credential: &Credential, device: &Name) -> Result<Option<Vec<u8>>> {
        let sealed: Option<Option<Vec<u8>>> = api_keys::table
            .inner_join(users::table)
            .filter(users::id.eq(credential.user_id))
            .filter(users::password_version.eq(credential.password_version))
            .filter(users::is_disabled.eq(false))
            .filter(api_keys::device_folded.eq(device.folded()))
            .filter(api_keys::sealed.is_not_null())
            .select(api_keys::sealed)
            .first(self)
            .optional()?;
        Ok(sealed.flatten())
    }

    /// Makes the device's key one that still works but is not handed out again.
    pub fn forget_sealed_key(&mut self, user_id: i32, device: &Name) -> Result<()> {
        diesel::update(
            api_keys::table
                .filter(api_keys::user_id.eq(user_id))
                .filter(api_keys::device_folded.eq(device.folded())),
        )
        .set(api_keys::sealed.eq(None::<Vec<u8>>))
        .execute(self)?;
        Ok(())
    }

    /// Adds a key.
    pub fn insert_key(&mut self, key: &StoredKey<'_>, now: NaiveDateTime) -> Result<()> {
        self.insert_keys(std::slice::from_ref(key), now)
    }

    /// Adds many keys at once.
    pub fn insert_keys(&mut self, keys: &[StoredKey<'_>], now: NaiveDateTime) -> Result<()> {
        for batch in keys.chunks(BATCH) {
            let rows: Vec<NewKeyRow<'_>> = batch.iter().map(|key| NewKeyRow::of(key, now)).collect();
            let insert = diesel::insert_into(api_keys::table).values(&rows);
            match self {
                Self::Postgres(c) => insert.execute(c),
                Self::Sqlite(c) => insert.execute(c),
            }?;
        }
        Ok(())
    }

    /// Which of these keys there are, and whose.
    pub fn owners_of_keys(&mut self, hashes: &[KeyHash]) -> Result<HashMap<KeyHash, i32>> {
        let mut owners = HashMap::new();
        for batch in hashes.chunks(BATCH) {
            let batch = batch.iter().map(KeyHash::as_slice);
            let found = api_keys::table.select((api_keys::hash, api_keys::user_id));
            let found = found.filter(api_keys::hash.eq_any(batch));
            let found: Vec<(Vec<u8>, i32)> = match self {
                Self::Postgres(c) => found.load(c),
                Self::Sqlite(c) => found.load(c),
            }?;
            owners.extend(
                found
                    .into_iter()
                    .filter_map(|(hash, user)| Some((hash.try_into().ok()?, user))),
            );
        }
        Ok(owners)
    }

    /// The folded names of the user's devices that have a key to be handed out again.
    pub fn sealed_devices(&mut self, user_id: i32) -> Result<Vec<String>> {
        Ok(api_keys::table
            .filter(api_keys::user_id.eq(user_id))
            .filter(api_keys::sealed.is_not_null())
            .select(api_keys::device_folded)
            .load(self)?)
    }

    /// All keys that have not expired, or those of one user: by user, device and age.
    pub fn keys(&mut self, user_id: Option<i32>, now: NaiveDateTime) -> Result<Vec<KeyInfo>> {
        // A bound that everything meets instead of a boxed query, which does not work on two databases at once.
        let (least, most) = user_id.map_or((i32::MIN, i32::MAX), |id| (id, id));
        let rows: Vec<KeyRow> = api_keys::table
            .inner_join(users::table)
            .filter(api_keys::user_id.between(least, most))
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
            .order((api_keys::user_id, api_keys::device_folded, api_keys::id))
            .select(KeyRow::as_select())
            .load(self)?;
        Ok(rows.into_iter().map(KeyInfo::from).collect())
    }

    /// Ends all keys that have expired; how many they were.
    pub fn delete_expired_keys(&mut self, now: NaiveDateTime) -> Result<usize> {
        Ok(diesel::delete(api_keys::table.filter(api_keys::expires_at.le(now))).execute(self)?)
    }

    /// Ends the key with this id; whose it was, if there was one.
    pub fn delete_key_by_id(&mut self, key_id: i64) -> Result<Option<KeyOwner>> {
        let owner = api_keys::table.inner_join(users::table).filter(api_keys::id.eq(key_id));
        let owner = owner.select((users::id, users::name, api_keys::device));
        let owner: Option<(i32, String, String)> = owner.first(self).optional()?;
        let ended = diesel::delete(api_keys::table.find(key_id)).execute(self)?;
        Ok(owner.filter(|_| ended > 0).map(KeyOwner::from))
    }

    /// The same for a key that was looked up before: who presents it, if it still works. It cannot be ended then until
    /// the transaction ends, so that whoever ends it knows that nothing more is done with it.
    pub fn lock_caller(&mut self, key_id: i64, now: NaiveDateTime) -> Result<Option<Caller>> {
        let hash = api_keys::table.find(key_id).select(api_keys::hash);
        let hash: Option<Vec<u8>> = match self {
            Self::Postgres(c) => hash.for_share().first(c),
            // The transaction holds the one writer's lock.
            Self::Sqlite(c) => hash.first(c),
        }
        .optional()?;
        match hash.as_deref().and_then(|hash| hash.try_into().ok()) {
            Some(hash) => self.caller(hash, now),
            None => Ok(None),
        }
    }

    /// Ends the key with this hash; whose it was, if there was one.
    pub fn delete_key(&mut self, hash: &KeyHash) -> Result<Option<KeyOwner>> {
        let key = api_keys::table.filter(api_keys::hash.eq(hash.as_slice()));
        let key_id: Option<i64> = key.select(api_keys::id).first(self).optional()?;
        match key_id {
            Some(key_id) => self.delete_key_by_id(key_id),
            None => Ok(None),
        }
    }

    /// Ends all keys of the user's device; how many they were.
    pub fn delete_keys_of_device(&mut self, user_id: i32, device: &Name) -> Result<usize> {
        Ok(diesel::delete(
            api_keys::table
                .filter(api_keys::user_id.eq(user_id))
                .filter(api_keys::device_folded.eq(device.folded())),
        )
        .execute(self)?)
    }

    /// Ends all keys of the user; how many they were.
    pub fn delete_keys_of_user(&mut self, user_id: i32) -> Result<usize> {
        Ok(diesel::delete(api_keys::table.filter(api_keys::user_id.eq(user_id))).execute(self)?)
    }
}
