//! The key cache: stores the holders of verified keys, so that verifying a key again costs no query.
//!
//! An entry must not be used after its user or key has changed. Every change to a user or their keys increments a
//! counter, the generation. A lookup reads the generation before it runs its query. Its result becomes invalid once the
//! user or key has changed at a later generation. A slow lookup that began before a revocation therefore cannot bring
//! the key back.
//!
//! Changes made by other processes arrive through the change feed (`super::feed`). Each successful poll extends the
//! time until which entries are valid. When the feed is idle or stale, whatever the reason, no entry is valid.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use quick_cache::sync::Cache;

use super::demand::Demand;
use crate::model::KeyHolder;
use crate::secret::key::KeyHash;

/// The maximum number of cached keys, at about 200 bytes each.
const MAX_ENTRIES: usize = 100_000;
/// The number of slots for users. A slot stores the generation of the last change to any of the users that share it, so
/// these users are invalidated together. There are as many slots for keys.
const GENERATION_SLOTS: usize = 1 << 16;
/// How long a cached lookup stays valid. This is also the longest time that an entry can be wrong if the change feed
/// cannot report a change, as with a restored database.
const CACHE_ENTRY_TTL: Duration = Duration::from_secs(60);

/// The number of changes so far. It orders changes and lookups.
pub type Generation = u64;

#[derive(Clone)]
struct Entry {
    holder: Arc<KeyHolder>,
    /// The generation at which the lookup began.
    generation: Generation,
    /// In microseconds since the cache was created.
    inserted_at: u64,
}

pub struct KeyCache {
    entries: Cache<KeyHash, Entry>,
    /// The generation of the last change of any kind.
    generation: AtomicU64,
    user_changes: LastChanges,
    /// The last changes of keys that were invalidated without their owner.
    key_changes: LastChanges,
    /// The generation of the last change that may concern every user.
    global_change: AtomicU64,
    start: Instant,
    /// The time after which no entry is valid, in microseconds since `start`.
    valid_until: AtomicU64,
    /// When the change feed was last polled, in microseconds since `start`. Zero before the first poll.
    polled_at: AtomicU64,
    demand: Arc<Demand>,
}

impl Drop for KeyCache {
    /// Wakes the change feed, which then stops.
    fn drop(&mut self) {
        self.demand.record();
    }
}

impl KeyCache {
    /// Creates an empty cache. It stores nothing until [`Self::set_valid_until`] is called.
    pub fn new() -> Self {
        Self {
            entries: Cache::new(MAX_ENTRIES),
            generation: AtomicU64::default(),
            user_changes: LastChanges::default(),
            key_changes: LastChanges::default(),
            global_change: AtomicU64::default(),
            start: Instant::now(),
            valid_until: AtomicU64::default(),
            polled_at: AtomicU64::default(),
            demand: Arc::default(),
        }
    }

    /// Returns the current generation. Read it before a lookup and pass it to [`Self::insert`].
    pub fn generation(&self) -> Generation {
        self.generation.load(Ordering::SeqCst)
    }

    /// Stores the result of a lookup that began at `generation`.
    pub fn insert(&self, hash: KeyHash, holder: Arc<KeyHolder>, generation: Generation) {
        if self.is_valid() {
            let entry = Entry {
                holder,
                generation,
                inserted_at: self.micros(Instant::now()),
            };
            self.entries.insert(hash, entry);
        }
    }

    /// Returns the holder of the key with this hash, if the cache has a valid entry for it. Also records that a key is
    /// being verified, so that the change feed does not become idle. `now` returns the time that expiries are compared
    /// with; it is not called for a key that never expires.
    pub fn get(&self, hash: &KeyHash, now: impl FnOnce() -> NaiveDateTime) -> Option<Arc<KeyHolder>> {
        self.demand.record();
        let entry = self.entries.get(hash)?;
        self.is_entry_valid(hash, &entry, now).then_some(entry.holder)
    }

    fn is_entry_valid(&self, hash: &KeyHash, entry: &Entry, now: impl FnOnce() -> NaiveDateTime) -> bool {
        // Read `valid_until` before the generations, because the change feed invalidates entries before it extends that
        // time. In the other order, a thread that is interrupted in between could combine old generations with a new
        // time.
        let micros = self.micros(Instant::now());
        let is_valid = self.is_valid_at(micros);
        let user_change = self.user_changes.get(user_slot(entry.holder.user_id));
        let key_change = self.key_changes.get(key_slot(hash));
        let global_change = self.global_change.load(Ordering::SeqCst);
        is_valid
            && user_change.max(key_change).max(global_change) <= entry.generation
            && entry.holder.expiration.is_none_or(|expiration| expiration.at > now())
            && Duration::from_micros(micros.saturating_sub(entry.inserted_at)) < CACHE_ENTRY_TTL
    }

    /// Invalidates all keys of a user. Call it after the change to the user has been committed.
    pub fn invalidate_user(&self, user_id: i32) {
        self.user_changes.record(user_slot(user_id), self.next_generation());
    }

    /// Invalidates one key, even if it is not in the database: another process may have revoked the key, and the change
    /// feed may not have reported this yet.
    pub fn invalidate_key(&self, hash: &KeyHash) {
        self.key_changes.record(key_slot(hash), self.next_generation());
    }

    pub fn invalidate_all(&self) {
        let generation = self.next_generation();
        self.global_change.fetch_max(generation, Ordering::SeqCst);
    }

