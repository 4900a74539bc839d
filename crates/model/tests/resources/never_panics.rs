//! No input takes the process down.

use model::{Defaults, parse, parse_bytes};
use proptest::prelude::*;

const TEXTS: &[&str] = &[
    include_str!("everything/virtual_service.yaml"),
    include_str!("everything/gateway.yaml"),
    include_str!("everything/destination_rule.yaml"),
    include_str!("everything/service_entry.yaml"),
    include_str!("everything/sidecar.yaml"),
    include_str!("everything/peer_authentication.yaml"),
    include_str!("everything/authorization_policy.yaml"),
    include_str!("everything/kubernetes.yaml"),
];

/// What a slip of the hand, or malice, puts into a file.
const SCRAPS: &[&str] = &[
    "-1",
    "99999999999999999999",
    "1.5",
    "~",
    "{}",
    "[]",
    "''",
    "true",
    "*",
    "*a",
    "&a x",
    "<<: *a",
    "- ",
    "\n---\n",
    ": ",
    "\t",
    "é",
    "%",
    "\"",
    "{",
    "]",
    "0s",
    "1ns",
    "regex: '('",
    "unix://",
    "/",
    "~/",
    "\u{0}",
    "host:",
    "- - -",
    "? ",
    "!!str",
    "|\n",
    ">-\n",
    "#",
];

/// Puts a scrap in place of `length` characters.
fn mutate(text: &str, edits: &[(usize, usize, usize)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (start, length, scrap) in edits {
        let start = start % (chars.len() + 1);
        let end = (start + length).min(chars.len());
        chars.splice(start..end, SCRAPS[scrap % SCRAPS.len()].chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        parse_bytes(&"f".into(), &bytes, &Defaults::default());
    }

    #[test]
    fn random_text(text in "\\PC{0,200}") {
        parse(&"f".into(), &text, &Defaults::default());
    }

    #[test]
    fn random_yaml(text in "([a-c]|: |- |\n|  |[\\[\\]{}&*!|>'\"%@`,?#]|---|<<){0,60}") {
        parse(&"f".into(), &text, &Defaults::default());
    }

    #[test]
    fn mutated_resources(
        which in 0..TEXTS.len(),
        edits in proptest::collection::vec((any::<usize>(), 0_usize..12, any::<usize>()), 1..6),
    ) {
        let text = mutate(TEXTS[which], &edits);
        let parsed = parse_bytes(&"f".into(), text.as_bytes(), &Defaults::default());
        for object in parsed.objects {
            let refused = object.diagnostics.iter().any(|d| d.severity == model::Severity::Error);
            prop_assert_eq!(refused, object.outcome.resource().is_none());
        }
    }
}

#[test]
fn the_texts_that_are_mutated_are_good() {
    for text in TEXTS {
        for diagnostic in parse(&"f".into(), text, &Defaults::default()).all_diagnostics() {
            assert_eq!(
                diagnostic.severity,
                model::Severity::Warning,
                "{diagnostic}"
            );
        }
    }
}
