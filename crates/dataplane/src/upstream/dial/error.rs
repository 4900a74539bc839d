//! Why there is no connection.

use std::io;
use std::sync::Arc;

/// Why there is no connection to an endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// It took too long.
    #[error("connection timeout")]
    Timeout,
    /// Nobody listens there.
    #[error("Connection refused")]
    Refused,
    /// There is no way there.
    #[error("No route to host")]
    Unreachable,
    /// Something else of the network or the system.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// The forward proxy does not make the tunnel.
    #[error("the tunnel was refused: {0}")]
    Tunnel(Arc<str>),
    /// What TLS needs on this side is missing.
    #[error("TLS is not ready: {0}")]
    NotReady(Arc<str>),
    /// The server's certificate is not what was asked for.
    #[error("TLS_error: CERTIFICATE_VERIFY_FAILED: {0}")]
    Certificate(String),
    /// The handshake failed for another reason.
    #[error("TLS_error: {0}")]
    Tls(String),
}

impl DialError {
    /// Stable, for the log.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "connect_timeout",
            Self::Refused | Self::Unreachable | Self::Io(_) => "connect_failure",
            Self::Tunnel(_) => "tunnel_refused",
            Self::NotReady(_) => "tls_not_ready",
            Self::Certificate(_) => "certificate_invalid",
            Self::Tls(_) => "tls_failure",
        }
    }

    /// Of a TLS handshake.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
        match tls {
            Some(rustls::Error::InvalidCertificate(why)) => Self::Certificate(why.to_string()),
            Some(other) => Self::Tls(other.to_string()),
            None => Self::Tls(error.to_string()),
        }
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            _ => Self::Io(error),
        }
    }
}
