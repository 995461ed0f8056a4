//! Measures each building block of a login and a verification on its own. `scripts/bench` measures the whole server.

use std::time::Duration;

use divan::{Bencher, black_box};
use shoko_auth::metrics::{Metrics, RequestRecord, VerificationOutcome, VerificationSource};
use shoko_auth::secret::key::Key;
use shoko_auth::secret::password::Passwords;
use shoko_auth::secret::seal::Sealer;

fn main() {
    divan::main();
}

#[divan::bench(args = ["0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"])]
fn parse_key(text: &str) -> Option<Key> {
    Key::parse(black_box(text))
}

#[divan::bench]
fn hash_key(bencher: Bencher<'_, '_>) {
    let key = Key::generate().expect("the system has random bytes");
    bencher.bench_local(|| black_box(&key).hash());
}

/// Measures opening a sealed key. A login does this instead of issuing a key if the device already has one.
#[divan::bench]
fn unseal_key(bencher: Bencher<'_, '_>) {
    let secret = Sealer::generate_secret().expect("the system has random bytes");
    let sealer = Sealer::from_base64(secret.expose()).expect("a generated secret is valid");
    let key = Key::generate().expect("the system has random bytes");
    let stored = sealer.seal(&key, 1, "device").expect("sealing does not fail");
    bencher.bench_local(|| sealer.open(black_box(&stored), 1, "device"));
}

#[divan::bench]
fn verify_password_with_1000_rounds(bencher: Bencher<'_, '_>) {
    let passwords = Passwords::new(1000, 8).expect("1000 rounds can be set");
    let stored = passwords.hash("the right one").expect("hashing does not fail");
    bencher.bench_local(|| passwords.check(black_box("the right one"), Some(&stored)));
}

/// Measures the additional cost of a verification with metrics. Threads must not slow each other down.
#[divan::bench(threads = [1, 2, 4])]
fn count_verification(bencher: Bencher<'_, '_>) {
    let metrics = Metrics::new().expect("the names of the metrics are valid");
    bencher.bench(|| {
        metrics.record_verification(VerificationSource::Cache, VerificationOutcome::Valid);
        metrics.record_request(&RequestRecord {
            route: black_box("/api/auth/verify"),
            method: "GET",
            status: 200,
            time: black_box(Duration::from_micros(50)),
        });
    });
}
