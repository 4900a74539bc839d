//! TLS to endpoints: from what the rules say and the certificates that lie there to what handshakes are made with.
//!
//! All of it is built when it is published, so that a handshake only looks it up. Pingora takes no part in it: it
//! cannot check names other than hosts', nor revocations, and resumes no session with a client's certificate.

mod client;
mod names;
mod sessions;
mod store;
mod system;
mod verifier;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use client::{Alpn, ClientTls, ClientTlsSet};
pub(crate) use store::{ClientTlsStore, ReadyTls};
