//! What several replicas have in common, of which one at a time orders.

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What several replicas have in common.
pub struct Shared {
    /// Where account and certificates are kept, instead of in a folder.
    pub vault: Arc<dyn Vault>,
    /// When this replica orders.
    pub turn: Box<dyn Turn>,
}

/// What belongs together in a vault, by name: `tls.crt`, `tls.key`.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kept<'k> {
    /// The accounts at servers.
    Accounts,
    /// A certificate with its key, which is served from there, too.
    Certificate(&'k str),
}

/// Why something cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct VaultError(pub String);

/// Where all replicas keep account and certificates.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Where something is kept, for people.
    fn place(&self, kept: Kept<'_>) -> String;

    /// What is kept. `None`: nothing.
    async fn read(&self, kept: Kept<'_>) -> Result<Option<Files>, VaultError>;

    /// Keeps this in place of what was there. It must not overwrite what is somebody else's.
    async fn write(&self, kept: Kept<'_>, files: Files) -> Result<(), VaultError>;

    /// Whether something can be written. Asked before an account is made or a certificate ordered, which servers count.
    async fn probe(&self) -> Result<(), VaultError>;
}

/// When one of several replicas orders.
#[async_trait]
pub trait Turn: Send {
    /// Waits until it is this one's turn.
    async fn begins(&mut self);

    /// Waits until it is not any more. What is being done then is left undone.
    async fn ends(&mut self);
}
