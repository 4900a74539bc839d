//! Tunnels in a POST.

use super::tunnelling::through;
use super::*;
use model::TunnelProtocol;

const POST: &[u8] =
    b"POST / HTTP/1.1\r\nhost: target.test:8443\r\ntransfer-encoding: chunked\r\n\r\n";

/// A tunnel that was answered so, and the proxy's side of it.
async fn opened(answer: &[u8]) -> (UpstreamIo, TcpStream) {
    let (listener, address) = listener().await;
    let dialer = plain_dialer(address, &through(TunnelProtocol::Post));
    let asked = Dial {
        alpn: Alpn::None,
        ..dial(None)
    };
    let (io, proxy) = tokio::join!(dialer.connect(asked), async {
        let (mut proxy, _) = listener.accept().await.unwrap();
        expect(&mut proxy, POST).await;
        proxy.write_all(answer).await.unwrap();
        proxy
    });
    (io.unwrap(), proxy)
}

#[tokio::test]
async fn bytes_are_sent_in_chunks() {
    let (mut io, mut proxy) = opened(b"HTTP/1.1 200 OK\r\n\r\n").await;
    io.write_all(b"hello").await.unwrap();
    io.write_all(b"sixteen letters!").await.unwrap();
    expect(&mut proxy, b"5\r\nhello\r\n10\r\nsixteen letters!\r\n").await;
    AsyncWriteExt::shutdown(&mut io).await.unwrap();
    assert_eq!(rest(&mut proxy).await, b"0\r\n\r\n");
    proxy.write_all(b"still").await.unwrap();
    drop(proxy);
    assert_eq!(rest(&mut io).await, b"still");
}

#[tokio::test]
async fn more_than_a_socket_takes_arrives_whole_and_in_order() {
    let (mut io, mut proxy) = opened(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let expected = sent.clone();
    let reading = tokio::spawn(async move {
        let raw = rest(&mut proxy).await;
        let mut body = Vec::new();
        let mut raw = raw.as_slice();
        loop {
            let end = raw.windows(2).position(|two| two == b"\r\n").unwrap();
            let size = std::str::from_utf8(&raw[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            body.extend_from_slice(&raw[end + 2..][..size]);
            raw = &raw[end + 2 + size + 2..];
            if size == 0 {
                return body;
            }
        }
    });
    io.write_all(&sent).await.unwrap();
    AsyncWriteExt::shutdown(&mut io).await.unwrap();
    assert!(reading.await.unwrap() == expected);
}

#[tokio::test]
async fn an_answer_s_body_ends_as_its_head_says() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (answer, want) in [
        (format!("{chunked}5\r\nhello\r\n0\r\n\r\nignored"), "hello"),
        (
            format!("{chunked}3;a=b\r\nhel\r\n02\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"),
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
            "hello",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello".to_owned(), "hello"),
    ] {
        let (mut io, proxy) = opened(answer.as_bytes()).await;
        drop(proxy);
        let got = rest(&mut io).await;
        assert_eq!(String::from_utf8_lossy(&got), want, "{answer:?}");
    }
}

#[tokio::test]
async fn chunks_may_come_byte_by_byte() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut io, mut proxy) = opened(answer).await;
    let sending = tokio::spawn(async move {
        proxy.set_nodelay(true).unwrap();
        for byte in b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n" {
            proxy.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        proxy
    });
    assert_eq!(rest(&mut io).await, b"hello");
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn what_is_no_chunk_or_is_cut_off_is_an_error() {
    let endless = "x".repeat(2000);
    for body in [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "11111111111111111\r\n",
        "1\r\nhe\r\n",
        "5\r\nhel",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0\r\n",
        endless.as_str(),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let (mut io, proxy) = opened(answer.as_bytes()).await;
        drop(proxy);
        let mut got = Vec::new();
        let end = tokio::time::timeout(PATIENCE, io.read_to_end(&mut got)).await;
        assert!(end.unwrap().is_err(), "{body:?}");
    }
    let (mut io, proxy) = opened(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").await;
    drop(proxy);
    assert!(io.read_to_end(&mut Vec::new()).await.is_err());
}
