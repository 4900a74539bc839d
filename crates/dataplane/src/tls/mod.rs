//! TLS that ends here: from a ClientHello to a server of the table, and to a connection with its facts.
//!
//! Configurations are built when they are published, so that a handshake only looks one up. What lies below
//! a server that lets TLS through is not looked at.

mod accept;
mod alert;
pub(crate) mod certificate;
mod client;
mod config;
mod digest;
mod facts;
mod failure;
pub(crate) mod federated;
pub(crate) mod hello;
pub(crate) mod signatures;
pub(crate) mod suites;
mod terminations;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use accept::{Handshakes, Incoming, Routed, Turn, accept, end, speaks_mesh};
pub(crate) use alert::{Alert, is_hello, last_words, refuse_tls};
pub use facts::{ClientCertificate, TlsFacts};
pub(crate) use failure::HandshakeFailure;
pub(crate) use terminations::Terminations;
