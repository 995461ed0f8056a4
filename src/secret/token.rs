//! Random secrets that are not API keys: the secrets of sessions, and the tokens of one-time links.
//!
//! The database stores only their hashes. The hash of each kind begins with a text of its own, so a secret of one kind
//! is never found in place of another, and never in place of an API key.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use uuid::fmt::Simple;
use zeroize::Zeroizing;

use super::key::KeyHash;
use super::random;
use crate::error::Result;
use crate::model::CookieDomain;

/// The kind of a secret.
pub trait Purpose {
    /// The text with which the hashes of this kind begin.
    const PREFIX: &'static [u8];
}

/// See [`SessionSecret`].
#[derive(Clone, Copy, Debug)]
pub enum OfSession {}

/// See [`LinkToken`].
#[derive(Clone, Copy, Debug)]
pub enum OfLink {}

/// See [`GatewaySecret`].
#[derive(Clone, Copy, Debug)]
pub enum OfGateway {}

impl Purpose for OfSession {
    const PREFIX: &'static [u8] = b"shoko-auth session";
}

impl Purpose for OfLink {
    const PREFIX: &'static [u8] = b"shoko-auth link";
}

/// The secret of a session, which is in the browser's cookie.
pub type SessionSecret = Token<OfSession>;

/// The secret part of a one-time link.
pub type LinkToken = Token<OfLink>;

/// The secret with which a browser passes forward-auth. It is derived from that of the session, for one cookie domain.
pub type GatewaySecret = Token<OfGateway>;

/// 128 random bits, or bits derived from them. They are overwritten in memory when dropped.
pub struct Token<P> {
    bytes: Zeroizing<[u8; 16]>,
    purpose: PhantomData<P>,
}

impl<P> Clone for Token<P> {
    fn clone(&self) -> Self {
        Self::of(*self.bytes)
    }
}

impl<P> Token<P> {
    fn of(bytes: [u8; 16]) -> Self {
        Self {
            bytes: Zeroizing::new(bytes),
            purpose: PhantomData,
        }
    }

    pub fn generate() -> Result<Self> {
        Ok(Self::of(random()?))
    }

    /// Parses 32 hexadecimal digits, in any case because the request middleware changes the case of paths.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let simple: Simple = text.parse().ok()?;
        Some(Self::of(simple.into_uuid().into_bytes()))
    }

    /// Returns the secret as browsers receive it: 32 hexadecimal digits in lower case.
    #[must_use]
    pub fn expose(&self) -> String {
        Uuid::from_bytes(*self.bytes).simple().to_string()
    }
}

impl<P: Purpose> Token<P> {
    /// Returns the hash by which the database finds the secret.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        let hash = Sha256::new_with_prefix(P::PREFIX);
        hash.chain_update(*self.bytes).finalize().into()
    }
}

impl SessionSecret {
    /// Returns the token that forms of this session contain. It does not reveal the secret, and another session has
    /// another token, so a page of another site cannot know it.
    #[must_use]
    pub fn form_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.form_mac().finalize().into_bytes())
    }

    /// Returns whether `token` is the form token of this session. Takes the same time wherever the two differ.
    #[must_use]
    pub fn is_form_token(&self, token: &str) -> bool {
        let token = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        self.form_mac().verify_slice(&token).is_ok()
    }

    /// Returns the secret that the browser sends to guarded services of this domain. It does not reveal the secret of
    /// the session, so a guarded service that receives it cannot use the account.
    #[must_use]
    pub fn gateway_secret(&self, domain: &CookieDomain) -> GatewaySecret {
        let mac = self.mac(b"shoko-auth gateway").chain_update(domain.as_str());
        let bytes = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
        GatewaySecret::of(std::array::from_fn(|index| bytes[index]))
    }

    fn form_mac(&self) -> Hmac<Sha256> {
        self.mac(b"shoko-auth form")
    }

    fn mac(&self, purpose: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.bytes.as_slice()).expect("HMAC accepts keys of any length");
        mac.chain_update(purpose)
    }
}

impl GatewaySecret {
    /// Returns the hash by which the database finds the session of this secret. The hash contains the domain, so a
    /// secret of one domain is never found at another.
    #[must_use]
    pub fn hash_at(&self, domain: &CookieDomain) -> KeyHash {
        let hash = Sha256::new_with_prefix(b"shoko-auth gateway cookie").chain_update(domain.as_str());
        hash.chain_update(*self.bytes).finalize().into()
    }
}

/// Hides the secret from logs and errors.
impl<P> fmt::Debug for Token<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::key::Key;

    #[test]
    fn a_secret_is_read_as_it_is_exposed_in_any_case() {
        let secret = SessionSecret::generate().unwrap();
        let text = secret.expose();
        assert_eq!(text.len(), 32);
        assert_eq!(
            SessionSecret::parse(&text.to_uppercase()).unwrap().hash(),
            secret.hash()
        );
        for text in ["", "00", &format!("{text}0"), &format!(" {text}")] {
            assert!(SessionSecret::parse(text).is_none(), "{text}");
        }
        assert_eq!(format!("{secret:?}"), "Token([secret])");
    }

    #[test]
    fn the_same_bits_have_another_hash_for_each_purpose() {
        let text = "00112233445546678899aabbccddeeff";
        let session = SessionSecret::parse(text).unwrap().hash();
        let link = LinkToken::parse(text).unwrap().hash();
        let key = Key::parse(text).unwrap().hash();
        assert!(session != link && link != key && session != key);
    }

    #[test]
    fn a_gateway_secret_belongs_to_one_session_and_one_domain() {
        let session = SessionSecret::generate().unwrap();
        let [org, net] = ["example.org", "example.net"].map(|name| CookieDomain::parse(name).unwrap());
        let secret = session.gateway_secret(&org);
        assert_eq!(secret.expose(), session.gateway_secret(&org).expose());
        assert_ne!(secret.expose(), session.gateway_secret(&net).expose());
        assert_ne!(
            secret.expose(),
            SessionSecret::generate().unwrap().gateway_secret(&org).expose()
        );
        assert_ne!(secret.expose(), session.expose());
        assert_ne!(secret.hash_at(&org), secret.hash_at(&net));
        let stolen = SessionSecret::parse(&secret.expose()).unwrap();
        assert_ne!(stolen.hash(), session.hash());
    }

    #[test]
    fn a_form_token_belongs_to_one_session() {
        let (one, other) = (SessionSecret::generate().unwrap(), SessionSecret::generate().unwrap());
        let token = one.form_token();
        assert!(one.is_form_token(&token) && !other.is_form_token(&token));
        for wrong in ["", "x", &token[1..], &one.expose()] {
            assert!(!one.is_form_token(wrong), "{wrong}");
        }
        assert!(!token.contains(&one.expose()));
    }
}
