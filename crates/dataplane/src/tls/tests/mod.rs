//! Handshakes and requests over TLS through the real application on loopback.

mod bad_input;
mod clients;
mod forwarded;
pub(crate) mod gateway;
mod misdirected;
pub(crate) mod pki;
mod resumption;
mod servers;
