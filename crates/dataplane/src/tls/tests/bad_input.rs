//! What is no ClientHello, or none that comes to its end.

use super::gateway::{Secured, server};
use super::servers::failures;
use crate::http::tests::client::{Client, get};
use crate::http::tests::eventually;
use crate::http::tests::gateway::Rules;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The first bytes of a client that asks for `sni`.
pub(super) fn hello(tls: &Secured, sni: &str) -> Vec<u8> {
    let name = ServerName::try_from(sni.to_owned()).unwrap();
    let mut client = ClientConnection::new(tls.client().config(), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

async fn start() -> Secured {
    Secured::start(&[server("shop", &["shop.test"])]).await
}

/// Sends bytes, and returns what comes back until the end.
async fn exchange(tls: &Secured, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(tls.gateway.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    answer
}

async fn still_serves(tls: &Secured) {
    let answer = tls.get(tls.client(), "shop.test").await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn garbage_gets_an_alert_and_the_end() {
    let tls = start().await;
    let garbage: [&[u8]; 5] = [
        b"\x00\x01\x02\x03\x04\x05\x06\x07",
        b"lower case",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\xff\xff\xff\xff",
        b"\x15\x03\x01\x00\x02\x01\x00\x00",
    ];
    for bytes in garbage {
        let answer = exchange(&tls, bytes).await;
        assert!(
            answer.first().is_none_or(|first| *first == 21),
            "{bytes:?}: {answer:?}"
        );
    }
    assert_eq!(failures(&tls, "malformed_hello"), 5);
    still_serves(&tls).await;
}

#[tokio::test]
async fn a_hello_that_is_cut_off_is_the_end() {
    let tls = start().await;
    let hello = hello(&tls, "shop.test");
    for length in [0, 1, 5, 50, hello.len() - 1] {
        let mut socket = TcpStream::connect(tls.gateway.address).await.unwrap();
        socket.write_all(&hello[..length]).await.unwrap();
        socket.shutdown().await.unwrap();
        assert_eq!(socket.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }
    assert_eq!(failures(&tls, "closed"), 5);
    still_serves(&tls).await;
}

#[tokio::test]
async fn a_hello_in_pieces_is_a_hello() {
    let tls = start().await;
    let mut socket = TcpStream::connect(tls.gateway.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for piece in hello(&tls, "shop.test").chunks(7) {
        socket.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(socket.read_u8().await.unwrap(), 22);
}

#[tokio::test]
async fn a_hello_without_end_is_cut_off() {
    let tls = start().await;
    let mut endless = b"\x01\x00\xf0\x00".to_vec();
    endless.resize(0xf000, 0);
    let records: Vec<u8> = endless
        .chunks(4000)
        .flat_map(|piece| {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            [&[22, 3, 1], &length[..], piece].concat()
        })
        .collect();
    let mut socket = TcpStream::connect(tls.gateway.address).await.unwrap();
    // It may be closed before all of it is written.
    let _ = socket.write_all(&records).await;
    let _ = socket.read_to_end(&mut Vec::new()).await;
    assert_eq!(failures(&tls, "hello_too_large"), 1);
    still_serves(&tls).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_hello_is_cut_off() {
    let limit = |rules: &mut Rules| rules.limits.handshake_timeout = Duration::from_secs(2);
    let tls = Secured::start_with(&[server("shop", &["shop.test"])], limit).await;
    assert_eq!(exchange(&tls, &hello(&tls, "shop.test")[..100]).await, b"");
    assert_eq!(exchange(&tls, b"").await, b"");
    assert_eq!(failures(&tls, "timeout"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_is_cut_off() {
    let limit = |rules: &mut Rules| {
        rules.limits.handshake_timeout = Duration::from_secs(2);
        rules.limits.handshakes = 1;
    };
    let tls = Secured::start_with(&[server("shop", &["shop.test"])], limit).await;
    // The second waits for its turn, and gets none.
    let first = hello(&tls, "shop.test");
    let (first, second) = tokio::join!(exchange(&tls, &first), exchange(&tls, b""));
    assert!(first.len() > 100, "what the server has to say");
    assert_eq!(second, b"");
    let slow = failures(&tls, "timeout") + failures(&tls, "too_many_handshakes");
    assert_eq!(slow, 2);
}

/// A handshake counts from its hello on, so that clients that only connect keep nobody away.
#[tokio::test]
async fn silent_clients_keep_nobody_away() {
    let limit = |rules: &mut Rules| rules.limits.handshakes = 1;
    let tls = Secured::start_with(&[server("shop", &["shop.test"])], limit).await;
    let mut silent = Vec::new();
    for sent in [0, 1, 100] {
        let mut client = Client::connect(tls.gateway.address).await;
        let part = &hello(&tls, "shop.test")[..sent];
        client.socket.write_all(part).await.unwrap();
        silent.push(client);
    }
    for _ in 0..3 {
        let answer = tls.get(tls.client(), "shop.test").await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn http_in_clear_is_told_to_speak_tls() {
    let tls = start().await;
    let mut client = Client::connect(tls.gateway.address).await;
    let answer = client.ask(&get("/")).await;
    assert_eq!(answer.status(), 400);
    assert!(
        answer.body.contains("https://") && !answer.cut,
        "{answer:?}"
    );
    assert!(client.is_closed().await);
    assert_eq!(failures(&tls, "plain_http"), 1);
    tls.gateway.logs(" 400 DPE http_on_tls_port ").await;
}

#[tokio::test]
async fn tls_on_a_port_in_clear_gets_an_alert() {
    let tls = start().await;
    let plain = Rules::to(&[]).start().await;
    let mut socket = TcpStream::connect(plain.address).await.unwrap();
    socket.write_all(&hello(&tls, "shop.test")).await.unwrap();
    let mut alert = Vec::new();
    socket.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 40]);
    let counter = plain.shared.metrics.own().tls_failures("tls_on_plain_port");
    eventually("counted", || counter.get() == 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_without_a_word_has_left() {
    let tls = start().await;
    let stream = tls
        .connect(&tls.client().config(), "shop.test")
        .await
        .unwrap();
    let mut client = Client::on(stream);
    client.ask(&get("/")).await;
    let (mut socket, _) = client.socket.into_inner();
    socket.shutdown().await.unwrap();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.unwrap();
    tls.gateway.logs(" 200 - via_upstream ").await;
    assert!(
        !tls.gateway.log().contains(" 400 "),
        "{}",
        tls.gateway.log()
    );
}
