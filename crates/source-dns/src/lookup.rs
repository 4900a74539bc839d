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
    NoSuchName {
        /// How long that counts. Absent: the server does not say.
        ttl: Option<Duration>,
    },
    /// A server knows that the name has no address of the wanted kind.
    #[error("the name has no address of the wanted kind")]
    NoAddress {
        /// How long that counts. Absent: the server does not say.
        ttl: Option<Duration>,
    },
    /// Nobody answered in time.
    #[error("no answer in time")]
    Timeout,
    /// Nobody knows for the moment, for another reason.
    #[error("{0}")]
    Temporary(String),
}

impl Failure {
    /// Whether that is nobody's word about the name.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, Self::Timeout | Self::Temporary(_))
    }
}

/// Asks for the addresses of one kind.
pub(crate) trait Lookup: Send + Sync + 'static {
    fn lookup(
        &self,
        name: &Hostname,
        family: Family,
    ) -> impl Future<Output = Result<Found, Failure>> + Send;
}
