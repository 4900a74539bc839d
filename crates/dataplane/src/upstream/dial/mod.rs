//! The way to an endpoint: a socket, and what comes on it before the first byte of a request.
//!
//! The order is Envoy's. A PROXY header goes first, in clear: it is for a load balancer that does not end TLS. Then
//! comes TLS, with whoever listens at the endpoint's address. A tunnel is asked for within it: the endpoint is a
//! forward proxy then, and the TLS is that proxy's.

mod dialer;
mod error;
mod io;
mod posted;
mod proxy_header;
mod socket;
mod transport;
mod tunnel;

#[cfg(test)]
mod tests;

pub(crate) use dialer::{Dial, Dialer};
pub(crate) use error::{DialError, TlsFailure, TunnelFailure};
pub(crate) use io::UpstreamIo;
pub use socket::{SIDECAR_V4, SIDECAR_V6};
