//! What a look-up is, whoever does it.

use model::Hostname;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

/// A kind of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// What a name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// In the order of the answer. Not empty.
    pub(crate) addresses: Vec<IpAddr>,
    /// How long this counts.
    pub(crate) ttl: Duration,
    /// The kind of addresses that could not be found out just now.
    pub(crate) unknown: Option<Family>,
}

/// Why a name stands for nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Failure {
    /// A server knows that there is no such name.
    #[error("there is no such name (NXDOMAIN)")]
    NoSuchName,
    /// A server knows that the name has no address of the wanted kind.
    #[error("the name has no address of the wanted kind")]
    NoAddress,
    /// Nobody knows for the moment.
    #[error("{0}")]
    Temporary(String),
}

/// Asks for the addresses of one kind.
pub(crate) trait Lookup: Send + Sync + 'static {
    fn lookup(
        &self,
        name: &Hostname,
        family: Family,
    ) -> impl Future<Output = Result<Found, Failure>> + Send;
}
