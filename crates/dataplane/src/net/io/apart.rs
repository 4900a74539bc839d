//! Heads that are kept apart from what comes behind them.

/// Finds where heads end, so that what is not of a request stays here: after CONNECT it is no HTTP, and what Pingora
/// has read too far it does not give back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum HeadEnd {
    /// Nothing came but empty lines, which do not count.
    #[default]
    Ahead,
    /// Within a line.
    InLine,
    /// At the beginning of a line.
    NewLine,
    /// After the first byte of an empty line's end.
    EmptyLine,
    /// It was found.
    Passed,
}

impl HeadEnd {
    /// How many of the bytes are up to the end of the head. All of them if there is no end in them, or it is passed.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            *self = match (*self, byte) {
                (Self::Passed, _) => return bytes.len(),
                (Self::Ahead, b'\r' | b'\n') => Self::Ahead,
                (Self::NewLine, b'\r') => Self::EmptyLine,
                (Self::NewLine | Self::EmptyLine, b'\n') => {
                    *self = Self::Passed;
                    return at + 1;
                }
                (_, b'\n') => Self::NewLine,
                _ => Self::InLine,
            };
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, rest: &str) {
        let bytes = format!("{head}{rest}");
        // In one piece, in two, byte by byte.
        for first in 0..=bytes.len() {
            let mut end = HeadEnd::default();
            let (one, two) = bytes.as_bytes().split_at(first);
            let taken = end.take(one);
            let taken = match end {
                HeadEnd::Passed => taken,
                _ => taken + end.take(two),
            };
            assert_eq!(taken, head.len(), "{bytes:?} at {first}");
        }
        let mut end = HeadEnd::default();
        let mut taken = 0;
        for byte in bytes.as_bytes() {
            taken += end.take(&[*byte]);
            if end == HeadEnd::Passed {
                break;
            }
        }
        assert_eq!(taken, head.len(), "{bytes:?}");
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        check("CONNECT a:1 HTTP/1.1\r\n\r\n", "\x16\x03\x01");
        check("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "\r\n\r\n");
        check("CONNECT a:1 HTTP/1.1\nHost: a:1\n\n", "\n");
        check("CONNECT a:1 HTTP/1.1\nHost: a:1\n\r\n", "x");
        check("\r\n\r\n\nCONNECT a:1 HTTP/1.1\r\n\r\n", "GET");
        check("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n", "");
    }

    #[test]
    fn what_comes_behind_is_not_looked_at() {
        let mut end = HeadEnd::Passed;
        assert_eq!(end.take(b"a\r\n\r\nb"), 6);
    }
}
