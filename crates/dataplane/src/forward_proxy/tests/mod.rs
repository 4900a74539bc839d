//! A forward proxy on loopback, by tables written by hand.

mod connects;
mod inside;
mod proxy;
mod requests;
mod secured;
mod tls;

use proxy::{Proxy, ask, connect, said, url};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nothing on loopback takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// An upstream that is not HTTP's: every connection gets what `serve` makes of it.
async fn upstream<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    address
}

/// Sends back what it gets.
async fn echo() -> SocketAddr {
    upstream(|mut socket| async move {
        let (mut read, mut write) = socket.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

/// Says this before anything else, and waits for the client's end.
async fn saying(text: &'static str) -> SocketAddr {
    upstream(move |mut socket| async move {
        socket.write_all(text.as_bytes()).await.unwrap();
        let _ = socket.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// As many bytes as these come back.
async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    let reading = tokio::time::timeout(PATIENCE, stream.read_exact(&mut back));
    reading.await.unwrap().unwrap();
    back
}

/// What comes until the end.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes));
    reading.await.unwrap().unwrap();
    bytes
}
