//! Certificates with their keys, authorities and revocations: PEM or DER in, checked material out.
//!
//! This crate reads no file and knows no clock: bytes and the time are handed in. It makes no TLS
//! connection; the data plane does.

mod authorities;
mod credential;
mod credentials;
mod der;
mod identity;
mod spiffe_id;

pub use authorities::{Authorities, InvalidAuthorities, LapsedRevocations};
pub use credential::{Credential, InvalidCredential};
pub use credentials::Credentials;
pub use identity::InvalidIdentity;
pub use spiffe_id::{InvalidSpiffeId, SpiffeId, TrustDomain};
