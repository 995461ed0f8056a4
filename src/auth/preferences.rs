//! Small values of the whole server that clients keep here.

use super::Auth;
use super::audit::{self, Event};
use crate::error::Result;
use crate::model::Caller;

/// Shoko's web UI keeps all its settings in one text.
const WEB_UI: &str = "webui";

impl Auth {
    /// The web UI's settings; empty when it has stored none.
    pub fn web_ui_settings(&self) -> Result<String> {
        let stored = self.store.read(|db| db.preference(WEB_UI))?;
        Ok(stored.unwrap_or_default())
    }

    /// Stores the web UI's settings, for everybody; for an administrator.
    pub fn set_web_ui_settings(&self, caller: &Caller, text: &str) -> Result<()> {
        self.store.write(|db| {
            self.still_is_admin(db, caller)?;
            db.set_preference(WEB_UI, text)
        })?;
        audit::log(Event::SettingsChanged, &caller.user, "", &caller.origin);
        Ok(())
    }
}
