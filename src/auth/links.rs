//! One-time links, with which new users choose a password and existing users set a new one.
//!
//! A user has at most one link. It is revoked by the next link and by a password change, and it works only once.

use chrono::NaiveDateTime;

use super::Auth;
use super::audit::{self, Event};
use super::hashing::Client;
use super::permission::Permission;
use super::users::{insert_user, log_created};
use crate::error::{LinkError, ManageError, Result};
use crate::model::{Actor, NewUser, RequestContext, SecretText, User, UserRef};
use crate::secret::password::NO_PASSWORD;
use crate::secret::token::LinkToken;
use crate::store::Transaction;

/// A user that has just been created.
#[derive(Debug)]
pub struct CreatedUser {
    pub id: i32,
    /// The name as typed.
    pub name: String,
    /// The link with which the user chooses a password, if the user has none.
    pub link: Option<NewLink>,
}

/// A link that has just been issued.
#[derive(Debug)]
pub struct NewLink {
    pub user_id: i32,
    /// The user's name as typed.
    pub user: String,
    pub token: LinkToken,
    pub expires_at: NaiveDateTime,
}

impl Auth {
    /// Creates a user without a password, and issues the link with which the user chooses one.
    pub fn invite_user(&self, actor: Actor<'_>, user: &NewUser) -> Result<NewLink, ManageError> {
        self.require_lasting_key(actor)?;
        let (created, link) = self.store.write(|tx| -> Result<_, ManageError> {
            tx.lock_users()?;
            self.authorize(tx, actor, Permission::Administer)?;
            let created = insert_user(tx, user, NO_PASSWORD, self.now())?;
            let link = self.insert_link(tx, created.id, &created.name)?;
            Ok((created, link))
        })?;
        log_created(&created, actor);
        audit::log(Event::LinkIssued, &link.user, "", actor);
        Ok(link)
    }

    /// Creates a user. Without a password, also issues the link with which the user chooses one.
    pub fn create_or_invite_user(
        &self,
        actor: Actor<'_>,
        user: &NewUser,
        password: Option<&SecretText>,
    ) -> Result<CreatedUser, ManageError> {
        let Some(password) = password else {
            let link = self.invite_user(actor, user)?;
            return Ok(CreatedUser {
                id: link.user_id,
                name: link.user.clone(),
                link: Some(link),
            });
        };
        let User { id, name, .. } = self.create_user(actor, user, password.expose())?;
        Ok(CreatedUser { id, name, link: None })
    }

    /// Issues a link for an existing user, and so revokes the user's earlier link.
    pub fn issue_link(&self, actor: Actor<'_>, user: &UserRef) -> Result<NewLink, ManageError> {
        self.require_lasting_key(actor)?;
        let link = self.store.write(|tx| -> Result<_, ManageError> {
            tx.lock_users()?;
            self.authorize(tx, actor, Permission::Administer)?;
            let user = tx.find_user(user)?.ok_or(ManageError::UnknownUser)?;
            Ok(self.insert_link(tx, user.id, &user.name)?)
        })?;
        audit::log(Event::LinkIssued, &link.user, "", actor);
        Ok(link)
    }

    /// Stores a new link. The users must be locked.
    fn insert_link(&self, tx: &mut Transaction, user_id: i32, user: &str) -> Result<NewLink> {
        let (token, expires_at) = (LinkToken::generate()?, self.now() + self.link_lifetime);
        tx.store_link(user_id, &token.hash(), expires_at)?;
        Ok(NewLink {
            user_id,
            user: user.to_owned(),
            token,
            expires_at,
        })
    }

    /// Returns the name of the user for whom a link is good. Does not use up the link.
    pub fn user_of_link(&self, token: &LinkToken) -> Result<String, LinkError> {
        let user = self.store.read(|db| db.user_of_link(&token.hash(), self.now()))?;
        user.map(|(_, name)| name).ok_or(LinkError::Unknown)
    }

    /// Sets the password of a link's user, revokes all keys of the user, and uses up the link. Returns the user's name.
    /// A rejected password does not use up the link.
    pub fn set_password_with_link(
        &self,
        token: &LinkToken,
        password: &SecretText,
        context: &RequestContext,
    ) -> Result<String, LinkError> {
        let link = token.hash();
        // Check by reading first, so that a request with a guessed token costs no hash.
        let found = self.store.read(|db| db.user_of_link(&link, self.now()))?;
        let (user_id, user) = found.ok_or(LinkError::Unknown)?;
        let _change = self.password_changes.begin(user_id)?;
        self.passwords.check_new(password.expose(), &user)?;
        let hash = self.hash(password.expose(), Client::of_user(context, &user), context)?;
        self.store.write(|tx| -> Result<_, LinkError> {
            tx.lock_users()?;
            // The user may have been disabled since.
            let is_valid = tx.user_of_link(&link, self.now())?.is_some() && tx.use_link(user_id, &link, self.now())?;
            if !is_valid || !tx.set_password(user_id, &hash)? {
                return Err(LinkError::Unknown);
            }
            Ok(tx.revoke_keys_of_user(user_id)?)
        })?;
        self.key_cache.invalidate_user(user_id);
        audit::log(Event::LinkUsed, &user, "", context);
        audit::log(Event::PasswordChanged, &user, "", context);
        Ok(user)
    }
}
