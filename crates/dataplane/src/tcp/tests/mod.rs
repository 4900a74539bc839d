//! Real sockets on loopback, with tables written by hand.

mod ends;
mod failures;
mod forwarding;
mod gateway;
mod mesh;
mod on_demand;
mod origin;
mod proxied;
mod tls;

use gateway::{Gateway, Rules, missing, origin, route, routes};
use origin::{Origin, nobody};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing on loopback takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// What comes until the end.
#[track_caller]
fn rest(stream: &mut TcpStream) -> impl Future<Output = String> {
    let caller = std::panic::Location::caller();
    async move {
        let mut text = String::new();
        let reading = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await;
        match reading {
            Ok(Ok(_)) => text,
            other => panic!("{caller}: {other:?} after {text:?}"),
        }
    }
}

/// Sends some bytes, and waits for as many.
async fn exchange(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    let reading = tokio::time::timeout(PATIENCE, stream.read_exact(&mut back));
    reading.await.unwrap().unwrap();
    String::from_utf8(back).unwrap()
}
