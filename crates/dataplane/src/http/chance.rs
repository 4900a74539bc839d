//! The data plane's dice: one small generator a thread.

use http::HeaderValue;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use std::cell::RefCell;

thread_local! {
    static GENERATOR: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A number in `0..sides`; 0 when there are no sides.
pub(crate) fn roll(sides: u32) -> u32 {
    GENERATOR.with_borrow_mut(|generator| generator.random_range(0..sides.max(1)))
}

/// A random UUID (version 4) as a header value. It names a request; nothing secret depends on it.
pub(super) fn request_id() -> HeaderValue {
    let mut bytes = [0; 16];
    GENERATOR.with_borrow_mut(|generator| generator.fill_bytes(&mut bytes));
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (position, byte) in bytes.into_iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 0x0f)];
        at += 2;
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// 16 random hexadecimal digits, by which a client can be told from others. Nothing secret depends on them.
pub(super) fn token() -> String {
    let number = GENERATOR.with_borrow_mut(RngCore::next_u64);
    format!("{number:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_random_uuid() {
        let id = request_id();
        let id = id.to_str().unwrap();
        let groups: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(id, request_id().to_str().unwrap());
    }

    #[test]
    fn a_roll_stays_below_its_sides() {
        assert!((0..100).all(|_| roll(3) < 3));
        assert_eq!((roll(1), roll(0)), (0, 0));
    }
}
