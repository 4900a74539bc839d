//! SHA-256, from the library that TLS has anyway.

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use std::fmt::Write as _;

/// The hash of some bytes.
pub(super) type Sha256 = [u8; 32];

/// Hashes bytes. `None` would be a mistake of the library.
pub(super) fn sha256(bytes: &[u8]) -> Option<Sha256> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref().try_into().ok()
}

/// Lower case, without colons.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads what [`hex`] writes, in any case and with colons or without.
pub(super) fn from_hex(text: &str) -> Option<Sha256> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&sha256(b"abc").unwrap()), abc);
        assert_eq!(from_hex(&abc.to_uppercase()), sha256(b"abc"));
        assert_eq!(from_hex("ba:78"), None);
        assert_eq!(from_hex(&"é".repeat(32)), None);
    }
}
