//! What the operator sees of the throttle: who has to wait, and how to clear it.

use std::collections::HashMap;

use chrono::NaiveDateTime;

use super::policy::{blocked_until, current};
use crate::auth::Auth;
use crate::auth::audit::{self, Event};
use crate::auth::permission::Permission;
use crate::error::{ManageError, Result};
use crate::model::{Actor, NameDigest, Network, name_digest};
use crate::store::{Page, Reader, Transaction};

/// All networks and users that have to wait.
pub struct Throttles {
    /// The longest waits first.
    pub waits: Vec<Wait>,
    /// The number of waiting names that no user has. Only their digests are stored.
    pub unknown_names: usize,
}

/// A wait of a network or of a user.
pub struct Wait {
    /// The user's name. `None` for the wait of a network.
    pub user: Option<String>,
    /// The network. `None` if the user has to wait on every network that is not known.
    pub network: Option<Network>,
    pub failures: i32,
    pub until: NaiveDateTime,
}

impl Auth {
    /// Returns which networks and users have to wait.
    pub fn throttles(&self) -> Result<Throttles> {
        let counts = self.store.read(Reader::highest_failures)?;
        let users = self.store.read(Reader::user_names)?;
        let names: HashMap<NameDigest, &str> = users.iter().map(|name| (name_digest(name), name.as_str())).collect();
        let now = self.now();
        let (mut waits, mut unknown_names) = (Vec::new(), 0);
        for count in counts {
            let count = current(count, now);
            let Some(until) = blocked_until(&count).filter(|until| *until > now) else {
                continue;
            };
            let user = count.key.account().map(|digest| names.get(digest));
            if user.is_some_and(|name| name.is_none()) {
                unknown_names += 1;
                continue;
            }
            waits.push(Wait {
                user: user.flatten().map(|name| (*name).to_owned()),
                network: count.key.network(),
                failures: count.failures,
                until,
            });
        }
        waits.sort_by_key(|wait| std::cmp::Reverse(wait.until));
        Ok(Throttles { waits, unknown_names })
    }

    /// Returns a page of the waits, and the number of all.
    pub fn throttles_page(&self, page: Page) -> Result<(Throttles, usize)> {
        let mut throttles = self.throttles()?;
        let total = throttles.waits.len();
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        let skipped = size.saturating_mul(usize::try_from(page.index).unwrap_or(usize::MAX));
        throttles.waits = throttles.waits.into_iter().skip(skipped).take(size).collect();
        Ok((throttles, total))
    }

    /// Clears the failed logins of a network and of the wider networks around it. Clients there can log in at once,
    /// unless the user has to wait.
    pub fn clear_failures_of_network(&self, actor: Actor<'_>, network: Network) -> Result<(), ManageError> {
        let networks: Vec<_> = std::iter::once(network).chain(network.wider()).collect();
        self.store.write(|tx| -> Result<_, ManageError> {
            self.authorize(tx, actor, Permission::Administer)?;
            Ok(tx.delete_failures_of_networks(&networks)?)
        })?;
        audit::log(Event::ThrottleCleared, "", "", actor);
        Ok(())
    }

    /// Clears all failed logins, of networks and of users.
    pub fn clear_all_failures(&self) -> Result<()> {
        self.store.write(Transaction::delete_all_failures)?;
        audit::log(Event::ThrottleCleared, "", "", Actor::Operator);
        Ok(())
    }
}
