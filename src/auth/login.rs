//! Logs users in: checks their passwords and limits failed attempts.

use super::Auth;
use super::audit::Event;
use super::hashing::Client;
use super::issue::IssuedKey;
use super::throttle::Outcome;
use crate::error::{LoginError, Result};
use crate::model::{Name, RequestContext, RequestedExpiry, SecretText, UserSummary};
use crate::store::Credential;

/// A login with a password.
#[derive(Debug)]
pub struct LogIn {
    pub user: Name,
    pub password: SecretText,
    /// The device that gets the key.
    pub device: Name,
    pub expiry: RequestedExpiry,
    /// The wire protocol, for the metrics.
    pub dialect: &'static str,
}

impl Auth {
    /// Checks the password and issues a key. If the login requests an expiry, the key is always new. Otherwise it is
    /// the device's lasting key, which is created if there is none.
    pub fn log_in(&self, login: &LogIn, context: &RequestContext) -> Result<IssuedKey, LoginError> {
        let result = self.key_after_login(login, context);
        self.record_login(login.dialect, &result);
        result
    }

    fn key_after_login(&self, login: &LogIn, context: &RequestContext) -> Result<IssuedKey, LoginError> {
        let credential = self.check_password(&login.user, &login.password, context)?;
        self.audit
            .log(Event::LoginOk, &credential.name, login.device.as_typed(), context);
        let expiration = self.resolve(login.expiry)?;
        self.record_first_login(&credential)?;
        let key = self.key_for(&credential, &login.device, expiration, context)?;
        self.raise_rounds(&credential, &login.password, context);
        Ok(IssuedKey {
            key,
            user_id: credential.user_id,
            user: credential.name,
            device: login.device.clone(),
            expires_at: expiration.map(|expiration| expiration.at),
        })
    }

    /// Checks the password without issuing a key. `dialect` is the wire protocol, for the metrics.
    pub fn check_login(
        &self,
        dialect: &'static str,
        user: &Name,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<UserSummary, LoginError> {
        let result = self.user_after_login(user, password, context);
        self.record_login(dialect, &result);
        result
    }

    fn user_after_login(
        &self,
        user: &Name,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<UserSummary, LoginError> {
        let credential = self.check_password(user, password, context)?;
        self.record_first_login(&credential)?;
        self.audit.log(Event::LoginOk, &credential.name, "", context);
        self.raise_rounds(&credential, password, context);
        Ok(UserSummary {
            user_id: credential.user_id,
            name: credential.name,
            is_admin: credential.is_admin,
        })
    }

    /// Returns the device's lasting key without checking a password. Only for development: check first that the request
    /// is local.
    pub fn log_in_without_password(
        &self,
        user: &Name,
        device: &Name,
        context: &RequestContext,
    ) -> Result<IssuedKey, LoginError> {
        let credential = self.store.read(|db| db.credential(user))?;
        let credential = credential.ok_or(LoginError::WrongCredentials)?;
        if credential.is_disabled {
            return Err(LoginError::Disabled);
        }
        let key = self.key_for(&credential, device, None, context)?;
        self.audit
            .log(Event::LoginOk, &credential.name, device.as_typed(), context);
        Ok(IssuedKey {
            key,
            user_id: credential.user_id,
            user: credential.name,
            device: device.clone(),
            expires_at: None,
        })
    }

    /// If the user is the automatic administrator, records that it is in use, so that no import removes it. Fails if an
    /// import has already removed it or if its password hash has changed since `credential` was read. Does nothing for
    /// other users.
    pub(super) fn record_first_login(&self, credential: &Credential) -> Result<(), LoginError> {
        if !credential.is_automatic || self.store.write(|tx| tx.record_first_login(credential))? {
            Ok(())
        } else {
            Err(LoginError::WrongCredentials)
        }
    }

    /// Checks a password and returns the user's credential. A wrong password, an unknown name and a disabled user take
    /// the same time.
    ///
    /// First reserves a queue slot, so that a request costs nothing if it is rejected because the queue is full. Then
    /// records the attempt in the throttle. Then hashes the password.
    pub(super) fn check_password(
        &self,
        user: &Name,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<Credential, LoginError> {
        let slot = self.hashing.reserve(Client::logging_in(context, user))?;
        let credential = self.store.read(|db| db.credential(user))?;
        let attempt = self.record_attempt(user, credential.as_ref(), context);
        let attempt = attempt.inspect_err(|error| {
            if let LoginError::Throttled(_) = error {
                self.audit.log(Event::LoginThrottled, user.as_typed(), "", context);
            }
        })?;
        let stored = credential.as_ref().map(|credential| credential.password.clone());
        let (passwords, password) = (self.passwords.clone(), password.clone());
        let checked = slot.run(context, move || passwords.check(password.expose(), stored.as_deref()));
        let enabled = credential.filter(|credential| !credential.is_disabled);
        let outcome = match (&checked, &enabled) {
            (Ok(true), Some(_)) => Outcome::Success,
            // The correct password of a disabled user is a failure too. Otherwise the throttle would reveal that the
            // password is correct.
            (Ok(_), _) => Outcome::Failure,
            (Err(_), _) => Outcome::Cancelled,
        };
        self.settle_attempt(attempt, outcome)?;
        let is_right = checked?;
        if is_right && let Some(credential) = enabled {
            return Ok(credential);
        }
        self.audit.log(Event::LoginFailed, user.as_typed(), "", context);
        Err(if is_right {
            LoginError::Disabled
        } else {
            LoginError::WrongCredentials
        })
    }

    /// Hashes a new password in the hashing pool, for a request of `client`.
    pub(super) fn hash(&self, password: &str, client: Client, context: &RequestContext) -> Result<String> {
        let slot = self.hashing.reserve(client)?;
        let (passwords, password) = (self.passwords.clone(), SecretText::new(password.to_owned()));
        slot.run(context, move || passwords.hash(password.expose()))?
    }

    /// Runs [`Self::rehash`] and logs an error instead of returning it, because the login itself has succeeded.
    pub(super) fn raise_rounds(&self, credential: &Credential, password: &SecretText, context: &RequestContext) {
        if let Err(error) = self.rehash(credential, password.expose(), context) {
            log::warn!("raising the rounds of a password hash failed and will be retried at the next login: {error}");
        }
    }

    /// Hashes the password again if its stored hash has fewer rounds than the setting or was imported from Shoko.
    pub(super) fn rehash(&self, credential: &Credential, password: &str, context: &RequestContext) -> Result<()> {
        if self.passwords.needs_rehash(&credential.password) {
            let client = Client::of_user(context, &credential.name);
            let hash = self.hash(password, client, context)?;
            self.store
                .write(|tx| tx.replace_hash(credential.user_id, &credential.password, &hash))?;
        }
        Ok(())
    }
}
