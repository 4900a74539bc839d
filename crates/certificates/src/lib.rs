//! Certificates with their keys, authorities and revocations: PEM in, checked material out.
//!
//! This crate reads no file and knows no clock: bytes and the time are handed in. It makes no TLS
//! connection; the data plane does.

mod authorities;
mod credential;
mod credentials;

pub use authorities::{Authorities, InvalidAuthorities, LapsedRevocations};
pub use credential::{Credential, InvalidCredential};
pub use credentials::Credentials;
