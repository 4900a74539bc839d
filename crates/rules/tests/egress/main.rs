//! Differential test: what a forward proxy's clients reach is what a slow reference of the allow-list says.
//!
//! `fuzz/` looks for disagreements in the same way, guided by coverage.

mod agreement;

use proptest::prelude::*;

/// Promise 20.
#[test]
fn the_table_allows_what_the_reference_does() {
    let bytes = proptest::collection::vec(any::<u8>(), 0..600);
    let config = ProptestConfig {
        cases: 1_500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(bytes in bytes)| agreement::check(&bytes));
}
