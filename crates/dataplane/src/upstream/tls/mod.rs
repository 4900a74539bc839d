//! TLS that is begun with upstreams: from what a DestinationRule asks for to what rustls wants.

mod config;
mod names;
mod roots;
mod store;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use config::{Alpn, ClientTls};
pub(crate) use store::ClientTlsStore;
