//! Who reaches a workload: mutual TLS, and policies.

pub mod authorization;
pub mod peer_authentication;
mod selection;
mod unenforced;

pub use authorization::*;
pub(crate) use peer_authentication::PeerModes;
pub use peer_authentication::*;
pub(crate) use unenforced::unenforced;
