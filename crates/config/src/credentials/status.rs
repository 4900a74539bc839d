//! How each credential stands, for people.

use rules::CredentialRef;
use std::time::SystemTime;

/// How a certificate or a set of authorities stands. Nothing of a key is in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CredentialStatus {
    /// What the table calls it.
    pub reference: CredentialRef,
    /// Where what is served was read. Absent: nothing is served.
    pub source: Option<String>,
    /// The names of the certificate, or the subjects of the authorities.
    pub names: Vec<String>,
    /// From when on the certificate is valid. Absent for authorities.
    pub not_before: Option<SystemTime>,
    /// Until when; of authorities, when the first expires.
    pub not_after: Option<SystemTime>,
    /// When the first of its lists of revocations was to be followed by a newer one. Absent: it has no such list.
    pub next_update: Option<SystemTime>,
    /// How it stands.
    pub state: CredentialState,
    /// What is wrong, as its diagnostic says it.
    pub problem: Option<String>,
}

impl CredentialStatus {
    /// `credential` or `authorities`, and the name or path it is known by.
    pub fn kind_and_name(&self) -> (&'static str, &str) {
        kind_and_name(&self.reference)
    }
}

pub(super) fn kind_and_name(reference: &CredentialRef) -> (&'static str, &str) {
    match reference {
        CredentialRef::Named(name) => ("credential", name),
        CredentialRef::AuthoritiesNamed(name) => ("authorities", name),
        CredentialRef::Files { certificate, .. } => ("credential", certificate),
        CredentialRef::AuthorityFiles { authorities, .. } => ("authorities", authorities),
        CredentialRef::Workload => ("credential", "mesh identity"),
        CredentialRef::WorkloadAuthorities => ("authorities", "mesh identity"),
    }
}

/// How a credential stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialState {
    /// What lies there is served.
    Served,
    /// What lies there is refused or gone, and what was good before is served.
    LastGood,
    /// What is served is out of its time.
    OutOfTime,
    /// Nothing is served: handshakes that need it fail.
    Missing,
}

impl CredentialState {
    /// In lower case, for pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::LastGood => "last good one served",
            Self::OutOfTime => "served out of its time",
            Self::Missing => "missing",
        }
    }
}
