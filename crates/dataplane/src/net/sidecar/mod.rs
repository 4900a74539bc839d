//! Connections of a sidecar: where they were going, and what is in them.

mod inbound;
mod original;
mod outbound;

pub(super) use inbound::inbound;
pub(super) use outbound::outbound;

use super::Transport;
use super::io::Protocol;
use crate::tcp::TcpConnection;
use bytes::Bytes;

/// What a connection turned out to be.
pub(super) enum Way {
    /// One with requests.
    Http {
        transport: Transport,
        /// What was read of it, where somebody looked.
        sniffed: Option<(Protocol, Bytes)>,
    },
    /// One whose bytes are forwarded.
    Bytes {
        connection: Box<TcpConnection>,
        transport: Transport,
        /// What was read of it.
        prefix: Bytes,
    },
    /// One that is over.
    Over,
}

impl Way {
    /// One with requests of which nothing was read.
    pub(super) fn http(transport: Transport) -> Self {
        Self::Http {
            transport,
            sniffed: None,
        }
    }

    fn bytes(connection: TcpConnection, transport: Transport, prefix: Bytes) -> Self {
        Self::Bytes {
            connection: Box::new(connection),
            transport,
            prefix,
        }
    }
}
