//! Sessions of browsers: sign in, stay signed in, and change one's own password.
//!
//! A session is a key of its own kind. Its secret is in a cookie. It expires when it has not been used for some time, and
//! after a longer time in any case ([`SessionLimits`](crate::settings::SessionLimits)).

use chrono::{NaiveDateTime, TimeDelta};

use super::Auth;
use super::audit::{self, Event};
use super::hashing::Client;
use super::permission::Permission;
use crate::error::{ConfirmError, KeyError, LoginError, ManageError, Result};
use crate::model::{
    Actor, Caller, CookieDomain, Expiration, KeyInfo, KeyKind, Name, RequestContext, SecretText, browser_name,
};
use crate::secret::token::{GatewaySecret, SessionSecret};
use crate::store::{Credential, StoredKey, Transaction};

/// The maximum number of sessions of a user. A new one replaces the oldest one.
pub(super) const MAX_SESSIONS: u32 = 50;
/// The wire protocol of sign-ins in the metrics.
const DIALECT: &str = "account";
/// The expiry of a session is moved only if that gains at least this time, because each move writes to the database.
const MIN_EXTENSION: TimeDelta = TimeDelta::hours(1);

/// A login of a browser.
#[derive(Debug)]
pub struct SignIn {
    pub user: Name,
    pub password: SecretText,
    /// The header `User-Agent`, or an empty text.
    pub user_agent: String,
    /// The secret in the browser's cookie, if any. Its session ends, because the new one takes its place.
    pub replaced: Option<SessionSecret>,
    /// The domain whose guarded services the browser can then use, if it signs in at the sign-in host of one.
    pub gateway: Option<CookieDomain>,
}

/// A session for the browser that has just signed in.
#[derive(Debug)]
pub struct NewSession {
    /// The value of the cookie.
    pub secret: SessionSecret,
    pub user_id: i32,
    /// The user's name as typed.
    pub user: String,
    pub is_admin: bool,
    /// The browser's readable name.
    pub browser: Name,
    pub created_at: NaiveDateTime,
    /// When the session expires if it is not used.
    pub expires_at: NaiveDateTime,
    /// When the session expires in any case.
    pub ends_at: NaiveDateTime,
    /// The value of the cookie for guarded services, if the browser signs in at the sign-in host of their domain.
    pub gateway_secret: Option<GatewaySecret>,
    /// The browsers of the user's oldest sessions, which this one has replaced.
    replaced: Vec<String>,
}

impl Auth {
    /// Checks the password and starts a session, whose secret is always new.
    pub fn sign_in(&self, sign_in: &SignIn, context: &RequestContext) -> Result<NewSession, LoginError> {
        let result = self.session_after_login(sign_in, context);
        self.record_login(DIALECT, &result);
        result
    }

    fn session_after_login(&self, sign_in: &SignIn, context: &RequestContext) -> Result<NewSession, LoginError> {
        let credential = self.check_password(&sign_in.user, &sign_in.password, context)?;
        let browser = browser_name(&sign_in.user_agent);
        self.audit
            .log(Event::LoginOk, &credential.name, browser.as_typed(), context);
        self.record_first_login(&credential)?;
        if let Some(secret) = &sign_in.replaced {
            self.end_session(secret, context)?;
        }
        let session = self.start_session(&credential, &browser, sign_in.gateway.as_ref())?;
        for browser in &session.replaced {
            self.audit.log(Event::KeyRevoked, &session.user, browser, context);
        }
        self.audit
            .log(Event::KeyIssued, &session.user, session.browser.as_typed(), context);
        self.raise_rounds(&credential, &sign_in.password, context);
        Ok(session)
    }

    /// Starts a session after the password check. Fails if the password has changed or the user has been disabled or
    /// deleted since `credential` was read.
    pub(super) fn start_session(
        &self,
        credential: &Credential,
        browser: &Name,
        gateway: Option<&CookieDomain>,
    ) -> Result<NewSession, LoginError> {
        let session = self.store.write(|tx| -> Result<_, LoginError> {
            let current = tx.lock_credential(credential.user_id)?.filter(|now| !now.is_disabled);
            let current = current.filter(|now| now.password_version == credential.password_version);
            let current = current.filter(|now| now.created_at == credential.created_at);
            let current = current.ok_or(LoginError::WrongCredentials)?;
            Ok(self.insert_session(tx, &current, browser, gateway)?)
        })?;
        // The new session may have replaced the oldest one.
        self.key_cache.invalidate_user(credential.user_id);
        Ok(session)
    }

