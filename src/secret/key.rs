//! API keys. A key is hashed, so that the database can find it, and sealed (`super::seal`), so that its device can get it
//! again.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::fmt::{Hyphenated, Simple};
use uuid::{Builder, Uuid};
use zeroize::Zeroizing;

use super::random;
use crate::error::Result;

/// An API key: a random UUID, as in Shoko. It has 122 random bits, so storing a fast hash without a salt is safe (NIST
/// SP 800-63B-4, section 3.1.2.2). It is overwritten in memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<[u8; 16]>);

/// The version of UUIDs that are gateway keys (RFC 9562, section 5.8). Shoko's own keys have version 4.
const GATEWAY_VERSION: usize = 8;
/// The text with which the hash of a gateway key begins.
const GATEWAY_PREFIX: &[u8] = b"shoko-auth gateway key";

/// The SHA-256 of a key's 16 bytes, or that of a gateway key or a session's secret after a prefix. The database finds
/// the key by this hash.
pub type KeyHash = [u8; 32];

impl Key {
    fn of(uuid: Uuid) -> Self {
        Self(Zeroizing::new(uuid.into_bytes()))
    }

    /// Returns the key with these bytes, or `None` if their number is wrong.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self::of)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    fn uuid(&self) -> Uuid {
        Uuid::from_bytes(*self.0)
    }

    pub fn generate() -> Result<Self> {
        Ok(Self::of(Builder::from_random_bytes(random()?).into_uuid()))
    }

    /// Generates a key that forward-auth accepts and nothing else. It is a UUID of version 8, whose hash has a prefix of
    /// its own: programs that do not know such keys do not find it, so they cannot mistake it for a full key.
    pub fn generate_for_gateway() -> Result<Self> {
        Ok(Self::of(Builder::from_custom_bytes(random()?).into_uuid()))
    }

    /// Parses a key in one of the formats of .NET's `Guid` (N, D, B, P or X), in upper or lower case, with optional
    /// white space around it.
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
        uuid.map(Self::of)
    }

    /// Returns the key as clients receive it: lower case, with dashes. Use it only for the response that issues the
    /// key.
    #[must_use]
    pub fn expose(&self) -> String {
        self.uuid().hyphenated().to_string()
    }

    /// Returns the key without dashes, for clients that accept only letters and digits.
    #[must_use]
    pub fn expose_plain(&self) -> String {
        self.uuid().simple().to_string()
    }

    /// Returns the hash by which the database finds the key.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        let prefix: &[u8] = if self.uuid().get_version_num() == GATEWAY_VERSION {
            GATEWAY_PREFIX
        } else {
            b""
        };
        Sha256::new_with_prefix(prefix).chain_update(*self.0).finalize().into()
    }
}

/// Hides the key from logs and errors.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([secret])")
    }
}

/// Parses .NET's format X: `{0x00112233,0x4455,0x6677,{0x88,0x99,0xaa,0xbb,0xcc,0xdd,0xee,0xff}}`.
fn parse_hex_groups(text: &str) -> Option<Uuid> {
    let (numbers, bytes) = text.strip_prefix('{')?.strip_suffix("}}")?.split_once(",{")?;
    let digits = hex_digits(numbers, &[8, 4, 4])? + &hex_digits(bytes, &[2; 8])?;
    Uuid::try_parse(&digits).ok()
}

/// Returns the digits of `0x…` groups, padded with the leading zeros that the format allows to omit.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_of_a_guid_is_the_same_key() {
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
    fn a_text_that_is_not_a_guid_is_not_a_key() {
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
    fn a_gateway_key_has_a_hash_that_other_programs_do_not_compute() {
        let key = Key::generate_for_gateway().unwrap();
        assert_ne!(key.hash(), KeyHash::from(Sha256::digest(*key.0)));
        assert_eq!(Key::parse(&key.expose()).unwrap().hash(), key.hash());
        let full = Key::generate().unwrap();
        assert_eq!(full.hash(), KeyHash::from(Sha256::digest(*full.0)));
    }

    #[test]
    fn a_key_is_overwritten_when_dropped() {
        // This compiles only if the type implements the trait.
        fn overwritten<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        overwritten(&Key::generate().unwrap().0);
    }

    #[test]
    fn a_key_is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", Key::generate().unwrap()), "Key([secret])");
    }
}
