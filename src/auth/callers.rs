//! Callers that were looked up before, so that a key that is used often costs no query.
//!
//! What is remembered must not outlive what it says. Every change of a user or his keys gets a number, the generation.
//! Who looks a key up notes the generation first; what was found holds as long as the user has not changed since. So a
//! slow look-up that began before a revocation can bring nothing back after it.
//!
//! Changes that others make come by the change feed (`auth::feed`), which says up to when it can vouch for having heard
//! of all of them. Beyond that time nothing is remembered, however it came to be late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use quick_cache::sync::Cache;

use crate::model::{Caller, End, Origin};
use crate::secret::key::KeyHash;

/// How many keys are remembered: at some 200 bytes each.
const KEYS: usize = 100_000;
/// Users, and keys, share numbers when there are more of them: then the end of one makes another be looked up again.
const SLOTS: usize = 1 << 16;

/// For how long a look-up is believed: what no feed tells (a database that was put in the place of another, a replica
/// that answers late) is believed no longer either.
const GREATEST_AGE: Duration = Duration::from_secs(60);

/// The number of a change.
pub(super) type Generation = u64;

/// What is remembered of a key.
struct Known {
    key_id: i64,
    user_id: i32,
    user: Box<str>,
    is_admin: bool,
    device: Box<str>,
    end: Option<End>,
    looked_up: Generation,
    looked_up_at: Instant,
}

/// The memory.
pub(super) struct Callers {
    known: Cache<KeyHash, Arc<Known>>,
    /// The last change of anything.
    generation: AtomicU64,
    /// The last change of each user.
    users: Changes,
    /// The last change of each key of which no more is known.
    keys: Changes,
    /// The last change of which it is not known whom it concerns.
    everybody: AtomicU64,
    start: Instant,
    /// In microseconds since `start`.
    vouched_until: AtomicU64,
}

impl Callers {
    /// Remembers nobody, and no one until somebody vouches for it.
    pub fn new() -> Self {
        Self {
            known: Cache::new(KEYS),
            generation: AtomicU64::default(),
            users: Changes::default(),
            keys: Changes::default(),
            everybody: AtomicU64::default(),
            start: Instant::now(),
            vouched_until: AtomicU64::default(),
        }
    }

    /// To be called before a key is looked up.
    pub fn generation(&self) -> Generation {
        self.generation.load(Ordering::SeqCst)
    }

    /// Remembers what a look-up has found that began at generation `looked_up`.
    pub fn remember(&self, hash: KeyHash, caller: &Caller, looked_up: Generation) {
        if !self.is_vouched_for() {
            return;
        }
        let known = Known {
            key_id: caller.key_id,
            user_id: caller.user_id,
            user: caller.user.as_str().into(),
            is_admin: caller.is_admin,
            device: caller.device.as_str().into(),
            end: caller.end,
            looked_up,
            looked_up_at: Instant::now(),
        };
        self.known.insert(hash, Arc::new(known));
    }

    /// Who presents the key with this hash, in a request from `origin`, if that is known and still holds.
    pub fn recall(&self, hash: &KeyHash, now: NaiveDateTime, origin: &Origin) -> Option<Caller> {
        let known = self.known.get(hash)?;
        self.holds(hash, &known, now).then(|| Caller {
            key_id: known.key_id,
            user_id: known.user_id,
            user: known.user.to_string(),
            is_admin: known.is_admin,
            device: known.device.to_string(),
            end: known.end,
            origin: origin.by(&known.user),
        })
    }

    fn holds(&self, hash: &KeyHash, known: &Known, now: NaiveDateTime) -> bool {
        let of_user = self.users.last(of_user(known.user_id));
        let of_key = self.keys.last(of_key(hash));
        let of_anybody = self.everybody.load(Ordering::SeqCst);
        of_user.max(of_key).max(of_anybody) <= known.looked_up
            && known.end.is_none_or(|end| end.at > now)
            && known.looked_up_at.elapsed() < GREATEST_AGE
            && self.is_vouched_for()
    }

    /// Forgets all keys of a user, who has changed. To be called when the change is there for everybody to see.
    pub fn forget(&self, user_id: i32) {
        self.users.note(of_user(user_id), self.next_generation());
    }

    /// Forgets a key that was to be ended and is not there: whoever has ended it may not have said so yet.
    pub fn forget_key(&self, hash: &KeyHash) {
        self.keys.note(of_key(hash), self.next_generation());
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        let generation = self.next_generation();
        self.everybody.fetch_max(generation, Ordering::SeqCst);
    }