    /// Revokes the session with this secret, which may belong to any user. It needs its own transaction, because it locks
    /// a key without its user.
    fn end_session(&self, secret: &SessionSecret, context: &RequestContext) -> Result<()> {
        let revoked = self.store.write(|tx| tx.delete_key(&secret.hash()))?;
        self.key_cache.invalidate_key(&secret.hash());
        if let Some(owner) = revoked {
            // The cache finds the session by its gateway cookie, too.
            self.key_cache.invalidate_user(owner.user_id);
            self.audit.log(Event::KeyRevoked, &owner.user, &owner.device, context);
        }
        Ok(())
    }

    /// Inserts a session. The user must be locked.
    fn insert_session(
        &self,
        tx: &mut Transaction,
        credential: &Credential,
        browser: &Name,
        gateway: Option<&CookieDomain>,
    ) -> Result<NewSession> {
        let created_at = self.now();
        let ends_at = self.session_end(created_at);
        let expires_at = ends_at.min(created_at + self.session_limits.idle);
        let secret = SessionSecret::generate()?;
        let gateway = gateway.map(|domain| (secret.gateway_secret(domain), domain));
        let replaced = tx.delete_excess_sessions(credential, MAX_SESSIONS - 1, created_at)?;
        let stored = StoredKey {
            user_id: credential.user_id,
            epoch: credential.key_epoch,
            device: browser,
            kind: KeyKind::Session,
            hash: secret.hash(),
            sealed: None,
            expiration: Some(Expiration {
                at: expires_at,
                is_renewable: false,
            }),
            gateway_hash: gateway.as_ref().map(|(secret, domain)| secret.hash_at(domain)),
        };
        tx.insert_key(&stored, created_at)?;
        Ok(NewSession {
            secret,
            user_id: credential.user_id,
            user: credential.name.clone(),
            is_admin: credential.is_admin,
            browser: browser.clone(),
            created_at,
            expires_at,
            ends_at,
            gateway_secret: gateway.map(|(secret, _)| secret),
            replaced,
        })
    }

    /// Returns when a session that was created at `created_at` expires in any case.
    #[must_use]
    pub fn session_end(&self, created_at: NaiveDateTime) -> NaiveDateTime {
        created_at + self.session_limits.lifetime
    }

    /// Returns whether [`Self::extend_session`] would move the expiry of the caller's session. Reads only memory.
    #[must_use]
    pub fn is_extension_due(&self, caller: &Caller) -> bool {
        self.extension(caller).is_some()
    }

    /// Moves the expiry of the caller's session, which is in use. Does so at most about once an hour.
    pub fn extend_session(&self, caller: &Caller) -> Result<()> {
        let Some(expires_at) = self.extension(caller) else {
            return Ok(());
        };
        let key_id = caller.holder.key_id;
        self.store
            .write(|tx| tx.extend_session(key_id, expires_at, self.now()))?;
        self.key_cache.invalidate_user(caller.holder.user_id);
        Ok(())
    }

    fn extension(&self, caller: &Caller) -> Option<NaiveDateTime> {
        let holder = &caller.holder;
        let expiration = holder.expiration.filter(|_| holder.is_of_browser())?;
        let end = self.session_end(holder.created_at);
        let expires_at = end.min(self.now() + self.session_limits.idle);
        let gain = expires_at - expiration.at;
        let is_last = expires_at == end && gain > TimeDelta::zero();
        (gain >= MIN_EXTENSION.min(self.session_limits.idle / 2) || is_last).then_some(expires_at)
    }

