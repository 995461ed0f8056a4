//! Small values that clients store in this service and that apply to all users.

use super::Auth;
use super::audit::{self, Event};
use super::permission::Permission;
use crate::error::{ManageError, Result};
use crate::model::Actor;

/// The name of the preference that holds the settings of Shoko's web UI, which are stored as one text.
const WEB_UI: &str = "webui";

impl Auth {
    /// Returns the web UI's settings, or an empty text if none are stored.
    pub fn web_ui_settings(&self) -> Result<String> {
        let stored = self.store.read(|db| db.preference(WEB_UI))?;
        Ok(stored.unwrap_or_default())
    }

    /// Stores the web UI's settings for all users.
    pub fn set_web_ui_settings(&self, actor: Actor<'_>, text: &str) -> Result<(), ManageError> {
        self.store.write(|tx| -> Result<_, ManageError> {
            self.authorize(tx, actor, Permission::Administer)?;
            Ok(tx.set_preference(WEB_UI, text)?)
        })?;
        let user = match actor {
            Actor::Operator => "",
            Actor::Caller(caller) => &caller.holder.user,
        };
        audit::log(Event::SettingsChanged, user, "", actor);
        Ok(())
    }
}
