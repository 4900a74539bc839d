//! All certificates and authorities of one configuration, published beside its table.

use crate::{Authorities, Credential, SpiffeId};
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

impl Credentials {
    /// Who the proxy is in the mesh. `None`: it has no identity, or had none yet that peers would accept.
    pub fn identity(&self) -> Option<&SpiffeId> {
        let own = self.certificates.get(&CredentialRef::Workload)?;
        own.identity.as_ref().ok()
    }
}