    /// Sets the time after which no entry is valid.
    pub fn set_valid_until(&self, time: Instant) {
        self.valid_until.store(self.micros(time), Ordering::SeqCst);
    }

    /// Records that the change feed was polled successfully, and is complete up to `time`.
    pub fn set_polled_at(&self, time: Instant) {
        self.polled_at.store(self.micros(time), Ordering::Relaxed);
    }

    /// Returns the time since the last successful poll of the change feed. `None` before the first one.
    pub fn since_poll(&self) -> Option<Duration> {
        let polled_at = self.polled_at.load(Ordering::Relaxed);
        let age = self.micros(Instant::now()).saturating_sub(polled_at);
        (polled_at > 0).then(|| Duration::from_micros(age))
    }

    /// Returns how many keys are stored, whether their entries are valid or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether entries may be used now.
    pub fn is_valid(&self) -> bool {
        self.is_valid_at(self.micros(Instant::now()))
    }

    /// Returns whether entries may be used this many microseconds after the cache was created.
    fn is_valid_at(&self, micros: u64) -> bool {
        micros < self.valid_until.load(Ordering::SeqCst)
    }

    /// Returns the demand for this cache, which shows the change feed whether keys are being verified.
    pub fn demand(&self) -> Arc<Demand> {
        self.demand.clone()
    }

    fn micros(&self, time: Instant) -> u64 {
        u64::try_from((time - self.start).as_micros()).unwrap_or(u64::MAX)
    }

    fn next_generation(&self) -> Generation {
        self.generation.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// The generation of the last change for each slot.
struct LastChanges(Box<[AtomicU64]>);

impl Default for LastChanges {
    fn default() -> Self {
        Self((0..GENERATION_SLOTS).map(|_| AtomicU64::default()).collect())
    }
}

impl LastChanges {
    fn record(&self, slot: usize, generation: Generation) {
        self.0[slot].fetch_max(generation, Ordering::SeqCst);
    }

    fn get(&self, slot: usize) -> Generation {
        self.0[slot].load(Ordering::SeqCst)
    }
}

fn user_slot(user_id: i32) -> usize {
    user_id.unsigned_abs() as usize % GENERATION_SLOTS
}

fn key_slot(hash: &KeyHash) -> usize {
    usize::from(u16::from_le_bytes([hash[0], hash[1]]))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::clock::Clock;
    use crate::model::{Expiration, KeyKind, Scope};

    const HASH: KeyHash = [7; 32];

    fn holder(user_id: i32, expiration: Option<Expiration>) -> Arc<KeyHolder> {
        Arc::new(KeyHolder {
            key_id: 1,
            user_id,
            user: "bob".to_owned(),
            email: None,
            is_admin: false,
            device: "tv".to_owned(),
            kind: KeyKind::Device(Scope::Full),
            created_at: Clock::system().now(),
            expiration,
        })
    }

    fn valid_cache() -> KeyCache {
        let cache = KeyCache::new();
        cache.set_valid_until(Instant::now() + Duration::from_secs(60));
        cache
    }

    fn hits(cache: &KeyCache) -> bool {
        cache.get(&HASH, || Clock::system().now()).is_some()
    }

    #[test]
    fn an_entry_is_valid_until_its_user_changes() {
        let cache = valid_cache();
        assert!(!hits(&cache));
        cache.insert(HASH, holder(2, None), cache.generation());
        assert!(hits(&cache));
        cache.invalidate_user(3);
        assert!(hits(&cache), "another user has changed");
        cache.invalidate_user(2);
        assert!(!hits(&cache));
        cache.insert(HASH, holder(2, None), cache.generation());
        assert!(hits(&cache));
        cache.invalidate_key(&[8; 32]);
        assert!(hits(&cache), "another key was revoked");
        cache.invalidate_key(&HASH);
        assert!(!hits(&cache));
        cache.insert(HASH, holder(2, None), cache.generation());
        cache.invalidate_all();
        assert!(!hits(&cache));
    }

    #[test]
    fn a_slow_lookup_that_began_before_a_revocation_does_not_bring_the_key_back() {
        let cache = valid_cache();
        let before = cache.generation();
        cache.invalidate_user(2);
        cache.insert(HASH, holder(2, None), before);
        assert!(!hits(&cache));
        let before = cache.generation();
        cache.invalidate_all();
        cache.insert(HASH, holder(2, None), before);
        assert!(!hits(&cache));
    }

    #[test]
    fn an_expired_key_is_a_miss() {
        let cache = valid_cache();
        let at = Clock::system().now() + TimeDelta::minutes(1);
        let expiration = Expiration {
            at,
            is_renewable: false,
        };
        cache.insert(HASH, holder(2, Some(expiration)), cache.generation());
        assert!(hits(&cache));
        assert!(cache.get(&HASH, || at).is_none());
    }

    #[test]
    fn no_entry_is_valid_while_the_change_feed_is_stale() {
        let cache = valid_cache();
        cache.insert(HASH, holder(2, None), cache.generation());
        cache.set_valid_until(Instant::now());
        assert!(!hits(&cache));
    }

    #[test]
    fn a_full_cache_evicts_entries() {
        let cache = valid_cache();
        for number in 0..2 * MAX_ENTRIES {
            let mut hash = HASH;
            hash[..8].copy_from_slice(&number.to_le_bytes());
            cache.insert(hash, holder(2, None), cache.generation());
        }
        let entries = cache.entries.len();
        assert!(entries <= MAX_ENTRIES + MAX_ENTRIES / 10, "{entries}");
    }
}
