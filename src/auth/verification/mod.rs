//! Verifies keys: the hot path. First the key cache, then a database lookup.

mod cache;
mod demand;
mod feed;
mod last_used;
mod lookup;
mod silence;

use std::sync::Arc;
use std::sync::mpsc::channel;

pub(super) use cache::KeyCache;
pub use feed::FeedState;
pub(super) use feed::FeedThread;
pub(super) use last_used::LastUsedBuffer;
pub use lookup::LookupResult;
pub(super) use lookup::Lookups;
pub use silence::Silence;

use super::Auth;
use crate::error::{Result, ServiceError};
use crate::metrics::{VerificationOutcome, VerificationSource};
use crate::model::{Acceptance, Caller, CookieDomain, KeyHolder, KeyUse, RequestContext};
use crate::secret::key::{Key, KeyHash};
use crate::secret::token::{GatewaySecret, SessionSecret};

impl Auth {
    /// Returns the caller that presents these keys if the cache has a valid entry for the first key. Later keys count
    /// only if the first key is invalid, and only the database can determine that.
    ///
    /// A key that `acceptance` does not accept is invalid.
    pub fn cached_caller(&self, keys: &[Key], acceptance: &Acceptance, context: &RequestContext) -> Option<Caller> {
        self.cached(&keys.first()?.hash(), acceptance, context)
    }

    /// Returns the caller of this session if the cache has a valid entry for it.
    pub fn cached_session(&self, secret: &SessionSecret, context: &RequestContext) -> Option<Caller> {
        self.cached(&secret.hash(), &Acceptance::Sessions, context)
    }

    /// Returns the caller whose session has this gateway cookie, if the cache has a valid entry for it.
    pub fn cached_gateway_cookie(
        &self,
        secret: &GatewaySecret,
        domain: &CookieDomain,
        context: &RequestContext,
    ) -> Option<Caller> {
        self.cached(&secret.hash_at(domain), &Acceptance::GatewayCookies, context)
    }

    fn cached(&self, hash: &KeyHash, acceptance: &Acceptance, context: &RequestContext) -> Option<Caller> {
        let holder = self.key_cache.get(hash, || self.now())?;
        if !acceptance.accepts(&holder) {
            return None;
        }
        if let Some(metrics) = &self.metrics {
            metrics.record_verification(VerificationSource::Cache, VerificationOutcome::Valid);
        }
        Some(Caller::new(holder, context.clone()))
    }

    /// Starts a database lookup for these keys and returns immediately. `on_result` later receives the holder of the
    /// first valid key that `acceptance` accepts, or `None`. If `on_result` is dropped without being called, the lookup
    /// failed.
    pub fn look_up(&self, keys: &[Key], acceptance: Acceptance, on_result: impl FnOnce(LookupResult) + Send + 'static) {
        let hashes = keys.iter().map(Key::hash).collect();
        self.look_up_hashes(hashes, acceptance, on_result);
    }

    /// Starts a database lookup for this session and returns immediately. See [`Self::look_up`].
    pub fn look_up_session(&self, secret: &SessionSecret, on_result: impl FnOnce(LookupResult) + Send + 'static) {
        self.look_up_hashes(vec![secret.hash()], Acceptance::Sessions, on_result);
    }

    /// Starts a lookup and counts its result.
    fn look_up_hashes(
        &self,
        hashes: Vec<KeyHash>,
        acceptance: Acceptance,
        on_result: impl FnOnce(LookupResult) + Send + 'static,
    ) {
        let metrics = self.metrics.clone();
        self.lookups.start(hashes, acceptance, move |result| {
            if let Some(metrics) = metrics {
                metrics.record_verification(VerificationSource::Lookup, outcome(&result));
            }
            on_result(result);
        });
    }

    /// Starts a database lookup for the session with this gateway cookie and returns immediately. See
    /// [`Self::look_up`].
    pub fn look_up_gateway_cookie(
        &self,
        secret: &GatewaySecret,
        domain: &CookieDomain,
        on_result: impl FnOnce(LookupResult) + Send + 'static,
    ) {
        self.look_up_hashes(vec![secret.hash_at(domain)], Acceptance::GatewayCookies, on_result);
    }

    /// Creates a caller from a holder that was looked up, and records that the key was used. Cache hits are not
    /// recorded: entries live for at most a minute, and minute precision is enough.
    pub fn looked_up_caller(&self, holder: Arc<KeyHolder>, context: RequestContext) -> Caller {
        self.last_used.record(KeyUse {
            key_id: holder.key_id,
            at: self.now(),
            from: context.address,
        });
        Caller::new(holder, context)
    }

    /// Returns the caller that presents these keys, from the cache or the database. Blocks during a database lookup.
    pub fn verify(&self, keys: &[Key], acceptance: &Acceptance, context: &RequestContext) -> Result<Option<Caller>> {
        if let Some(caller) = self.cached_caller(keys, acceptance, context) {
            return Ok(Some(caller));
        }
        let found = self.look_up_blocking(keys.iter().map(Key::hash).collect(), acceptance.clone());
        if let Some(metrics) = &self.metrics {
            metrics.record_verification(VerificationSource::Lookup, outcome(&found));
        }
        Ok(found?.map(|holder| self.looked_up_caller(holder, context.clone())))
    }

    pub(super) fn look_up_blocking(&self, hashes: Vec<KeyHash>, acceptance: Acceptance) -> LookupResult {
        let (sender, receiver) = channel();
        self.lookups
            .start(hashes, acceptance, move |result| drop(sender.send(result)));
        let dropped = |_| ServiceError::internal("the lookup of a key panicked");
        receiver.recv().map_err(dropped)?
    }

    /// Returns whether this key is invalid only because its user is disabled.
    pub fn is_key_of_disabled_user(&self, key: &Key) -> Result<bool> {
        self.store
            .read(|db| db.is_key_of_disabled_user(&key.hash(), self.now()))
    }
}

fn outcome(result: &LookupResult) -> VerificationOutcome {
    match result {
        Ok(Some(_)) => VerificationOutcome::Valid,
        Ok(None) => VerificationOutcome::Invalid,
        Err(_) => VerificationOutcome::Failed,
    }
}
