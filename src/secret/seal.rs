//! Seals keys for the database, and opens them again.
//!
//! The database stores sealed keys, but never a sealing secret. To replace the secret, several can be used at a time: the
//! first one, which is *active*, seals, and all of them open. Each sealed key is stored with the id of its secret.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::key::Key;
use super::random;
use crate::error::{Result, ServiceError};
use crate::model::SecretText;

/// The text from which the id of a secret is computed.
const ID_TEXT: &[u8] = b"shoko-auth sealing secret id";

/// Names a sealing secret in the database and in logs: 8 hexadecimal digits, from which the secret cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretId(String);

impl SecretId {
    /// Returns the id that the database has stored, whether it is that of a known secret or not.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(secret: &[u8]) -> Result<Self, String> {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).map_err(|e| e.to_string())?;
        let digest: [u8; 32] = mac.chain_update(ID_TEXT).finalize().into_bytes().into();
        let [a, b, c, d, ..] = digest;
        Ok(Self(format!("{:08x}", u32::from_be_bytes([a, b, c, d]))))
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sealed key as the database stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    pub bytes: Vec<u8>,
    /// The secret that opens it. `None` if a version of the program sealed it that did not record the id.
    pub secret: Option<SecretId>,
}

/// Seals keys for the database and opens them again: XChaCha20-Poly1305 with a random nonce.
///
/// The user's id and the device are authenticated with the key. A sealed key that is moved to another row therefore
/// cannot be opened. The secrets are overwritten in memory when the sealer is dropped.
pub struct Sealer {
    active: SealingSecret,
    others: Vec<SealingSecret>,
}

struct SealingSecret {
    id: SecretId,
    cipher: XChaCha20Poly1305,
}

impl Sealer {
    /// The length of a sealing secret in bytes.
    pub const SECRET_BYTES: usize = 32;
    const NONCE_BYTES: usize = 24;
    /// The first byte of a sealed key. It identifies the scheme, so that others can be added.
    const VERSION: u8 = 1;

    /// Creates a sealer from one or more secrets in base64, separated by commas, with optional white space around them.
    /// The first one becomes the active one.
    pub fn from_base64(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_start_matches('\u{feff}');
        let mut secrets = Vec::<SealingSecret>::new();
        for (index, part) in text.split(',').enumerate() {
            let numbered = |reason: String| {
                if text.contains(',') {
                    format!("secret {}: {reason}", index + 1)
                } else {
                    reason
                }
            };
            let secret = SealingSecret::from_base64(part).map_err(numbered)?;
            if secrets.iter().any(|other| other.id == secret.id) {
                return Err(numbered("it is the same as an earlier one".to_owned()));
            }
            secrets.push(secret);
        }
        let others = secrets.split_off(1.min(secrets.len()));
        let active = secrets.pop().ok_or("there is none")?;
        Ok(Self { active, others })
    }

    /// Returns a new random sealing secret in base64.
    pub fn generate_secret() -> Result<SecretText> {
        let bytes = Zeroizing::new(random::<{ Self::SECRET_BYTES }>()?);
        Ok(SecretText::new(STANDARD.encode(*bytes)))
    }

    /// Returns the id of the secret that seals.
    #[must_use]
    pub fn active_id(&self) -> &SecretId {
        &self.active.id
    }

    /// Returns the ids of the other secrets, which only open.
    pub fn other_ids(&self) -> impl Iterator<Item = &SecretId> {
        self.others.iter().map(|secret| &secret.id)
    }

    /// Seals a key of user `user_id` for the device with the normalized name `device`.
    pub fn seal(&self, key: &Key, user_id: i32, device: &str) -> Result<SealedKey> {
        let nonce = random::<{ Self::NONCE_BYTES }>()?;
        let (msg, aad) = (key.bytes(), &associated_data(user_id, device));
        let sealed = self
            .active
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg, aad })
            .map_err(|_| ServiceError::internal("sealing a key failed"))?;
        Ok(SealedKey {
            bytes: [&[Self::VERSION], nonce.as_slice(), &sealed].concat(),
            secret: Some(self.active.id.clone()),
        })
    }

    /// Opens a key that [`Self::seal`] sealed for this user and device. Returns `None` if the key was sealed with a
    /// secret that is not known, or for another user or device.
    #[must_use]
    pub fn open(&self, sealed: &SealedKey, user_id: i32, device: &str) -> Option<Key> {
        let (nonce, msg) = sealed
            .bytes
            .strip_prefix(&[Self::VERSION])?
            .split_first_chunk::<{ Self::NONCE_BYTES }>()?;
        let (nonce, aad) = (&XNonce::from(*nonce), &associated_data(user_id, device));
        let may_open = |secret: &&SealingSecret| sealed.secret.as_ref().is_none_or(|id| *id == secret.id);
        let mut secrets = std::iter::once(&self.active).chain(&self.others).filter(may_open);
        let key = secrets.find_map(|secret| secret.cipher.decrypt(nonce, Payload { msg, aad }).ok());
        Key::from_bytes(&Zeroizing::new(key?))
    }
}

