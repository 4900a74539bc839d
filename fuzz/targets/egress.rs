//! What a forward proxy's clients reach, against a slow reference of the allow-list.

#![no_main]

#[path = "../../crates/rules/tests/egress/agreement/mod.rs"]
mod agreement;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| agreement::check(bytes));
