#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shoko_auth_fuzz::password_hash::check(input));
