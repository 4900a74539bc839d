//! Tunnels through a forward proxy.

use super::*;
use model::{At, TunnelProtocol, TunnelSettings};
use std::sync::Arc;

pub(super) fn tunnel(protocol: TunnelProtocol) -> TunnelSettings {
    TunnelSettings {
        at: At::default(),
        protocol,
        target_host: "target.test".to_owned(),
        target_port: 8443,
    }
}

pub(super) fn through(protocol: TunnelProtocol) -> Cluster {
    Cluster {
        tunnel: Some(tunnel(protocol)),
        ..plain()
    }
}

const CONNECT: &[u8] = b"CONNECT target.test:8443 HTTP/1.1\r\nhost: target.test:8443\r\n\r\n";

/// What becomes of a CONNECT that is answered so, and the proxy's side of it.
async fn answered(answer: &[u8]) -> (Result<UpstreamIo, DialError>, TcpStream) {
    let (listener, address) = listener().await;
    let dialer = plain_dialer(address, &through(TunnelProtocol::Connect));
    let (io, proxy) = tokio::join!(dialer.connect(dial(None)), async {
        let (mut proxy, _) = listener.accept().await.unwrap();
        expect(&mut proxy, CONNECT).await;
        proxy.write_all(answer).await.unwrap();
        proxy
    });
    (io, proxy)
}

#[tokio::test]
async fn bytes_go_through_once_the_proxy_agreed() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\n\r\nearly"[..],
        b"HTTP/1.0 200 Connection established\r\nVia: 1.1 proxy\r\n\r\nearly",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nearly",
        // Says nothing of a tunnel's bytes.
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nearly",
    ] {
        let (io, mut proxy) = answered(answer).await;
        let mut io = io.unwrap();
        expect(&mut io, b"early").await;
        io.write_all(b"question").await.unwrap();
        io.flush().await.unwrap();
        expect(&mut proxy, b"question").await;
        proxy.write_all(b"answer").await.unwrap();
        drop(proxy);
        assert_eq!(rest(&mut io).await, b"answer");
    }
}

#[tokio::test]
async fn a_tunnel_that_is_refused_is_told() {
    let (io, _proxy) = answered(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    let refused = io.unwrap_err();
    assert_eq!(refused.reason(), "tunnel_refused");
    assert_eq!(
        refused.to_string(),
        "the forward proxy refused the tunnel with status 403"
    );
}

#[tokio::test]
async fn what_is_no_answer_opens_no_tunnel() {
    let long = format!("HTTP/1.1 200 OK\r\nfiller: {}", "x".repeat(9000));
    for (answer, want) in [
        ("SSH-2.0-proxy\r\n\r\n", "not HTTP/1"),
        ("HTTP/2 200\r\n\r\n", "not HTTP/1"),
        ("HTTP/1.1 2000 OK\r\n\r\n", "not HTTP/1"),
        (long.as_str(), "too long"),
    ] {
        let (io, _proxy) = answered(answer.as_bytes()).await;
        let refused = io.unwrap_err();
        assert_eq!(refused.reason(), "tunnel_refused");
        let want = format!("the forward proxy's answer is {want}");
        assert_eq!(refused.to_string(), want);
    }
}

#[tokio::test]
async fn a_proxy_that_hangs_up_opens_no_tunnel() {
    let (listener, address) = listener().await;
    let dialer = plain_dialer(address, &through(TunnelProtocol::Connect));
    let (io, ()) = tokio::join!(dialer.connect(dial(None)), async {
        let (mut proxy, _) = listener.accept().await.unwrap();
        expect(&mut proxy, CONNECT).await;
    });
    assert_eq!(io.unwrap_err().reason(), "tunnel_refused");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_says_nothing_is_given_up_in_time() {
    let (listener, address) = listener().await;
    let dialer = plain_dialer(address, &through(TunnelProtocol::Connect));
    let began = tokio::time::Instant::now();
    let failed = dialer.connect(dial(None)).await.unwrap_err();
    assert_eq!(failed.reason(), "connect_timeout");
    assert_eq!(began.elapsed(), PATIENCE);
    drop(listener);
}

#[tokio::test]
async fn a_tunnel_lies_within_the_proxy_s_tls() {
    let authority = Authority::new();
    let shown = authority.server(&["service.test"]);
    let setup = Setup {
        alpn: &["h2", "http/1.1"],
        ..Setup::of(&shown)
    };
    let acceptor = TlsAcceptor::from(setup.config());
    let (listener, address) = listener().await;
    let cluster = Cluster {
        tunnel: Some(tunnel(TunnelProtocol::Connect)),
        ..cluster(Some(simple()))
    };
    let dialer = dialer(address, &cluster, &trusting(&authority));
    // What goes through is none of the proxy's business, nor is whom it is for.
    let asked = Dial {
        alpn: Alpn::Http2,
        ..dial(Some("target.test"))
    };
    let (io, mut proxy) = tokio::join!(dialer.connect(asked), async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut proxy = acceptor.accept(socket).await.unwrap();
        expect(&mut proxy, CONNECT).await;
        proxy.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        proxy
    });
    let session = proxy.get_ref().1;
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(session.server_name(), Some("service.test"));
    let mut io = io.unwrap();
    proxy.write_all(b"hello").await.unwrap();
    expect(&mut io, b"hello").await;
}

#[tokio::test]
async fn an_address_of_ipv6_is_asked_for_in_brackets() {
    let (listener, address) = listener().await;
    let mut cluster = through(TunnelProtocol::Connect);
    if let Some(tunnel) = &mut cluster.tunnel {
        tunnel.target_host = "2001:db8::1".to_owned();
    }
    let dialer = plain_dialer(address, &cluster);
    let (io, ()) = tokio::join!(dialer.connect(dial(None)), async {
        let (mut proxy, _) = listener.accept().await.unwrap();
        let want = b"CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nhost: [2001:db8::1]:8443\r\n\r\n";
        expect(&mut proxy, want).await;
    });
    assert!(io.is_err());
}

#[tokio::test]
async fn requests_can_do_without_the_tunnel() {
    let (listener, address) = listener().await;
    let dialer = plain_dialer(address, &through(TunnelProtocol::Connect));
    let dialer = Arc::new(dialer).without_tunnel();
    let mut io = dialer.connect(dial(None)).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    io.flush().await.unwrap();
    expect(&mut server, b"GET / HTTP/1.1\r\n\r\n").await;
}
