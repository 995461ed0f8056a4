//! The URLs of the account.

use url::Url;

use crate::secret::token::LinkToken;
use crate::settings::{BasePath, PublicUrl};

/// The URLs of the account, as far as the settings determine them.
#[derive(Clone, Debug)]
pub struct AccountUrls {
    public_url: Option<PublicUrl>,
    base_path: BasePath,
}

impl AccountUrls {
    #[must_use]
    pub fn new(public_url: Option<&PublicUrl>, base_path: &BasePath) -> Self {
        Self {
            public_url: public_url.cloned(),
            base_path: base_path.clone(),
        }
    }

    /// Returns the path of the page on which the user of a one-time link chooses a password.
    ///
    /// The token is part of the path, because the page works without scripts, which alone could read a fragment. The
    /// log of requests contains the pattern of a route and never its path, and no page sends a `Referer`.
    #[must_use]
    pub fn link_path(&self, token: &LinkToken) -> String {
        format!("{}{}", self.base_path.as_str(), link_path(token))
    }

    /// Returns the whole URL of that page, or `None` without a public URL. The public URL includes the base path.
    #[must_use]
    pub fn link_url(&self, token: &LinkToken) -> Option<String> {
        let public_url = self.public_url.as_ref()?;
        Some(format!("{}{}", public_url.as_str(), link_path(token)))
    }

    /// Returns the public URL.
    #[must_use]
    pub fn public_url(&self) -> Option<Url> {
        Url::parse(self.public_url.as_ref()?.as_str()).ok()
    }
}

fn link_path(token: &LinkToken) -> String {
    format!("/account/link/{}", token.expose())
}
