//! Limits concurrent password changes: each user can make only one at a time. Otherwise a user could occupy the hashing
//! pool by changing their password again and again on many connections. Other actors are not affected, so an
//! administrator can set the password of a user whose key has been stolen.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Result, ServiceError};

/// How long a client should wait before it retries a change that was rejected because of another one.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The users who are changing a password in this process, their own or another user's.
#[derive(Default)]
pub(super) struct PasswordChanges {
    user_ids: Mutex<HashSet<i32>>,
}

impl PasswordChanges {
    /// Begins a change by a user, which ends when the returned value is dropped. Fails with [`ServiceError::Busy`] if
    /// the user is already changing a password.
    pub fn begin(&self, user_id: i32) -> Result<PasswordChange<'_>> {
        if self.user_ids().insert(user_id) {
            Ok(PasswordChange { changes: self, user_id })
        } else {
            let retry_after = RETRY_AFTER;
            Err(ServiceError::Busy { retry_after })
        }
    }

    fn user_ids(&self) -> MutexGuard<'_, HashSet<i32>> {
        // No code that holds the lock can leave the set in an inconsistent state.
        self.user_ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A password change in progress.
#[must_use]
pub(super) struct PasswordChange<'a> {
    changes: &'a PasswordChanges,
    user_id: i32,
}

impl Drop for PasswordChange<'_> {
    fn drop(&mut self) {
        self.changes.user_ids().remove(&self.user_id);
    }
}
