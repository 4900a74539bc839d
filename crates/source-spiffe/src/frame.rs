//! Messages of gRPC out of the data of a stream.
//!
//! Source: gRPC over HTTP/2, `Length-Prefixed-Message`.

use crate::failure::Failure;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest message that is read, as most gRPC libraries have it.
pub(crate) const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// A byte that tells compression, and four of the length.
const PREFIX: usize = 5;

/// What came and is no whole message yet.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Takes in what came. It is at most what the peer may send before it is told to go on.
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next message. `None`: it is not all there.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some((&[compressed, a, b, c, d], rest)) = self.buffer.split_first_chunk::<PREFIX>()
        else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if compressed != 0 {
            return Err(Failure::Compressed);
        }
        if length > MAX_MESSAGE {
            return Err(Failure::TooLarge(length));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // Hours may pass until the next one.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }

    /// Whether a message was begun.
    pub(crate) fn is_within_message(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// One message as it is sent.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_that_is_too_much_is_refused_before_the_message_comes() {
        let mut frames = Frames::default();
        frames.push(&[0, 0, 0x40, 0, 0]);
        assert!(matches!(frames.next(), Ok(None)));
        let mut frames = Frames::default();
        frames.push(&[0, 0, 0x40, 0, 1]);
        assert!(matches!(frames.next(), Err(Failure::TooLarge(4_194_305))));
    }

    #[test]
    fn a_compressed_message_is_refused() {
        let mut frames = Frames::default();
        frames.push(b"\x01\0\0\0\x01a");
        assert!(matches!(frames.next(), Err(Failure::Compressed)));
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_were_however_they_were_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5),
            cut in 1_usize..9,
        ) {
            let sent: Vec<u8> = messages.iter().flat_map(|one| framed(one)).collect();
            let mut frames = Frames::default();
            let mut read = Vec::new();
            for data in sent.chunks(cut) {
                frames.push(data);
                while let Some(message) = frames.next().unwrap() {
                    read.push(message.to_vec());
                }
            }
            prop_assert_eq!(read, messages);
            prop_assert!(!frames.is_within_message());
        }
    }
}
