//! Why there is no identity, or no newer one.

use crate::frame::MAX_MESSAGE;
use std::io;
use std::time::Duration;

/// Why a call ended, as it follows the name of the Workload API.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot be reached: {0}")]
    Connect(io::Error),
    #[error("did not answer within {0:?}")]
    Timeout(Duration),
    #[error("broke the connection off: {0}")]
    Broken(String),
    #[error("closed the stream")]
    Closed,
    #[error("answered with the status {0} of HTTP")]
    Http(u16),
    /// With what the server says about it, quoted.
    #[error("issues no identity to this process: PermissionDenied{0}")]
    Denied(String),
    #[error("refused the call: {name}{told}")]
    Refused { name: &'static str, told: String },
    #[error("sent a message of {0} bytes, and at most {MAX_MESSAGE} are read")]
    TooLarge(usize),
    #[error("sent a compressed message, which was not asked for")]
    Compressed,
    #[error("sent a message that is no X509SVIDResponse")]
    Encoding,
}

/// Statuses of gRPC that make a difference.
const OK: u16 = 0;
/// Also for one that is no number.
pub(crate) const UNKNOWN: u16 = 2;
const INVALID_ARGUMENT: u16 = 3;
const PERMISSION_DENIED: u16 = 7;
const UNIMPLEMENTED: u16 = 12;

/// Their names by their numbers.
const NAMES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

impl Failure {
    pub(crate) fn broken(error: impl ToString) -> Self {
        Self::Broken(error.to_string())
    }

    /// For a status of gRPC, and what the server says about it, which may be nothing.
    pub(crate) fn of_status(status: u16, told: &str) -> Self {
        let told = match told.is_empty() {
            true => String::new(),
            false => format!(", {told:?}"),
        };
        match status {
            OK => Self::Closed,
            PERMISSION_DENIED => Self::Denied(told),
            other => Self::Refused {
                name: NAMES.get(usize::from(other)).unwrap_or(&"Unknown"),
                told,
            },
        }
    }

    /// Whether the server says that asking again is of no use, since it is not the one that was looked for.
    pub(crate) fn is_final(&self) -> bool {
        let finals = [INVALID_ARGUMENT, UNIMPLEMENTED].map(|status| NAMES[usize::from(status)]);
        matches!(self, Self::Refused { name, .. } if finals.contains(name))
    }

    /// Whether it may be nothing but a restart of the server.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::Timeout(_)
            | Self::Broken(_)
            | Self::Closed
            | Self::Http(_) => true,
            Self::Refused { .. } => !self.is_final(),
            Self::Denied(_) | Self::TooLarge(_) | Self::Compressed | Self::Encoding => false,
        }
    }
}
