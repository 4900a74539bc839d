//! Why there is no connection.

use rules::Denial;
use rustls::CertificateError;
use std::io;
use std::sync::Arc;

/// Why an endpoint could not be connected to. Nothing of a request was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The cluster has as many connections as it may have, and none of them ended in time.
    #[error("the cluster has all the connections that it may have")]
    NotAdmitted,
    /// The connection that the request was to share is not to be found.
    #[error("the connection was closed")]
    Missing,
    /// The connection that the request was to share could not be made.
    #[error("{0}")]
    Shared(Arc<Self>),
    /// A name stands for the address that no name may stand for.
    #[error("the endpoint's name stands for an address that no name may stand for")]
    Forbidden,
    /// All of it took too long.
    #[error("it took too long to connect")]
    Timeout,
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// There is no way there.
    #[error("the endpoint cannot be reached: {0}")]
    Unreachable(io::Error),
    /// Something else of the socket.
    #[error("{0}")]
    Io(io::Error),
    /// The two did not agree on TLS, or the server is not who it should be.
    #[error("{0}")]
    Tls(TlsFailure),
    /// The forward proxy did not open the tunnel.
    #[error("{0}")]
    Tunnel(TunnelFailure),
    /// TLS is asked for, and what it needs is missing.
    #[error("TLS cannot be begun, {0}")]
    NotReady(Arc<str>),
}

/// Why TLS was not agreed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFailure {
    /// The server's certificate was refused here.
    #[error("the server's certificate was refused: {0}")]
    Certificate(String),
    /// There is no name that could be sent and looked for.
    #[error("{0:?} is no name of a server")]
    Name(String),
    /// The handshake failed otherwise, as the server said, or by its end.
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
}

/// Why a tunnel was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelFailure {
    /// It was refused.
    #[error("the forward proxy refused the tunnel with status {0}")]
    Status(u16),
    /// What came is no answer of HTTP/1, or a longer one than any.
    #[error("the forward proxy's answer is {0}")]
    Malformed(&'static str),
    /// The connection broke, or ended.
    #[error("the connection to the forward proxy broke: {0}")]
    Io(io::Error),
}

impl DialError {
    /// What is behind an error of Pingora, if it is of ours.
    pub(crate) fn of(error: &pingora_error::Error) -> Option<&Self> {
        let error: &Self = error.root_cause().downcast_ref()?;
        Some(error.root())
    }

    /// What went wrong, for whomever it was to be done.
    pub(crate) fn root(&self) -> &Self {
        match self {
            Self::Shared(error) => error.root(),
            error => error,
        }
    }

    /// Whether it tells anything about the endpoint.
    pub(crate) fn is_of_endpoint(&self) -> bool {
        let error = self.root();
        !matches!(
            error,
            Self::NotAdmitted | Self::NotReady(_) | Self::Missing | Self::Forbidden
        )
    }

    /// Stable, for access logs and counters.
    pub(crate) fn reason(&self) -> &'static str {
        match self.root() {
            Self::NotAdmitted => "max_connections",
            Self::Forbidden => Denial::Address.code(),
            Self::Timeout => "connect_timeout",
            Self::Refused
            | Self::Unreachable(_)
            | Self::Io(_)
            | Self::Missing
            | Self::Shared(_) => "connect_failure",
            Self::Tls(TlsFailure::Certificate(_)) => "certificate_invalid",
            Self::Tls(_) => "tls_failure",
            Self::Tunnel(_) => "tunnel_refused",
            Self::NotReady(_) => "tls_not_ready",
        }
    }

    /// Of a socket that was to be connected.
    pub(super) fn of_connect(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::NotFound => Self::Unreachable(error),
            _ => Self::Io(error),
        }
    }
}

impl TlsFailure {
    pub(super) fn of(error: io::Error) -> Self {
        let inner = error.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) if is_of_certificate(error) => Self::of_certificate(error),
            _ => Self::Handshake(error),
        }
    }

    pub(super) fn of_certificate(error: &rustls::Error) -> Self {
        Self::Certificate(match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                other.0.to_string()
            }
            rustls::Error::InvalidCertificate(error) => error.to_string(),
            error => error.to_string(),
        })
    }
}

fn is_of_certificate(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(_)
            | rustls::Error::InvalidCertRevocationList(_)
            | rustls::Error::NoCertificatesPresented
    )
}
