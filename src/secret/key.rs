//! Keys: random on the wire, hashed for look-up, sealed so that the same device can get the same key again.
//!
//! The database holds the hash and the seal; what opens the seal is never in the database.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use uuid::fmt::{Hyphenated, Simple};
use uuid::{Builder, Uuid};

use crate::error::{AuthError, Result};

/// An API key: a random UUID, Shoko's form. 122 random bits, so a plain hash of it is enough
/// (NIST SP 800-63B-4, section 3.1.2.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Uuid);

/// What a key is looked up by: SHA-256 of its 16 bytes.
pub type KeyHash = [u8; 32];

impl Key {
    /// A new random key.
    pub fn generate() -> Result<Self> {
        Ok(Self(Builder::from_random_bytes(random()?).into_uuid()))
    }

    /// Reads any spelling that .NET's `Guid` has (N, D, B, P and X), in either case, with blanks around it; no other.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let plain = || text.parse().map(Simple::into_uuid).ok();
        let dashed = |text: &str| text.parse().map(Hyphenated::into_uuid).ok();
        let within = |open, close| dashed(text.strip_prefix(open)?.strip_suffix(close)?);
        let uuid = dashed(text)
            .or_else(plain)
            .or_else(|| within('{', '}'))
            .or_else(|| within('(', ')'))
            .or_else(|| parse_hex_groups(text));
        uuid.map(Self)
    }

    /// The key as clients get it: lower case, with dashes. Only for the answer that hands it out.
    #[must_use]
    pub fn expose(&self) -> String {
        self.0.hyphenated().to_string()
    }

    /// The same without dashes, for clients that take nothing but letters and digits.
    #[must_use]
    pub fn expose_plain(&self) -> String {
        self.0.simple().to_string()
    }

    /// What the database knows it by.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

/// No log and no error may show a key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([secret])")
    }
}

/// .NET's format X: `{0x00112233,0x4455,0x6677,{0x88,0x99,0xaa,0xbb,0xcc,0xdd,0xee,0xff}}`.
fn parse_hex_groups(text: &str) -> Option<Uuid> {
    let (numbers, bytes) = text.strip_prefix('{')?.strip_suffix("}}")?.split_once(",{")?;
    let digits = hex_digits(numbers, &[8, 4, 4])? + &hex_digits(bytes, &[2; 8])?;
    Uuid::try_parse(&digits).ok()
}

/// The digits of such groups, with the zeros in front that may be left out there.
fn hex_digits(groups: &str, widths: &[usize]) -> Option<String> {
    let groups: Vec<&str> = groups.split(',').collect();
    if groups.len() != widths.len() {
        return None;
    }
    let digits = groups.into_iter().zip(widths).map(|(group, &width)| {
        let digits = group.strip_prefix("0x").or_else(|| group.strip_prefix("0X"))?;
        (1..=width)
            .contains(&digits.len())
            .then(|| format!("{digits:0>width$}"))
    });
    digits.collect()
}

/// Seals keys for the database and opens them again: XChaCha20-Poly1305 with a random nonce.
///
/// The user's id and the device are authenticated with the key, so that a sealed key that somebody moves
/// to another row does not open there.
pub struct Sealer(XChaCha20Poly1305);

impl Sealer {
    /// The length of the secret, in bytes.
    pub const SECRET_BYTES: usize = 32;
    const NONCE_BYTES: usize = 24;
    /// The first byte of what is stored, so that another scheme can follow this one.
    const VERSION: u8 = 1;

    /// From the secret as base64 text; blanks around it do not matter.
    pub fn from_base64(text: &str) -> std::result::Result<Self, String> {
        let bytes = STANDARD
            .decode(text.trim())
            .map_err(|e| format!("it is not base64 ({e})"))?;
        let cipher = XChaCha20Poly1305::new_from_slice(&bytes)
            .map_err(|_| format!("it has {} bytes; 32 are needed", bytes.len()))?;
        Ok(Self(cipher))
    }

    /// A new random secret as base64 text.
    pub fn generate_secret() -> Result<String> {
        Ok(STANDARD.encode(random::<{ Self::SECRET_BYTES }>()?))
    }

