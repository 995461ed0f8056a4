//! Key to caller: the hot path.

use std::sync::mpsc::channel;

use super::Auth;
use crate::error::{AuthError, Result};
use crate::model::{Caller, Origin};
use crate::secret::key::{Key, KeyHash};

impl Auth {
    /// Who presents these keys, as far as it is known without asking the database. Only the first key is tried: the
    /// first that works decides.
    pub fn recall(&self, keys: &[Key], origin: &Origin) -> Option<Caller> {
        self.callers.recall(&keys.first()?.hash(), self.now(), origin)
    }

    /// Asks the database who presents these keys: the first of them that works decides. Returns at once; `answer` is
    /// called later, with `None` when none works. What it was not called for is lost.
    pub fn look_up(&self, keys: &[Key], answer: impl FnOnce(Result<Option<Caller>>) + Send + 'static) {
        self.lookups.begin(keys.iter().map(Key::hash).collect(), answer);
    }

    /// Who was looked up, as of this request; that the key was used is noted. Not again while it is remembered, which is
    /// a minute at most, and to the minute is enough.
    pub fn noted(&self, caller: Caller, origin: &Origin) -> Caller {
        let origin = origin.by(&caller.user);
        let caller = Caller { origin, ..caller };
        self.note_use(&caller);
        caller
    }

    /// Who presents these keys, remembered or looked up: for who can wait.
    pub fn verify(&self, keys: &[Key], origin: &Origin) -> Result<Option<Caller>> {
        if let Some(caller) = self.recall(keys, origin) {
            return Ok(Some(caller));
        }
        let found = self.look_up_now(keys.iter().map(Key::hash).collect())?;
        Ok(found.map(|caller| self.noted(caller, origin)))
    }

    pub(super) fn look_up_now(&self, hashes: Vec<KeyHash>) -> Result<Option<Caller>> {
        let (sender, receiver) = channel();
        self.lookups.begin(hashes, move |found| drop(sender.send(found)));
        let nothing = |_| AuthError::Internal("the thread that looked a key up panicked".to_owned());
        receiver.recv().map_err(nothing)?
    }

    /// Whether this key does not work because its user is disabled.
    pub fn is_key_of_disabled_user(&self, key: &Key) -> Result<bool> {
        self.store
            .read(|db| db.is_key_of_disabled_user(&key.hash(), self.now()))
    }
}
