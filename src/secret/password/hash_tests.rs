//! Tests of hashing and checking passwords.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::*;

/// Returns the processor time that this thread has used.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

#[test]
fn a_hash_is_a_phc_string_that_only_its_password_satisfies() {
    let passwords = Passwords::new(1000, 8).unwrap();
    let hash = passwords.hash(" Trömbone ").unwrap();
    assert!(hash.starts_with("$pbkdf2-sha256$i=1000,l=32$"), "{hash}");
    assert!(passwords.check(" Trömbone ", Some(&hash)));
    assert!(!passwords.check("Trömbone", Some(&hash)));
    assert!(!passwords.check(" Trömbone ", None));
    assert_ne!(hash, passwords.hash(" Trömbone ").unwrap(), "the salt is fresh");
}

#[test]
fn a_hash_with_fewer_rounds_is_accepted_and_needs_a_rehash() {
    let hash = Passwords::new(1000, 8).unwrap().hash("Trombone").unwrap();
    let passwords = Passwords::new(2000, 8).unwrap();
    assert!(passwords.check("Trombone", Some(&hash)));
    assert!(passwords.needs_rehash(&hash));
    assert!(!passwords.needs_rehash(&passwords.hash("Trombone").unwrap()));
}

#[test]
fn a_text_that_is_not_a_hash_matches_no_password() {
    let passwords = Passwords::new(1000, 8).unwrap();
    for stored in [
        "",
        "Trombone",
        "$pbkdf2-sha512$i=1000,l=32$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert!(!passwords.check("Trombone", Some(stored)), "{stored}");
    }
}

#[test]
fn a_hash_from_shoko_is_wrapped_and_needs_a_rehash() {
    // The SHA-512 of "password".
    let sha512 = "B109F3BBBC244EB82441917ED06D618B9008DD09B3BEFD1B5E07394C706A8BB9\
                  80B1D7785E5976EC049B46DF5F1326AF5A2EA6D103FD07C95385FFAB0CACBC86";
    let passwords = Passwords::new(1000, 8).unwrap();
    let hash = passwords.wrap(&ShokoHash::parse(sha512).unwrap()).unwrap();
    assert!(!hash.contains(sha512) && passwords.needs_rehash(&hash), "{hash}");
    for password in ["password", " password\t"] {
        assert!(passwords.check(password, Some(&hash)), "{password}");
    }
    for password in ["", " ", "Password", sha512] {
        assert!(!passwords.check(password, Some(&hash)), "{password}");
    }
    for text in [
        "",
        "B109",
        &sha512.to_lowercase(),
        &format!("{sha512}0"),
        &sha512.replace('B', "X"),
        ShokoHash::of("").expose(),
    ] {
        assert!(ShokoHash::parse(text).is_none(), "{text}");
    }
    assert!(!passwords.check("password", Some(NO_PASSWORD)) && !passwords.check(NO_PASSWORD, Some(NO_PASSWORD)));
}

#[test]
fn a_password_matches_however_its_letters_are_composed() {
    let passwords = Passwords::new(1000, 8).unwrap();
    let (composed, decomposed) = ("Tr\u{f6}mbone", "Tro\u{308}mbone");
    for hash in [composed, decomposed].map(|password| passwords.hash(password).unwrap()) {
        assert!(passwords.check(composed, Some(&hash)) && passwords.check(decomposed, Some(&hash)));
        assert!(!passwords.check("Trombone", Some(&hash)));
    }
}

#[test]
fn a_hash_of_a_password_that_is_not_nfc_still_matches_as_typed() {
    let passwords = Passwords::new(1000, 8).unwrap();
    let decomposed = "Tro\u{308}mbone";
    let hash: PasswordHash = passwords.hasher.hash_password(decomposed.as_bytes()).unwrap();
    assert!(passwords.check(decomposed, Some(&hash.to_string())));
    let imported = passwords.wrap(&ShokoHash::of(decomposed)).unwrap();
    assert!(passwords.check(decomposed, Some(&imported)) && passwords.check(" Tro\u{308}mbone", Some(&imported)));
    let imported = passwords.wrap(&ShokoHash::of("Tr\u{f6}mbone")).unwrap();
    assert!(passwords.check(decomposed, Some(&imported)) && passwords.check(" Tro\u{308}mbone", Some(&imported)));
}

