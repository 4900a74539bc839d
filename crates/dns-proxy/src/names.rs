//! What names stand for, as others know it.

use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// What names stand for. Must not block.
pub trait Names: Send + Sync {
    /// What a name stands for. It is in lower case, and has no trailing dot. Absent: whoever else knows it is asked.
    fn find(&self, name: &str) -> Option<Found>;

    /// The name of an address, if it is one of theirs.
    fn name_of(&self, address: IpAddr) -> Option<Arc<str>>;
}

/// What a name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// Addresses, of both kinds. Empty: the name is there, and has none at present.
    Addresses(Vec<IpAddr>),
    /// Another name, which is looked for here first.
    Alias(Arc<str>),
}

/// The names that are published at present. Absent: they are not known yet.
pub type PublishedNames = watch::Receiver<Option<Arc<dyn Names>>>;