    /// Seals `key`, the key of user `user_id` for the device whose folded name is `device`.
    pub fn seal(&self, key: &Key, user_id: i32, device: &str) -> Result<Vec<u8>> {
        let nonce = random::<{ Self::NONCE_BYTES }>()?;
        let (msg, aad) = (key.0.as_bytes().as_slice(), &associated_data(user_id, device));
        let sealed = self
            .0
            .encrypt(&XNonce::from(nonce), Payload { msg, aad })
            .map_err(|_| AuthError::Internal("sealing a key failed".to_owned()))?;
        Ok([&[Self::VERSION], nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Self::seal`] made for the same user and device; `None` when the secret is not the same one.
    #[must_use]
    pub fn open(&self, sealed: &[u8], user_id: i32, device: &str) -> Option<Key> {
        let (nonce, msg) = sealed
            .strip_prefix(&[Self::VERSION])?
            .split_first_chunk::<{ Self::NONCE_BYTES }>()?;
        let aad = &associated_data(user_id, device);
        let key = self.0.decrypt(&XNonce::from(*nonce), Payload { msg, aad }).ok()?;
        Uuid::from_slice(&key).ok().map(Key)
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

/// Bytes from the operating system's generator.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| AuthError::Internal(format!("the system gives no random bytes: {e}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::from_base64(&Sealer::generate_secret().unwrap()).unwrap()
    }

    #[test]
    fn every_spelling_of_a_guid_is_the_same_key() {
        let key = Key::parse("00112233-4455-6677-8899-aabbccddeeff").unwrap();
        for spelling in [
            "00112233445566778899AABBCCDDEEFF",
            " 00112233-4455-6677-8899-AABBCCDDEEFF ",
            "{00112233-4455-6677-8899-aabbccddeeff}",
            "(00112233-4455-6677-8899-aabbccddeeff)",
            "{0x112233,0x4455,0x6677,{0x88,0x99,0xaa,0xbb,0xcc,0xdd,0xee,0xff}}",
        ] {
            assert!(Key::parse(spelling) == Some(key.clone()), "{spelling}");
        }
        assert_eq!(key.expose(), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn what_is_no_guid_is_no_key() {
        for text in [
            "",
            "dead",
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeeff,00112233-4455-6677-8899-aabbccddeeff",
            "urn:uuid:00112233-4455-6677-8899-aabbccddeeff",
            "(urn:uuid:00112233-4455-6677-8899-aabbccddeeff)",
            "({00112233-4455-6677-8899-aabbccddeeff})",
            "(00112233445566778899aabbccddeeff)",
            "{0x112233,0x4455,0x6677,0x88,0x99,0xaa,0xbb,0xcc,0xdd,0xee,0xff}}",
            "{0x112233,{0x4455,0x6677,0x88,0x99,0xaa,0xbb,0xcc,0xdd,0xee,0xff}}",
            "{0x1,0x2,0x3,{0x4}}",
            "{0x,0x4455,0x6677,{0x88,0x99,0xaa,0xbb,0xcc,0xdd,0xee,0xff}}",
            "{0x0é1,0x4455,0x6677,{0x88,0x99,0xaa,0xbb,0xcc,0xdd,0xee,0xff}}",
        ] {
            assert!(Key::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_sealed_key_opens_only_for_its_user_device_and_secret() {
        let (sealer, key) = (sealer(), Key::generate().unwrap());
        let kept = sealer.seal(&key, 7, "kodi").unwrap();
        assert!(sealer.open(&kept, 7, "kodi") == Some(key));
        assert!(sealer.open(&kept, 8, "kodi").is_none());
        assert!(sealer.open(&kept, 7, "plex").is_none());
        assert!(self::sealer().open(&kept, 7, "kodi").is_none());
        assert!(sealer.open(&[], 7, "kodi").is_none());
    }

    #[test]
    fn a_key_is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", Key::generate().unwrap()), "Key([secret])");
    }

    #[test]
    fn a_secret_of_the_wrong_form_is_refused_with_the_reason() {
        assert!(Sealer::from_base64("no base64!").unwrap_err().contains("base64"));
        assert!(Sealer::from_base64("AAAA").unwrap_err().contains("3 bytes"));
    }
}
