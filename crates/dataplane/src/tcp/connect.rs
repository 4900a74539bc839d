//! The way to an endpoint.

use super::connection::TcpConnection;
use super::failure::Failure;
use crate::http::roll;
use rules::EndpointAddr;
use smallvec::SmallVec;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use traffic::ActiveRequest;

/// Endpoints that are tried, one after the other: nothing was sent to one that could not be connected to.
const ATTEMPTS: usize = 3;

/// A connection to an endpoint.
pub(super) enum Upstream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Upstream {
    async fn dial(address: &EndpointAddr) -> io::Result<Self> {
        match address {
            EndpointAddr::Tcp(address) => {
                let socket = TcpStream::connect(address).await?;
                // What is small must not wait for acknowledgements; where it fails, it does.
                let _ = socket.set_nodelay(true);
                Ok(Self::Tcp(socket))
            }
            EndpointAddr::Unix(path) => UnixStream::connect(&**path).await.map(Self::Unix),
        }
    }

    /// Makes the close to come a reset, where there is such a thing.
    pub(super) fn reset(&self) {
        if let Self::Tcp(socket) = self {
            let _ = socket.set_zero_linger();
        }
    }
}

impl TcpConnection {
    /// Connects to an endpoint of the cluster, to another one when that fails. The endpoint counts the
    /// connection as long as the second value exists.
    pub(super) async fn dial(&mut self) -> Result<(Upstream, ActiveRequest), Failure> {
        let cluster = self.cluster.clone().ok_or(Failure::NoRoute)?;
        let timeout = cluster.definition.pool.connect_timeout;
        let shared = Arc::clone(&self.shared);
        let metrics = shared.metrics.own().upstream();
        let mut tried = SmallVec::<[usize; ATTEMPTS]>::new();
        let mut failure = Failure::NoEndpoint;
        while tried.len() < ATTEMPTS {
            let Some(index) = cluster.select(&tried, &mut roll) else {
                break;
            };
            let Some(member) = cluster.endpoints.members().get(index) else {
                break;
            };
            if tried.contains(&index) {
                break;
            }
            tried.push(index);
            self.endpoint = Some(index);
            let active = member.state.begin();
            match within(timeout, Upstream::dial(&member.value.address)).await {
                Ok(upstream) => {
                    metrics.connections.inc();
                    self.note_local_address(&upstream);
                    return Ok((upstream, active));
                }
                Err(error) => {
                    metrics.connect_failures.inc();
                    member.state.record_failure();
                    failure = Failure::Connect(error);
                }
            }
        }
        Err(failure)
    }

    fn note_local_address(&mut self, upstream: &Upstream) {
        self.local_address = match upstream {
            Upstream::Tcp(socket) => socket.local_addr().ok(),
            Upstream::Unix(_) => None,
        };
    }
}

async fn within<T>(
    timeout: Duration,
    dialled: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match tokio::time::timeout(timeout, dialled).await {
        Ok(dialled) => dialled,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_does_not_answer_is_given_up_in_time() {
        let limit = Duration::from_secs(10);
        let began = tokio::time::Instant::now();
        let silent = within(limit, std::future::pending::<io::Result<()>>()).await;
        assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), limit);
    }
}
