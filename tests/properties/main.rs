//! Checks the properties in `crates/properties` with near-valid inputs and with all stored inputs in `fuzz/corpus`.
//! Add every failing input there. The fuzz targets start from these inputs.

/// Near-valid inputs.
mod inputs;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use properties::{body, duration, forwarded, keys, password_hash};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Checks all stored inputs of a target.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        assert!(catch_unwind(|| check(&input)).is_ok(), "{}", path.display());
        files += 1;
    }
    assert!(files >= 10, "most of the corpus is missing");
}

#[test]
fn every_stored_input_has_the_properties() {
    replay("body", body::check);
    replay("duration", duration::check);
    replay("forwarded", forwarded::check);
    replay("keys", keys::check);
    replay("password_hash", password_hash::check);
}

/// Returns a configuration with a fixed seed. Every run checks the same inputs, so a passing test fails only after a
/// change to the code. To use another seed, set `PROPTEST_RNG_SEED`:
///
/// ```sh
/// PROPTEST_RNG_SEED=$RANDOM PROPTEST_CASES=100000 cargo test --test properties
/// ```
fn config() -> ProptestConfig {
    // The default configuration reads the environment variables.
    let config = ProptestConfig::default();
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    ProptestConfig {
        rng_seed,
        // proptest only prints a failing input. It must be added to `fuzz/corpus` by hand.
        failure_persistence: None,
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn bodies_have_the_properties(input in inputs::body()) {
        body::check(input.as_bytes());
    }

    #[test]
    fn durations_have_the_properties(input in inputs::duration()) {
        duration::check(input.as_bytes());
    }

    #[test]
    fn forwarding_headers_have_the_properties(input in inputs::forwarded()) {
        forwarded::check(input.as_bytes());
    }

    #[test]
    fn keys_in_requests_have_the_properties(input in inputs::keys()) {
        keys::check(input.as_bytes());
    }

    #[test]
    fn stored_passwords_have_the_properties(input in inputs::password_hash()) {
        password_hash::check(input.as_bytes());
    }
}
