//! Why the application gave no answer.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why the application gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There was no connection to be had.
    #[error("cannot connect to {0}")]
    Connect(SocketAddr, #[source] io::Error),
    /// It does not speak TLS as it should.
    #[error("no TLS with {0}")]
    Tls(SocketAddr, #[source] io::Error),
    /// What came is no answer, or an answer that is cut short.
    #[error("{0} gave a broken answer")]
    Broken(SocketAddr, #[source] hyper::Error),
    /// It took longer than it may.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It was sent from place to place.
    #[error("stopped after {0} redirects")]
    Redirects(usize),
    /// What was asked cannot be written.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
    /// Its health service did not say that it serves.
    #[error("the gRPC health check failed")]
    Health(#[source] health::Failure),
}

impl Failure {
    /// The failure and its causes on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
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
        let failure = Failure::Connect(([10, 0, 0, 5], 8080).into(), refused);
        let want = "cannot connect to 10.0.0.5:8080: connection refused";
        assert_eq!(failure.chain(), want);
    }
}
