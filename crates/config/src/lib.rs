//! Keeps resources, merges sources, compiles, publishes configurations, remembers the last good versions.
//!
//! This crate knows neither how files or API servers are watched nor how traffic is served: sources send
//! [`Message`]s in, and [`Published`] configurations come out of a `watch` channel.

mod change;
mod configuration;
mod controller;
mod credentials;
mod last_good;
mod names;
mod objects;
mod receipt;
mod running;
mod store;

pub use change::*;
pub use configuration::{Configuration, Settings};
pub use controller::{Follow, FollowObjects, Followers, Publications, Resolve, start};
pub use credentials::{
    CertificateFile, CredentialSettings, CredentialState, CredentialStatus, FileContent, Identity,
    IdentitySource, IssuedIdentity, OrderedCredentials,
};
pub use names::ResolvedName;
pub use objects::WantedObjects;
pub use receipt::{ObjectChange, Published, Receipt};
pub use rules::{NameAnswer, NameAnswers, Namespaces};
pub use running::Running;
pub use store::{ChangeKind, Store};

#[cfg(test)]
mod tests;
