//! The hash by which requests and endpoints find each other.

use xxhash_rust::xxh64::xxh64;

/// The hash of what tells a client from others. The same in every process and version.
///
/// Source: Envoy hashes with xxHash64 and the seed 0.
pub fn hash(bytes: &[u8]) -> u64 {
    xxh64(bytes, 0)
}

/// Another hash of the same, for where two are needed that know nothing of each other.
pub(crate) fn second_hash(bytes: &[u8]) -> u64 {
    xxh64(bytes, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification of xxHash.
    #[test]
    fn it_is_xxhash64() {
        assert_eq!(hash(b""), 0xef46_db37_51d8_e999);
        assert_eq!(hash(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_ne!(hash(b"a"), second_hash(b"a"));
    }
}
