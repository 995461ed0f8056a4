#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shoko_auth_fuzz::keys::check(input));
