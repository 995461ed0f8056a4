//! Users: make, list, change the password.

use super::{Auth, now};
use crate::error::{AuthError, Result};
use crate::model::{Caller, Name, NewUser, User};
use crate::secret::key::random;
use crate::settings::FirstAdmin;
use crate::store::DbConnection;

/// The administrator that a new installation got.
#[derive(Debug)]
pub struct FirstAdminMade {
    /// Who it is.
    pub user: User,
    /// The password, when nobody gave one: to be shown once.
    pub generated_password: Option<String>,
}

impl Auth {
    /// Brings the tables up to date and, when there is no administrator, makes one. Both under one lock:
    /// of several nodes that start at once, one makes him.
    pub fn first_admin(&self, wanted: &FirstAdmin) -> Result<Option<FirstAdminMade>> {
        self.store.migrate(|db| {
            if db.has_admin()? {
                return Ok(None);
            }
            let (password, generated_password) = if let Some(given) = &wanted.password {
                (given.expose().to_owned(), None)
            } else {
                let made = readable_password()?;
                (made.clone(), Some(made))
            };
            let name = wanted.name.clone();
            self.passwords.check_new(&password, &name)?;
            let hash = self.passwords.hash(&password)?;
            let admin = NewUser {
                name,
                email: None,
                is_admin: true,
            };
            let user = insert_user(db, &admin, &hash)?;
            Ok(Some(FirstAdminMade {
                user,
                generated_password,
            }))
        })
    }

    /// Makes a user.
    pub fn create_user(&self, user: &NewUser, password: &str) -> Result<User> {
        self.passwords.check_new(password, &user.name)?;
        let hash = self.passwords.hash(password)?;
        self.store.write(|db| insert_user(db, user, &hash))
    }

    /// All users, by id.
    pub fn users(&self) -> Result<Vec<User>> {
        self.store.read(DbConnection::users)
    }

    /// The caller's own user.
    pub fn own_user(&self, caller: &Caller) -> Result<User> {
        self.store
            .read(|db| db.user(caller.user_id))?
            .ok_or(AuthError::InvalidKey)
    }

    /// Changes the caller's password, or that of user `target`, which only administrators may.
    /// Ends all keys of that user, the caller's own included.
    pub fn change_password(&self, caller: &Caller, target: Option<i32>, password: &str) -> Result<()> {
        let target = target.unwrap_or(caller.user_id);
        if target != caller.user_id && !caller.is_admin {
            return Err(AuthError::Forbidden);
        }
        let user = self.store.read(|db| db.user(target))?.ok_or(AuthError::UnknownUser)?;
        self.store_password(&user, password, |db| {
            // The hash took its time: whoever revoked the caller's key meanwhile meant it.
            if db.has_key(caller.key_id)? {
                Ok(())
            } else {
                Err(AuthError::InvalidKey)
            }
        })
    }

    /// Changes a user's password without asking who wants it: for the command line. Ends all keys of the user.
    pub fn set_password(&self, name: &Name, password: &str) -> Result<()> {
        let user = self
            .store
            .read(|db| db.user_by_name(name))?
            .ok_or(AuthError::UnknownUser)?;
        self.store_password(&user, password, |_| Ok(()))
    }

    /// Every change of a password comes through here: the new hash and the end of all keys in one transaction.
    fn store_password(
        &self,
        user: &User,
        password: &str,
        allowed: impl FnOnce(&mut DbConnection) -> Result<()>,
    ) -> Result<()> {
        self.passwords.check_new(password, &Name::parse(&user.name)?)?;
        let hash = self.passwords.hash(password)?;
        self.store.write(|db| {
            // First the user's row, whose lock orders this against logins; then everything that depends on it.
            if !db.set_password(user.id, &hash)? {
                return Err(AuthError::UnknownUser);
            }
            allowed(db)?;
            db.delete_keys_of_user(user.id)?;
            Ok(())
        })
    }
}

fn insert_user(db: &mut DbConnection, user: &NewUser, hash: &str) -> Result<User> {
    db.lock_names()?;
    let taken = db.is_taken(&user.name)?
        || match &user.email {
            Some(email) => db.is_taken(email)?,
            None => false,
        };
    if taken {
        return Err(AuthError::NameTaken);
    }
    db.insert_user(user, hash, now())
}

/// 100 random bits in groups of letters and digits that nobody mistakes for one another.
fn readable_password() -> Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letters: Vec<u8> = random::<20>()?
        .iter()
        .map(|byte| ALPHABET[usize::from(byte % 32)])
        .collect();
    let groups: Vec<String> = letters
        .chunks(4)
        .map(|group| String::from_utf8_lossy(group).into_owned())
        .collect();
    Ok(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_is_readable_and_new_every_time() {
        let password = readable_password().unwrap();
        assert_eq!(password.len(), 24);
        assert!(password.split('-').all(|group| group.len() == 4));
        assert_ne!(password, readable_password().unwrap());
    }
}