    /// Lets the browser of the caller's session pass forward-auth at this domain, and returns the value of its cookie
    /// there. It is the same at every call.
    pub fn open_gateway(
        &self,
        caller: &Caller,
        session: &SessionSecret,
        domain: &CookieDomain,
    ) -> Result<GatewaySecret, KeyError> {
        let secret = session.gateway_secret(domain);
        let hash = secret.hash_at(domain);
        // A session that has been revoked meanwhile stays revoked, because the hash only leads to it.
        let is_found = self
            .store
            .write(|tx| tx.set_gateway_hash(caller.holder.key_id, &hash))?;
        if !is_found {
            return Err(KeyError::Invalid);
        }
        // The session may have had the cookie of another domain, if the settings have changed.
        self.key_cache.invalidate_user(caller.holder.user_id);
        Ok(secret)
    }

    /// Returns information about the caller's own key or session.
    pub fn current_key(&self, caller: &Caller) -> Result<KeyInfo, KeyError> {
        let key = self.store.read(|db| db.key_info(caller.holder.key_id))?;
        key.ok_or_else(|| self.reject_revoked(caller))
    }

    /// Checks the current password that a request contains, and returns the caller with [`Caller::has_password`].
    /// Without a password, returns the caller unchanged: the operation then decides whether that is enough.
    pub fn confirm_password(&self, caller: Caller, password: Option<&SecretText>) -> Result<Caller, ConfirmError> {
        let Some(password) = password else { return Ok(caller) };
        // The user may have been renamed since the key was cached.
        let user = self.own_user(&caller)?;
        let name = Name::parse(&user.name).map_err(|_| ConfirmError::WrongPassword)?;
        let credential = match self.check_password(&name, password, &caller.context) {
            Ok(credential) => credential,
            Err(LoginError::Throttled(throttled)) => return Err(ConfirmError::Throttled(throttled)),
            Err(LoginError::Service(error)) => return Err(error.into()),
            Err(
                LoginError::WrongCredentials
                | LoginError::Disabled
                | LoginError::BadExpiry(_)
                | LoginError::TooManyKeys(_),
            ) => return Err(ConfirmError::WrongPassword),
        };
        if credential.user_id != user.id || credential.created_at != user.created_at {
            return Err(ConfirmError::WrongPassword);
        }
        let has_password = true;
        Ok(Caller { has_password, ..caller })
    }

    /// Changes the caller's own password and revokes all keys of the user. If the caller presents a session, a new
    /// session takes its place in the same transaction. The request must contain the current password.
    pub fn change_own_password(
        &self,
        caller: &Caller,
        password: &SecretText,
        gateway: Option<&CookieDomain>,
    ) -> Result<Option<NewSession>, ManageError> {
        let (actor, user_id) = (Actor::Caller(caller), caller.holder.user_id);
        self.require_lasting_key(actor)?;
        if !caller.has_password {
            return Err(self.deny(caller, ManageError::PasswordRequired));
        }
        let _change = self.password_changes.begin(user_id)?;
        self.passwords.check_new(password.expose(), &caller.holder.user)?;
        let hash = self.hash(password.expose(), Client::of_actor(actor), &caller.context)?;
        let session = self.store.write(|tx| -> Result<_, ManageError> {
            tx.lock_users()?;
            // The update comes before the check, because it locks the user's row, as in `change_password`.
            if !tx.set_password(user_id, &hash)? {
                return Err(ManageError::UnknownUser);
            }
            self.authorize(tx, actor, Permission::ChangeUser(user_id))?;
            tx.revoke_keys_of_user(user_id)?;
            if !caller.holder.is_session() {
                return Ok(None);
            }
            let credential = tx.lock_credential(user_id)?.ok_or(ManageError::UnknownUser)?;
            let browser = Name::parse(&caller.holder.device).unwrap_or_else(|_| browser_name(""));
            Ok(Some(self.insert_session(tx, &credential, &browser, gateway)?))
        })?;
        self.key_cache.invalidate_user(user_id);
        audit::log(Event::PasswordChanged, &caller.holder.user, "", actor);
        if let Some(session) = &session {
            self.audit
                .log(Event::KeyIssued, &session.user, session.browser.as_typed(), caller);
        }
        Ok(session)
    }
}
