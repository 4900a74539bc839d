//! Connections to endpoints: TCP or a Unix socket, through a forward proxy, with the PROXY protocol, in TLS.
//!
//! In this order, from the outside in, as with Envoy: a tunnel is asked for in clear, the header of the PROXY
//! protocol is the first that the endpoint sees, and TLS comes after it.

mod bridge;
mod chunked;
mod dialer;
mod error;
mod header;
mod io;
mod socket;
#[cfg(test)]
mod tests;
mod tunnel;

pub(crate) use super::tls::Alpn;
pub(crate) use dialer::{Dial, Dialer};
pub(crate) use error::DialError;
pub(crate) use io::UpstreamIo;
