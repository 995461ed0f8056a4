//! Follows the change feed, so that what this process remembers of keys is what the database says, whoever changed it.

use std::io;
use std::sync::{Arc, Weak};
use std::thread::{Builder, sleep};
use std::time::Duration;

use super::Auth;
use super::callers::Callers;
use crate::error::{AuthError, Result};
use crate::settings::Database;
use crate::store::{Change, ChangeFeed};

/// Between two looks at the feed.
const PAUSE: Duration = Duration::from_millis(5);
/// How long what is remembered holds after the feed was last seen to work: so late may a revocation by somebody else be
/// heard of.
const TRUST: Duration = Duration::from_millis(100);
/// Between two tries to follow the feed again.
const RETRY: Duration = Duration::from_millis(250);

impl Auth {
    /// From now on keys that were looked up before are remembered, as long as changes of `database`, this service's own,
    /// can be followed. For a server: a command is over sooner.
    pub fn follow_changes(&self, database: &Database) -> io::Result<()> {
        let (callers, database) = (Arc::downgrade(&self.callers), database.clone());
        let thread = Builder::new().name("change-feed".to_owned());
        thread.spawn(move || follow(&callers, &database)).map(drop)
    }

    /// Whether that works just now. If not, every verification asks the database.
    pub fn follows_changes(&self) -> bool {
        self.callers.is_vouched_for()
    }
}

/// Until the service is no more.
fn follow(callers: &Weak<Callers>, database: &Database) {
    let mut state = State::default();
    while callers.strong_count() > 0 {
        if let Err(error) = follow_once(callers, database, &mut state) {
            state.is(Some(&error));
            sleep(RETRY);
        }
    }
}

/// On one connection, until it breaks.
fn follow_once(callers: &Weak<Callers>, database: &Database, state: &mut State) -> Result<()> {
    let mut feed = ChangeFeed::open(database)?;
    // What happened before that, nobody has heard.
    callers.upgrade().inspect(|callers| callers.forget_all());
    while let Some(callers) = callers.upgrade() {
        let (changes, as_of) = feed.poll()?;
        for change in changes {
            match change {
                Change::OfUser(user_id) => callers.forget(user_id),
                Change::OfAnybody => callers.forget_all(),
            }
        }
        callers.vouch_until(as_of + TRUST);
        drop(callers);
        let late = AuthError::Unavailable(format!("it took longer than {TRUST:?}"));
        state.is((as_of.elapsed() >= TRUST).then_some(&late));
        sleep(PAUSE);
    }
    Ok(())
}

/// Whether the feed is down, so that each change of that is told once.
#[derive(Default)]
struct State {
    is_down: bool,
}

impl State {
    fn is(&mut self, fault: Option<&AuthError>) {
        match (fault, self.is_down) {
            (Some(error), false) => {
                log::warn!("the change feed is down, so every verification asks the database: {error}");
            }
            (None, true) => log::info!("the change feed is back"),
            _ => {}
        }
        self.is_down = fault.is_some();
    }
}
