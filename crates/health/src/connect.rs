//! How endpoints are dialled.

use crate::{Address, Check, TargetKey};
use async_trait::async_trait;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Dials endpoints for probes.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    /// A connection that is ready for what `check` asks: whoever speaks TLS here offers `h2` for gRPC, and `http/1.1`
    /// for HTTP. Dropped when [`Check::timeout`] is over.
    ///
    /// # Errors
    ///
    /// There is none to be had, which counts as a failed probe.
    async fn connect(&self, target: &TargetKey, check: &Check) -> io::Result<Box<dyn Stream>>;
}

/// Dials in clear.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnect;

#[async_trait]
impl Connect for TcpConnect {
    async fn connect(&self, target: &TargetKey, _check: &Check) -> io::Result<Box<dyn Stream>> {
        Ok(match &target.address {
            Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Address::Unix(path) => Box::new(UnixStream::connect(&**path).await?),
        })
    }
}