impl SealingSecret {
    fn from_base64(text: &str) -> Result<Self, String> {
        let bytes = STANDARD
            .decode(text.trim())
            .map(Zeroizing::new)
            .map_err(|e| format!("it is not base64 ({e})"))?;
        let cipher = XChaCha20Poly1305::new_from_slice(&bytes)
            .map_err(|_| format!("it has {} bytes; 32 are needed", bytes.len()))?;
        let id = SecretId::of(&bytes)?;
        Ok(Self { id, cipher })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer([secret])")
    }
}

fn associated_data(user_id: i32, device: &str) -> Vec<u8> {
    [b"shoko-auth key".as_slice(), &user_id.to_be_bytes(), device.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> String {
        Sealer::generate_secret().unwrap().expose().to_owned()
    }

    fn sealer(secrets: &[&str]) -> Sealer {
        Sealer::from_base64(&secrets.join(", ")).unwrap()
    }

    #[test]
    fn a_sealed_key_opens_only_for_its_user_device_and_secret() {
        let (sealer, key) = (self::sealer(&[&secret()]), Key::generate().unwrap());
        let kept = sealer.seal(&key, 7, "kodi").unwrap();
        assert!(sealer.open(&kept, 7, "kodi") == Some(key));
        assert!(sealer.open(&kept, 8, "kodi").is_none());
        assert!(sealer.open(&kept, 7, "plex").is_none());
        assert!(self::sealer(&[&secret()]).open(&kept, 7, "kodi").is_none());
        let bytes = Vec::new();
        assert!(sealer.open(&SealedKey { bytes, ..kept }, 7, "kodi").is_none());
    }

    #[test]
    fn every_secret_opens_what_it_has_sealed_and_the_first_one_seals() {
        let (old, new, key) = (secret(), secret(), Key::generate().unwrap());
        let sealed = sealer(&[&old]).seal(&key, 7, "kodi").unwrap();
        let both = sealer(&[&new, &old]);
        assert!(both.open(&sealed, 7, "kodi") == Some(key.clone()));
        let without_id = SealedKey {
            secret: None,
            ..sealed.clone()
        };
        assert!(both.open(&without_id, 7, "kodi") == Some(key.clone()));
        assert!(sealer(&[&new]).open(&without_id, 7, "kodi").is_none());
        let again = both.seal(&key, 7, "kodi").unwrap();
        assert!(sealer(&[&old]).open(&again, 7, "kodi").is_none());
        assert_eq!(again.secret.as_ref(), Some(both.active_id()));
        assert_eq!(both.other_ids().collect::<Vec<_>>(), [&sealed.secret.unwrap()]);
    }

    #[test]
    fn the_id_of_a_secret_does_not_change() {
        let sealer = sealer(&["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]);
        assert_eq!(sealer.active_id().as_str(), "c4cbadcd");
    }

    #[test]
    fn a_sealing_secret_is_overwritten_when_dropped() {
        // This compiles only if the type implements the trait. The cipher does if its crate has the feature `zeroize`.
        fn overwritten<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        overwritten(&sealer(&[&secret()]).active.cipher);
    }

    #[test]
    fn a_malformed_secret_is_rejected_with_the_reason() {
        let reason = |text: &str| Sealer::from_base64(text).unwrap_err();
        assert!(reason("no base64!").contains("base64"));
        assert!(reason("AAAA").contains("3 bytes"));
        assert!(reason("").contains("0 bytes"));
        let good = secret();
        assert!(reason(&format!("{good},AAAA")).contains("secret 2: it has 3 bytes"));
        assert!(reason(&format!("{good},")).contains("secret 2"));
        assert!(reason(&format!("{good},{good}")).contains("same as an earlier one"));
    }
}
