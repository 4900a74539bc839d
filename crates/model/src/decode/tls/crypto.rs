//! Names of cipher suites, and hashes.

use crate::decode::Cursor;
use base64::Engine;
use std::collections::HashSet;

/// The length of a SHA-256.
const SHA256_BYTES: usize = 32;

/// Suites with forward secrecy and authenticated encryption.
const CIPHER_SUITES: &[&str] = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// Suites that Istio knows too, with CBC, with RSA for the exchange of keys, or with 3DES. The library has none.
const WEAK_CIPHER_SUITES: &[&str] = &[
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// 32 bytes in base64.
pub(super) fn spki_hash(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.text()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(&text);
    if !bytes.is_ok_and(|bytes| bytes.len() == SHA256_BYTES) {
        cursor
            .error("invalid_value", "is no SHA-256 in base64")
            .help("hash the DER form of the public key: 44 characters in base64");
        return None;
    }
    Some(text)
}

/// 32 bytes in hexadecimal, with or without colons between them.
pub(super) fn certificate_hash(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.text()?.to_ascii_lowercase();
    let bytes: Vec<&str> = match text.contains(':') {
        true => text.split(':').collect(),
        false => vec![&text],
    };
    let hex = bytes.concat();
    let even = bytes.len() == 1 || bytes.iter().all(|byte| byte.len() == 2);
    if !even || hex.len() != 2 * SHA256_BYTES || !hex.bytes().all(|one| one.is_ascii_hexdigit()) {
        cursor
            .error("invalid_value", "is no SHA-256 in hexadecimal")
            .help("hash the DER form of the certificate: 64 digits, or 32 pairs with colons");
        return None;
    }
    Some(hex)
}

/// Unknown and repeated suites are ignored, as in Istio, but not silently; so are those that nobody can speak here.
pub(super) fn cipher_suites(cursor: &Cursor<'_>) -> Option<Vec<String>> {
    let mut seen = HashSet::new();
    let mut keep = |suite: &Cursor<'_>| {
        let name = suite.string()?;
        let problem = if WEAK_CIPHER_SUITES.contains(&name.as_str()) {
            format!("cipher suite {name:?} is not supported here and left out")
        } else if !CIPHER_SUITES.contains(&name.as_str()) {
            format!("unknown cipher suite {name:?} is ignored")
        } else if !seen.insert(name.clone()) {
            suite.warning(
                "ineffective",
                format!("cipher suite {name:?} is there twice"),
            );
            return None;
        } else {
            return Some(name);
        };
        suite
            .warning("ineffective", problem)
            .help(format!("one of {}", CIPHER_SUITES.join(", ")));
        None
    };
    Some(cursor.items().iter().filter_map(&mut keep).collect())
}
