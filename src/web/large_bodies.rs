//! Limits the requests that may take several megabytes of memory, because they can have a large body or concern a user
//! with a large avatar.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use actix_web::rt::time::timeout;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::error::{Result, ServiceError};

/// The maximum number of requests with a large body that are in progress at the same time.
const MAX_REQUESTS: usize = 8;
/// The maximum number of these requests that belong to one user, so that no user can keep others out.
const MAX_REQUESTS_OF_USER: usize = 2;
/// How long a request waits for others to finish.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Admits requests with large bodies.
#[derive(Clone, Default)]
pub struct LargeBodies(Arc<Limits>);

struct Limits {
    all: Arc<Semaphore>,
    of_users: Mutex<HashMap<i32, Weak<Semaphore>>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_REQUESTS)),
            of_users: Mutex::default(),
        }
    }
}

/// The permission for one request with a large body. Dropping it lets another request begin.
pub type LargeBodyPermit = [OwnedSemaphorePermit; 2];

impl LargeBodies {
    /// Waits until the user's request may read a large body. Fails with [`ServiceError::Busy`] if the wait is too long.
    pub async fn admit(&self, user_id: i32) -> Result<LargeBodyPermit> {
        let (of_user, all) = (self.of_user(user_id), self.0.all.clone());
        // The user's own limit comes first, so that requests that wait for it do not take room from others.
        let permits = async {
            let of_user = of_user.acquire_owned().await?;
            Ok::<_, AcquireError>([of_user, all.acquire_owned().await?])
        };
        let retry_after = MAX_WAIT;
        // The semaphores are never closed, so the only error is the timeout.
        let permit = timeout(MAX_WAIT, permits).await.ok().and_then(std::result::Result::ok);
        permit.ok_or(ServiceError::Busy { retry_after })
    }

    fn of_user(&self, user_id: i32) -> Arc<Semaphore> {
        let mut of_users = self.of_users();
        if let Some(semaphore) = of_users.get(&user_id).and_then(Weak::upgrade) {
            return semaphore;
        }
        of_users.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(MAX_REQUESTS_OF_USER));
        of_users.insert(user_id, Arc::downgrade(&semaphore));
        semaphore
    }

    fn of_users(&self) -> MutexGuard<'_, HashMap<i32, Weak<Semaphore>>> {
        // No code that holds the lock can leave the map in an inconsistent state.
        self.0.of_users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
