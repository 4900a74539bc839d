//! Why a probe failed.

use std::error::Error;
use std::fmt::Write;
use std::io;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection could be made.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// It took longer than [`Check::timeout`](crate::Check::timeout).
    #[error("timeout")]
    Timeout,
    /// An HTTP status that is not expected.
    #[error("status {0}")]
    Status(u16),
    /// A gRPC call that failed, by its `grpc-status`.
    #[error("grpc-status {0}")]
    GrpcStatus(u16),
    /// What `grpc.health.v1` answered instead of `SERVING`.
    #[error("grpc {0}")]
    NotServing(&'static str),
    /// Bytes that are no answer, or an answer that is cut short.
    #[error("broken answer")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
    /// A bug here.
    #[error("the probe ended by a bug")]
    Bug,
}

impl Failure {
    /// A fixed word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect_failure",
            Self::Timeout => "timeout",
            Self::Status(_) | Self::GrpcStatus(_) => "unexpected_status",
            Self::NotServing(_) => "not_serving",
            Self::Broken(_) => "broken_answer",
            Self::Bug => "bug",
        }
    }

    pub(crate) fn broken(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Broken(cause.into())
    }

    /// The failure and its causes on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a string does not fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_on_the_same_line() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let want = "cannot connect: connection refused";
        assert_eq!(Failure::Connect(refused).chain(), want);
        assert_eq!(Failure::Status(503).chain(), "status 503");
    }
}
