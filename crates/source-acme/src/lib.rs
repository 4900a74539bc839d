//! Orders and renews certificates from an ACME server, and stores them as files.
//!
//! [`start`] runs everything on a thread of its own: what is [`Wanted`] and not stored is ordered, what is stored is
//! renewed in time, and what fails is reported and tried again. Nothing here is fatal to the process.
//!
//! This crate serves nothing and hands no certificate to anybody: whoever watches the [`Settings::storage`] folder
//! finds `NAME/tls.crt` and `NAME/tls.key` there. With [`start_shared`] several replicas have one [`Vault`] instead, and take
//! turns. Challenges are answered by whoever implements [`Publish`]. It
//! knows no listener, no route and no resource.

mod account;
mod authorization;
mod client;
mod failure;
mod keeping;
mod names;
mod order;
mod publish;
mod renewal_info;
mod runner;
mod schedule;
mod settings;
mod shared;
mod storage;
#[cfg(test)]
mod tests;

pub use authorization::{InvalidChallenge, challenge_certificate};
pub use names::{CredentialName, DirectoryUrl, HostName, InvalidName, Names};
pub use publish::Publish;
pub use runner::{Running, prepare, start, start_shared};
pub use settings::{ChallengeKind, ExternalAccount, Settings, Wanted};
pub use shared::{Files, Kept, Shared, Turn, Vault, VaultError};
