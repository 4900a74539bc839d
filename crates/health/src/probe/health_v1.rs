//! The two messages of `grpc.health.v1.Health/Check`, each with one field.
//!
//! `HealthCheckRequest { string service = 1; }` and `HealthCheckResponse { ServingStatus status = 1; }`, with gRPC's
//! prefix: a byte that tells compression, and four of the length.

use bytes::{BufMut, Bytes, BytesMut};

const PREFIX: usize = 5;

/// Field 1, length-delimited.
const SERVICE: u8 = 0x0a;
/// Field 1, varint.
const STATUS: u64 = 0x08;

/// What a server says of a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ServingStatus {
    Unknown,
    Serving,
    NotServing,
    /// The server does not know the service.
    ServiceUnknown,
}

impl ServingStatus {
    /// As the protocol spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum InvalidMessage {
    #[error("the message is compressed, which was not asked for")]
    Compressed,
    #[error("the message is not as long as it says")]
    Length,
    #[error("the message is no HealthCheckResponse")]
    Encoding,
}

/// Asks for a service. Empty: the whole server.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

/// Reads an answer.
pub(super) fn answer(framed: &[u8]) -> Result<ServingStatus, InvalidMessage> {
    let Some((&[compressed, a, b, c, d], message)) = framed.split_first_chunk::<PREFIX>() else {
        return Err(InvalidMessage::Length);
    };
    if compressed != 0 {
        return Err(InvalidMessage::Compressed);
    }
    if u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return Err(InvalidMessage::Length);
    }
    let status = status(message).ok_or(InvalidMessage::Encoding)?;
    Ok(match status {
        1 => ServingStatus::Serving,
        2 => ServingStatus::NotServing,
        3 => ServingStatus::ServiceUnknown,
        _ => ServingStatus::Unknown,
    })
}

/// The last field 1, as protobuf has it; 0 without one. Other fields may come with later versions.
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        match varint(&mut message)? {
            STATUS => status = varint(&mut message)?,
            tag => skip(&mut message, tag & 7)?,
        }
    }
    Some(status)
}

fn skip(message: &mut &[u8], wire_type: u64) -> Option<()> {
    let length = match wire_type {
        0 => return varint(message).map(drop),
        1 => 8,
        2 => usize::try_from(varint(message)?).ok()?,
        5 => 4,
        _ => return None,
    };
    *message = message.get(length..)?;
    Some(())
}

/// At most ten bytes, seven bits each.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_varint(message: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        message.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    message.put_u8(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_service() {
        assert_eq!(&*request(""), b"\0\0\0\0\0");
        assert_eq!(&*request("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = request(&"x".repeat(300));
        assert_eq!(&long[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
        assert_eq!(long.len(), 308);
    }

    #[test]
    fn the_status_is_field_one() {
        use ServingStatus::{NotServing, ServiceUnknown, Serving, Unknown};
        for (framed, want) in [
            (&b"\0\0\0\0\0"[..], Unknown),
            (b"\0\0\0\0\x02\x08\x00", Unknown),
            (b"\0\0\0\0\x02\x08\x01", Serving),
            (b"\0\0\0\0\x02\x08\x02", NotServing),
            (b"\0\0\0\0\x02\x08\x03", ServiceUnknown),
            (b"\0\0\0\0\x02\x08\x04", Unknown),
            // A string, a varint, a fixed32 and a fixed64 that nobody asked for.
            (b"\0\0\0\0\x06\x12\x02hi\x08\x01", Serving),
            (b"\0\0\0\0\x05\x18\x80\x01\x08\x01", Serving),
            (b"\0\0\0\0\x07\x25abcd\x08\x01", Serving),
            (b"\0\0\0\0\x0b\x29abcdefgh\x08\x01", Serving),
            // The last one counts.
            (b"\0\0\0\0\x04\x08\x01\x08\x02", NotServing),
        ] {
            assert_eq!(answer(framed), Ok(want), "{framed:?}");
        }
    }

    #[test]
    fn broken_messages_are_told() {
        for (framed, want) in [
            (&b""[..], InvalidMessage::Length),
            (b"\0\0\0\0", InvalidMessage::Length),
            (b"\0\0\0\0\x03\x08\x01", InvalidMessage::Length),
            (b"\0\0\0\0\x01\x08\x01", InvalidMessage::Length),
            (b"\x01\0\0\0\x02\x08\x01", InvalidMessage::Compressed),
            (b"\0\0\0\0\x01\x08", InvalidMessage::Encoding),
            (b"\0\0\0\0\x02\x12\x09", InvalidMessage::Encoding),
            (b"\0\0\0\0\x01\x0b", InvalidMessage::Encoding),
            (
                b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                InvalidMessage::Encoding,
            ),
        ] {
            assert_eq!(answer(framed), Err(want), "{framed:?}");
        }
    }
}
