//! Certificates one after the other, without PEM around them.

use x509_parser::der_parser::asn1_rs::Sequence;
use x509_parser::prelude::FromDer;

/// What is wrong with such bytes.
pub(crate) const NOT_DER: &str = "it is not DER";

/// The values that stand one after the other: certificates, or lists of revocations. What is in them is not looked
/// at. `None`: somewhere no value begins, or the last one is cut off.
pub(crate) fn split(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut values = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (after, _) = Sequence::from_der(rest).ok()?;
        let (value, _) = rest.split_at(rest.len() - after.len());
        values.push(value);
        rest = after;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_told_apart() {
        for (bytes, want) in [
            (&b""[..], Some(vec![])),
            (b"\x30\x00", Some(vec![&b"\x30\x00"[..]])),
            (
                b"\x30\x01a\x30\x02bc",
                Some(vec![&b"\x30\x01a"[..], b"\x30\x02bc"]),
            ),
            (b"\x30\x02a", None),
            (b"\x30\x01a\0", None),
            (b"\x02\x01a", None),
            (b"-----BEGIN", None),
        ] {
            assert_eq!(split(bytes), want, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(values) = split(&bytes) {
                prop_assert_eq!(values.concat(), bytes);
            }
        }
    }
}
