//! Why a request cannot be told addresses.

use crate::lookup::Failure;

/// Why there are no addresses for a name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unresolved {
    /// A server knows that there is no such name.
    #[error("there is no such name (NXDOMAIN)")]
    NoSuchName,
    /// A server knows that the name has no address of the wanted kind.
    #[error("the name has no address of the wanted kind")]
    NoAddress,
    /// Nobody answered within [`Settings::timeout`](crate::Settings::timeout).
    #[error("no answer in time")]
    Timeout,
    /// Nobody knows for the moment, for this reason.
    #[error("{0}")]
    Failed(String),
    /// So many names are being looked up that this one did not get its turn.
    #[error("too many names are being looked up")]
    Busy,
}

impl Unresolved {
    /// A word for logs and metrics that stays the same whatever the message says.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchName => "dns_no_such_name",
            Self::NoAddress => "dns_no_address",
            Self::Timeout => "dns_timeout",
            Self::Failed(_) => "dns_failure",
            Self::Busy => "dns_overload",
        }
    }

    /// Whether that is nobody's word about the name.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::NoSuchName | Self::NoAddress => false,
            Self::Timeout | Self::Failed(_) | Self::Busy => true,
        }
    }
}

impl From<Failure> for Unresolved {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSuchName { .. } => Self::NoSuchName,
            Failure::NoAddress { .. } => Self::NoAddress,
            Failure::Timeout => Self::Timeout,
            Failure::Temporary(why) => Self::Failed(why),
        }
    }
}