    /// From now on, and until `time`, everything that was not forgotten holds.
    pub fn vouch_until(&self, time: Instant) {
        self.vouched_until.store(self.micros(time), Ordering::SeqCst);
    }

    /// Whether what is remembered may be used.
    pub fn is_vouched_for(&self) -> bool {
        self.micros(Instant::now()) < self.vouched_until.load(Ordering::SeqCst)
    }

    fn micros(&self, time: Instant) -> u64 {
        u64::try_from((time - self.start).as_micros()).unwrap_or(u64::MAX)
    }

    fn next_generation(&self) -> Generation {
        self.generation.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// The generations in which something has changed last.
struct Changes(Box<[AtomicU64]>);

impl Default for Changes {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::default()).collect())
    }
}

impl Changes {
    fn note(&self, slot: usize, generation: Generation) {
        self.0[slot].fetch_max(generation, Ordering::SeqCst);
    }

    fn last(&self, slot: usize) -> Generation {
        self.0[slot].load(Ordering::SeqCst)
    }
}

fn of_user(user_id: i32) -> usize {
    user_id.unsigned_abs() as usize % SLOTS
}

fn of_key(hash: &KeyHash) -> usize {
    usize::from(u16::from_le_bytes([hash[0], hash[1]]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;

    use super::*;

    const HASH: KeyHash = [7; 32];

    fn caller(user_id: i32, end: Option<End>) -> Caller {
        Caller {
            key_id: 1,
            user_id,
            user: "bob".to_owned(),
            is_admin: false,
            device: "tv".to_owned(),
            end,
            origin: Origin::default(),
        }
    }

    fn now() -> NaiveDateTime {
        crate::clock::Clock::system().now()
    }

    fn vouched() -> Callers {
        let callers = Callers::new();
        callers.vouch_until(Instant::now() + Duration::from_secs(60));
        callers
    }

    fn recalls(callers: &Callers) -> bool {
        callers.recall(&HASH, now(), &Origin::default()).is_some()
    }

    #[test]
    fn what_was_looked_up_is_known_until_its_user_changes() {
        let callers = vouched();
        assert!(!recalls(&callers));
        callers.remember(HASH, &caller(2, None), callers.generation());
        assert!(recalls(&callers));
        callers.forget(3);
        assert!(recalls(&callers), "somebody else has changed");
        callers.forget(2);
        assert!(!recalls(&callers));
        callers.remember(HASH, &caller(2, None), callers.generation());
        assert!(recalls(&callers));
        callers.forget_key(&[8; 32]);
        assert!(recalls(&callers), "another key is not there");
        callers.forget_key(&HASH);
        assert!(!recalls(&callers));
        callers.remember(HASH, &caller(2, None), callers.generation());
        callers.forget_all();
        assert!(!recalls(&callers));
    }

    #[test]
    fn a_slow_look_up_that_began_before_a_revocation_brings_nothing_back() {
        let callers = vouched();
        let before = callers.generation();
        callers.forget(2);
        callers.remember(HASH, &caller(2, None), before);
        assert!(!recalls(&callers));
        let before = callers.generation();
        callers.forget_all();
        callers.remember(HASH, &caller(2, None), before);
        assert!(!recalls(&callers));
    }

    #[test]
    fn an_expired_key_is_not_known() {
        let callers = vouched();
        let ends_in = |time| End {
            at: now() + time,
            is_renewable: false,
        };
        let generation = callers.generation();
        callers.remember(HASH, &caller(2, Some(ends_in(TimeDelta::minutes(1)))), generation);
        assert!(recalls(&callers));
        let later = now() + TimeDelta::minutes(1);
        assert!(callers.recall(&HASH, later, &Origin::default()).is_none());
    }

    #[test]
    fn nothing_is_known_that_nobody_vouches_for() {
        let callers = vouched();
        callers.remember(HASH, &caller(2, None), callers.generation());
        callers.vouch_until(Instant::now());
        assert!(!recalls(&callers));
    }

    #[test]
    fn more_keys_than_there_is_room_for_push_others_out() {
        let callers = vouched();
        for number in 0..2 * KEYS {
            let mut hash = HASH;
            hash[..8].copy_from_slice(&number.to_le_bytes());
            callers.remember(hash, &caller(2, None), callers.generation());
        }
        assert!(callers.known.len() <= KEYS + KEYS / 10, "{}", callers.known.len());
    }
}