#[test]
fn a_password_over_the_limit_never_matches() {
    let passwords = Passwords::new(1000, 8).unwrap();
    let long = "x".repeat(Passwords::MAX_BYTES + 1);
    let hash = passwords.hash(&long).unwrap();
    assert!(!passwords.check(&long, Some(&hash)));
}

#[test]
fn a_hash_with_more_rounds_than_the_setting_keeps_them() {
    let passwords = Passwords::new(2000, 8).unwrap();
    let costly = Passwords::new(9000, 8).unwrap().hash("Trombone").unwrap();
    assert!(passwords.check("Trombone", Some(&costly)) && !passwords.needs_rehash(&costly));
}

#[test]
fn a_hash_with_too_many_rounds_is_not_computed_and_fails_at_the_usual_cost() {
    let passwords = Passwords::new(50_000, 8).unwrap();
    assert_eq!(passwords.max_rounds(), 10_000_000);
    assert_eq!(Passwords::new(2_000_000, 8).unwrap().max_rounds(), 20_000_000);
    // At this number of rounds, the hash would take minutes.
    let too_costly = format!("$pbkdf2-sha256$i=4000000000,l=32${DUMMY_SALT}${DUMMY_HASH}");
    let mut times = [Duration::MAX; 2];
    for _ in 0..5 {
        for (time, stored) in times.iter_mut().zip([Some(&*too_costly), None]) {
            let start = processor_time();
            assert!(!passwords.check("Trombone", stored));
            *time = processor_time().saturating_sub(start).min(*time);
        }
    }
    assert!(times[0] < times[1] * 2 && times[1] < times[0] * 2, "{times:?}");
}

#[test]
fn the_dummy_hash_is_a_valid_hash() {
    assert!(PasswordHash::new(&format!("$pbkdf2-sha256$i=1000,l=32${DUMMY_SALT}${DUMMY_HASH}")).is_ok());
}

#[test]
fn a_failed_check_takes_as_long_as_a_hash_whatever_the_reason() {
    let cheap = Passwords::new(1000, 8).unwrap().hash("Trombone").unwrap();
    let passwords = Passwords::new(50_000, 8).unwrap();
    let hash = passwords.hash("Trombone").unwrap();
    let imported = passwords.wrap(&ShokoHash::of("Trombone")).unwrap();
    let long = "x".repeat(Passwords::MAX_BYTES + 1);
    let stored = [None, Some(&*hash), Some(&*cheap), Some(&*imported), Some(NO_PASSWORD)];
    for password in ["wrong", " wrong", "wro\u{308}ng", " wro\u{308}ng", "wrong\0", &long] {
        // The checks run in turn, so that a change of the processor's speed affects all of them. Processor time
        // excludes other programs.
        let mut times = [Duration::MAX; 5];
        for _ in 0..5 {
            for (time, stored) in times.iter_mut().zip(stored) {
                let start = processor_time();
                assert!(!passwords.check(password, stored));
                *time = processor_time().saturating_sub(start).min(*time);
            }
        }
        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        // One comparison more or less, of at most three, would make a difference of a third.
        assert!(*most < *least * 5 / 4, "{password}: {times:?}");
    }
}

#[test]
fn appended_nuls_make_another_password() {
    let passwords = Passwords::new(1000, 8).unwrap();
    let hash = passwords.hash("Trombone").unwrap();
    assert!(!passwords.check("Trombone\0", Some(&hash)) && !passwords.check("Trombone\0\0", Some(&hash)));
    for password in ["Tr0mbone-lake\0", "password\0", "\0\0\0\0\0\0\0\0"] {
        assert_eq!(passwords.check_new(password, "Default"), Err(PasswordError::Nul));
    }
}
