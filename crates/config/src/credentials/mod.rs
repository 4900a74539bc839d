//! Certificates: from where they lie to what is published beside the table.
//!
//! Every reference of the table is resolved on its own. What is good is kept until something better is there:
//! a broken, mismatched, expired or missing certificate is told and changes nothing (promise 8), and no other
//! server notices (promise 9).

mod entry;
mod file;
mod find;
mod identity;
mod keeper;
mod layout;
mod material;
mod parse;
mod place;
mod problem;
mod references;
mod settings;
mod status;

pub use file::{CertificateFile, FileContent};
pub use identity::{Identity, IssuedIdentity};
pub(crate) use keeper::CredentialKeeper;
pub use settings::{CredentialSettings, IdentitySource, OrderedCredentials};
pub use status::{CredentialState, CredentialStatus};

#[cfg(test)]
mod tests;
