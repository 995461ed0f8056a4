//! The filter of common passwords.
//!
//! It is a binary fuse filter, which answers whether a text is an entry. For a text that is an entry it is always
//! right; for another text it is wrong with a probability of 1 in 65,536 (2^-16). In exchange, an entry takes 18 bits.
//! `scripts/build-common-passwords` builds the file and names the sources of the entries.

use sha2::{Digest, Sha256};
use xorf::{BinaryFuse16, BinaryFuse16Ref, DmaSerializable, Filter, FilterRef};

#[cfg(target_endian = "big")]
compile_error!("common-passwords.filter has little-endian numbers, which are used without conversion");

/// Numbers of two bytes must be at an even address.
#[repr(align(2))]
struct Aligned<T: ?Sized>(T);

/// The description of the filter and its numbers.
static FILTER: &Aligned<[u8]> = &Aligned(*include_bytes!("common-passwords.filter"));

/// Returns whether a normalized text is a common password. Also returns true for about one in 65,536 other texts.
pub(super) fn contains(normalized: &str) -> bool {
    let (description, numbers) = FILTER.0.split_at(BinaryFuse16::DESCRIPTOR_LEN);
    BinaryFuse16Ref::from_dma(description, numbers).contains(&key(normalized))
}

/// Returns the number that represents a text in the filter: the beginning of its SHA-256.
#[must_use]
pub fn key(normalized: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(normalized).into();
    digest.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::normalize;

    #[test]
    fn every_entry_of_a_list_is_a_common_password() {
        let list = include_str!("../../../crates/common-passwords/django.txt");
        let mut entries = list.lines().filter(|line| !line.starts_with("# "));
        assert!(entries.clone().count() > 9000);
        assert!(entries.all(|entry| contains(&normalize(entry))));
    }

    #[test]
    fn a_password_far_down_the_larger_list_is_common() {
        for password in ["yourmom123", "jamie9806", "cofthere", "vjht1963"] {
            assert!(contains(password), "{password}");
        }
    }

    /// The fault experiments (`tests/faults/model.py`) change passwords so often that the filter would sometimes reject
    /// a random one.
    #[test]
    fn no_password_of_the_fault_experiments_counts_as_common() {
        let mut passwords = (0..100_000).map(|number| format!("changed {number} trombones"));
        assert_eq!(passwords.find(|password| contains(password)), None);
    }

    #[test]
    fn fewer_than_one_in_50_000_other_texts_count_as_common() {
        let texts = (0..1_000_000).map(|number| format!("some other text: {number}"));
        let hits = texts.filter(|text| contains(text)).count();
        assert!(hits < 20, "{hits}");
    }
}
