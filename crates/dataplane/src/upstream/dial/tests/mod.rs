//! Connections of every kind to real sockets on loopback.

mod connecting;
mod pingora;
mod posting;
mod tunnelling;
mod writing;

use super::{Dial, DialError, Dialer, UpstreamIo};
use crate::tls::tests::pki::Authority;
use crate::upstream::tls::tests::server::{self, Setup};
use crate::upstream::tls::tests::{self as tls, cluster, dial, simple, table, trusting};
use crate::upstream::tls::{Alpn, ClientTlsStore};
use certificates::Credentials;
use rules::{Cluster, Endpoint, EndpointAddr};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(10);

/// A cluster without TLS.
fn plain() -> Cluster {
    cluster(None)
}

/// One endpoint of `cluster`.
fn dialer(address: SocketAddr, cluster: &Cluster, credentials: &Credentials) -> Dialer {
    let store = ClientTlsStore::default().next(&table(cluster), credentials);
    tls::dialer(address, cluster, &store)
}

/// The same without TLS.
fn plain_dialer(address: SocketAddr, cluster: &Cluster) -> Dialer {
    dialer(address, cluster, &Credentials::default())
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A connection to a plain socket, and the endpoint's side of it.
pub(super) async fn connected(alpn: Alpn) -> (UpstreamIo, TcpStream) {
    let (listener, address) = listener().await;
    let asked = Dial { alpn, ..dial(None) };
    let io = plain_dialer(address, &plain()).connect(asked).await;
    (io.unwrap(), listener.accept().await.unwrap().0)
}

/// Reads as much as `want` has, which must be that.
async fn expect(reader: &mut (impl AsyncRead + Unpin), want: &[u8]) {
    let mut got = vec![0; want.len()];
    let reading = tokio::time::timeout(PATIENCE, reader.read_exact(&mut got));
    reading.await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(want));
}

/// Reads to the end, which must be an orderly one.
async fn rest(reader: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut got = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut got));
    reading.await.unwrap().unwrap();
    got
}
