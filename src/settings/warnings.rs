//! Warnings about settings whose consequences may not be intended.

use super::{Database, GatewayDomains, Settings, TLS_IS_BUILT_IN};
use crate::model::CookieDomain;

/// Fewer rounds than this cause a warning.
const SAFE_ROUNDS: u32 = 100_000;
/// A shorter minimum length of passwords causes a warning. In characters (NIST SP 800-63B-4, section 3.1.1.2).
const SAFE_PASSWORD_LENGTH: usize = 8;

/// A warning, and whether it applies.
type Possible = (bool, String);

impl Settings {
    /// Returns warnings to log at every start.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let possible = [self.password_warnings(), self.dialect_warnings(), self.proxy_warnings()];
        let applying = possible.into_iter().flatten().filter(|(applies, _)| *applies);
        applying.map(|(_, text)| text).collect()
    }

    fn password_warnings(&self) -> [Possible; 3] {
        let (rounds, length) = (self.core.pbkdf2_rounds, self.core.password_min_length);
        [
            (
                !self.core.login_throttle,
                "SHOKO_AUTH_LOGIN_THROTTLE is off: passwords can be guessed as fast as they can be checked".to_owned(),
            ),
            (
                rounds < SAFE_ROUNDS,
                format!(
                    "SHOKO_AUTH_PBKDF2_ROUNDS is {rounds}: with a copy of the database, passwords can be guessed \
                     quickly. Use at least {SAFE_ROUNDS}"
                ),
            ),
            (
                length < SAFE_PASSWORD_LENGTH,
                format!(
                    "SHOKO_AUTH_PASSWORD_MIN_LENGTH is {length}: passwords of fewer than {SAFE_PASSWORD_LENGTH} \
                     characters are easy to guess"
                ),
            ),
        ]
    }

    fn dialect_warnings(&self) -> [Possible; 3] {
        let zulip = self.dialects.zulip;
        let is_local = self.listen.ip().to_canonical().is_loopback();
        [
            (
                self.v1_login,
                "SHOKO_AUTH_V1_LOGIN is on: every client can read the names of all users".to_owned(),
            ),
            (
                zulip.is_some_and(|zulip| zulip.dev_login),
                "SHOKO_AUTH_ZULIP_DEV_LOGIN is on: every program on this machine can get any user's key without a \
                 password. Switch it off before a proxy on this machine passes on other clients' requests"
                    .to_owned(),
            ),
            (
                zulip.is_some() && self.public_url.is_none() && !is_local,
                "SHOKO_AUTH_PUBLIC_URL is not set: Zulip's clients receive a server URL with the host name of their \
                 own request"
                    .to_owned(),
            ),
        ]
    }

    fn proxy_warnings(&self) -> [Possible; 3] {
        let unencrypted: Vec<&str> = self.gateway_domains.unencrypted().map(CookieDomain::as_str).collect();
        let has_domains = self.gateway_domains != GatewayDomains::default();
        [
            (
                !unencrypted.is_empty(),
                format!(
                    "SHOKO_AUTH_GATEWAY_DOMAINS has a sign-in without https for {}: everyone in the network can read the \
                     cookie with which browsers use the guarded services",
                    unencrypted.join(", ")
                ),
            ),
            (
                has_domains && self.trusted_proxies.is_empty(),
                "SHOKO_AUTH_GATEWAY_DOMAINS has no effect without SHOKO_AUTH_TRUSTED_PROXIES: forward-auth serves only \
                 the proxies that are listed there"
                    .to_owned(),
            ),
            (
                self.trusted_proxies.iter().any(|network| network.prefix_len() == 0),
                "SHOKO_AUTH_TRUSTED_PROXIES contains every address: any client can claim any address".to_owned(),
            ),
        ]
    }
}

/// Returns the warning about a database on another machine that is reached without TLS.
#[must_use]
pub fn exposed_database(database: &Database) -> String {
    let remedy = if TLS_IS_BUILT_IN {
        "Set sslmode=verify-full in DATABASE_URL, and enable TLS on the server"
    } else {
        "This build has no TLS for PostgreSQL: build shoko-auth with `--features postgres-tls`, and set \
         sslmode=verify-full in DATABASE_URL"
    };
    format!(
        "the connections to {database} are not encrypted: the network can read names, password hashes and everything \
         else in them. {remedy}"
    )
}
