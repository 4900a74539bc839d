//! The parts of a message that are looked at without reading the rest, so that what is asked on stays as it is.
//!
//! Source: RFC 1035, section 4.1.

/// The length of a header.
const HEADER: usize = 12;

/// The longest message there is, which is what fits into TCP's two bytes of length.
pub(crate) const MAX_MESSAGE: usize = u16::MAX as usize;

/// No query is longer, even with a padding.
pub(crate) const MAX_QUERY: usize = 4096;

/// What a client takes over UDP that says nothing else.
pub(crate) const MIN_LIMIT: usize = 512;

/// The first two bits of the second 16, and where they are.
const RESPONSE: u8 = 0x80;
const TRUNCATION: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;

/// A message that has at least a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'m>(&'m [u8]);

impl<'m> Raw<'m> {
    /// Absent: it is none.
    pub(crate) fn new(bytes: &'m [u8]) -> Option<Self> {
        (bytes.len() >= HEADER).then_some(Self(bytes))
    }

    pub(crate) fn id(self) -> u16 {
        self.number(0)
    }

    pub(crate) fn is_response(self) -> bool {
        self.0[2] & RESPONSE != 0
    }

    pub(crate) fn op_code(self) -> u8 {
        (self.0[2] >> 3) & 0x0f
    }

    pub(crate) fn is_truncated(self) -> bool {
        self.0[2] & TRUNCATION != 0
    }

    /// Its lower four bits, which are all that matters here.
    pub(crate) fn response_code(self) -> u8 {
        self.0[3] & 0x0f
    }

    pub(crate) fn question_count(self) -> u16 {
        self.number(4)
    }

    /// The one question. Absent: there is none, or several, or it is cut off.
    pub(crate) fn question(self) -> Option<&'m [u8]> {
        if self.question_count() != 1 {
            return None;
        }
        let mut at = HEADER;
        loop {
            match usize::from(*self.0.get(at)?) {
                // The name ends here; type and class follow.
                0 => return self.0.get(HEADER..at + 5),
                length @ 1..=63 => at += 1 + length,
                // There is nothing before it that it could point to.
                _ => return None,
            }
        }
    }

    /// The same without any records, and marked as cut. Who asked comes again over TCP.
    pub(crate) fn cut(self) -> Vec<u8> {
        let question = self.question();
        let mut cut = self.0[..4].to_vec();
        cut[2] |= TRUNCATION;
        cut.extend([0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
        cut.extend(question.unwrap_or_default());
        cut
    }

    /// The answer to a query that cannot be read: nothing of it but its number.
    pub(crate) fn refused(self, response_code: u8) -> Vec<u8> {
        let mut refused = self.0[..2].to_vec();
        let flags = RESPONSE | (self.op_code() << 3) | (self.0[2] & RECURSION_DESIRED);
        refused.extend([flags, response_code, 0, 0, 0, 0, 0, 0, 0, 0]);
        refused
    }

    fn number(self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }
}

/// Gives a message another number.
pub(crate) fn set_id(message: &mut [u8], id: u16) {
    if let Some(first) = message.get_mut(..2) {
        first.copy_from_slice(&id.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01rest";

    #[test]
    fn a_question_ends_with_its_class() {
        let raw = Raw::new(QUERY).unwrap();
        assert_eq!(
            raw.question().unwrap(),
            b"\x01a\x04test\x00\x00\x01\x00\x01"
        );
        for length in 0..QUERY.len() - 4 {
            let found = Raw::new(&QUERY[..length]).and_then(Raw::question);
            assert_eq!(found, None, "{length} bytes");
        }
        let mut pointing = QUERY.to_vec();
        pointing[12] = 0xc0;
        assert_eq!(Raw::new(&pointing).unwrap().question(), None);
        let mut two = QUERY.to_vec();
        two[5] = 2;
        assert_eq!(Raw::new(&two).unwrap().question(), None);
    }

    #[test]
    fn what_is_cut_has_its_question_and_nothing_else() {
        let mut answer = QUERY.to_vec();
        answer[2] |= RESPONSE;
        answer[7] = 9;
        let cut = Raw::new(&answer).unwrap().cut();
        assert_eq!(
            cut,
            b"\x12\x34\x83\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01"
        );
        let without = Raw::new(&answer[..12]).unwrap().cut();
        assert_eq!(without, b"\x12\x34\x83\x00\x00\x00\x00\x00\x00\x00\x00\x00");
    }
}
