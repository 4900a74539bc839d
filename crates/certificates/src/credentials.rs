//! All certificates and authorities of one configuration, published beside its table.

use crate::{Authorities, Credential};
use ahash::HashMap;
use rules::CredentialRef;
use std::sync::Arc;

/// What the references of a table stand for. What is missing here is missing or was never good: handshakes that
/// need it fail, and no other.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Certificates with their keys.
    pub certificates: HashMap<CredentialRef, Arc<Credential>>,
    /// Authorities with their revocations.
    pub authorities: HashMap<CredentialRef, Arc<Authorities>>,
}
