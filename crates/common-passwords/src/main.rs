//! Builds the filter of common passwords. `scripts/build-common-passwords` runs it with the lists it needs.
//!
//! The same lists result in the same filter: the crate `xorf` starts from a fixed seed.

use std::collections::BTreeSet;
use std::error::Error;
use std::{env, fs};

use shoko_auth::model::normalize;
use shoko_auth::secret::password::common::key;
use xorf::{BinaryFuse16, DmaSerializable, Filter};

/// Entries with fewer characters are rejected for their length anyway, unless the setting is lower than its default.
const MIN_CHARS: usize = 8;
/// Shorter entries are included only if they are among this many first lines of a list.
const SHORT_ENTRIES_WITHIN: usize = 100_000;
/// How many texts that are not entries are looked up to measure the rate of false positives.
const SAMPLES: u32 = 20_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let output = arguments.next().ok_or("usage: common-passwords OUTPUT LIST...")?;
    let mut entries = BTreeSet::new();
    for list in arguments {
        add_entries(&fs::read_to_string(list)?, &mut entries);
    }
    let keys: BTreeSet<u64> = entries.iter().map(|entry| key(entry)).collect();
    let keys: Vec<u64> = keys.into_iter().collect();
    let filter = BinaryFuse16::try_from(&keys)?;
    if !keys.iter().all(|key| filter.contains(key)) {
        return Err("the filter does not contain every entry".into());
    }
    let mut bytes = vec![0; BinaryFuse16::DESCRIPTOR_LEN];
    filter.dma_copy_descriptor_to(&mut bytes);
    bytes.extend_from_slice(filter.dma_fingerprints());
    fs::write(output, &bytes)?;
    let texts = (0..SAMPLES).map(|number| format!("not a common password: {number}"));
    let hits = texts.filter(|text| filter.contains(&key(text))).count();
    println!(
        "{} entries, {} bytes, {hits} false positives in {SAMPLES} lookups",
        keys.len(),
        bytes.len()
    );
    Ok(())
}

/// Adds the entries of a list with one password per line, the most common first. Ignores lines that begin with a number
/// sign and a space.
fn add_entries(list: &str, entries: &mut BTreeSet<String>) {
    for (index, line) in list.lines().filter(|line| !line.starts_with("# ")).enumerate() {
        let entry = normalize(line);
        if index < SHORT_ENTRIES_WITHIN || entry.chars().count() >= MIN_CHARS {
            entries.insert(entry);
        }
    }
}
