//! Sockets, and what comes first on them.

use super::*;
use model::ProxyProtocolVersion;
use pingora_core::protocols::{GetSocketDigest, GetTimingDigest, Ssl, UniqueID};
use rules::UpstreamTls;

fn ends() -> Option<(SocketAddr, SocketAddr)> {
    let client = "192.0.2.1:1234".parse().unwrap();
    Some((client, "198.51.100.2:443".parse().unwrap()))
}

#[tokio::test]
async fn an_endpoint_that_nobody_listens_at_is_told() {
    let (listener, address) = listener().await;
    drop(listener);
    let failed = plain_dialer(address, &plain()).connect(dial(None)).await;
    let failed = failed.unwrap_err();
    assert!(matches!(failed, DialError::Refused), "{failed:?}");
    assert_eq!(failed.reason(), "connect_failure");
}

#[tokio::test]
async fn unix_sockets_are_dialled_by_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let address = EndpointAddr::Unix(path.to_str().unwrap().into());
    let dialer = Dialer::new(&Endpoint::at(address), &plain(), None);
    let missing = dialer.connect(dial(None)).await.unwrap_err();
    assert!(matches!(missing, DialError::Unreachable(_)), "{missing:?}");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let mut io = dialer.connect(dial(None)).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"hello").await.unwrap();
    expect(&mut io, b"hello").await;
    assert_eq!(io.local_address(), None);
}

#[tokio::test]
async fn what_is_known_of_the_socket_is_told() {
    let (io, server) = connected(Alpn::Http2).await;
    assert_eq!(io.local_address(), Some(server.peer_addr().unwrap()));
    let digest = io.get_socket_digest().unwrap();
    let peer = digest.peer_addr().unwrap().as_inet().unwrap();
    assert_eq!(*peer, server.local_addr().unwrap());
    assert!(io.id() > 0);
    assert!(io.get_timing_digest()[0].is_some());
    let spoken = io.selected_alpn_proto().unwrap();
    assert_eq!(spoken, pingora_core::protocols::ALPN::H2);
    assert!(io.get_ssl_digest().is_none() && io.tls().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_shake_hands_is_given_up_in_time() {
    let (listener, address) = listener().await;
    let authority = Authority::new();
    let mut cluster = cluster(Some(simple()));
    cluster.pool.connect_timeout = Duration::from_secs(3);
    let dialer = dialer(address, &cluster, &trusting(&authority));
    for (timeout, want) in [(5, 3), (2, 2)] {
        let began = tokio::time::Instant::now();
        let asked = Dial {
            timeout: Duration::from_secs(timeout),
            ..dial(None)
        };
        let failed = dialer.connect(asked).await.unwrap_err();
        assert_eq!(failed.reason(), "connect_timeout");
        assert_eq!(began.elapsed(), Duration::from_secs(want));
    }
    drop(listener);
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_no_server() {
    let (listener, address) = listener().await;
    let cluster = cluster(Some(simple()));
    let dialer = dialer(address, &cluster, &trusting(&Authority::new()));
    let (failed, ()) = tokio::join!(dialer.connect(dial(None)), async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = socket.read(&mut [0; 4096]).await;
    });
    assert_eq!(failed.unwrap_err().reason(), "tls_failure");
}

#[tokio::test]
async fn a_client_is_told_before_anything_else() {
    for (version, ends, want) in [
        (
            ProxyProtocolVersion::V1,
            ends(),
            &b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"[..],
        ),
        (ProxyProtocolVersion::V1, None, b"PROXY UNKNOWN\r\n"),
        (
            ProxyProtocolVersion::V2,
            ends(),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb",
        ),
        (
            ProxyProtocolVersion::V2,
            None,
            b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
        ),
    ] {
        let (listener, address) = listener().await;
        let mut cluster = plain();
        cluster.proxy_protocol = Some(version);
        let dialer = plain_dialer(address, &cluster);
        assert!(dialer.tells_client());
        let asked = Dial {
            downstream: ends,
            ..dial(None)
        };
        let mut io = dialer.connect(asked).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        io.write_all(b"GET").await.unwrap();
        AsyncWriteExt::shutdown(&mut io).await.unwrap();
        assert_eq!(rest(&mut server).await, [want, b"GET"].concat());
    }
}

#[tokio::test]
async fn a_client_is_told_in_clear_before_tls() {
    let authority = Authority::new();
    let shown = authority.server(&["service.test"]);
    let acceptor = TlsAcceptor::from(Setup::of(&shown).config());
    let (listener, address) = listener().await;
    let mut cluster = cluster(Some(simple()));
    cluster.proxy_protocol = Some(ProxyProtocolVersion::V1);
    let dialer = dialer(address, &cluster, &trusting(&authority));
    let (io, mut server) = tokio::join!(dialer.connect(dial(None)), async {
        let (mut socket, _) = listener.accept().await.unwrap();
        expect(&mut socket, b"PROXY UNKNOWN\r\n").await;
        acceptor.accept(socket).await.unwrap()
    });
    let mut io = io.unwrap();
    server.write_all(b"hello").await.unwrap();
    expect(&mut io, b"hello").await;
    assert_eq!(io.get_ssl_digest().unwrap().version, "TLSv1.3");
}

#[test]
fn what_connections_depend_on_is_told() {
    let authority = Authority::new();
    let address: SocketAddr = ([127, 0, 0, 1], 1).into();
    let credentials = trusting(&authority);
    let own = cluster(Some(simple()));
    assert!(!plain_dialer(address, &plain()).asks_for_host());
    assert!(dialer(address, &own, &credentials).asks_for_host());
    let named = UpstreamTls {
        sni: Some("rule.test".into()),
        ..simple()
    };
    assert!(!dialer(address, &cluster(Some(named)), &credentials).asks_for_host());
}

#[test]
fn a_dialer_is_current_until_its_certificates_change() {
    let authority = Authority::new();
    let own = cluster(Some(simple()));
    let first = ClientTlsStore::default().next(&table(&own), &trusting(&authority));
    let dialer = tls::dialer(([127, 0, 0, 1], 1).into(), &own, &first);
    let is_current = |store: &ClientTlsStore| dialer.is_current(store.of(&own.tls).as_ref());
    let second = first.next(&table(&own), &trusting(&authority));
    assert!(is_current(&second));
    let other = second.next(&table(&own), &trusting(&Authority::new()));
    assert!(!is_current(&other));
    let missing = second.next(&table(&own), &Credentials::default());
    assert!(!is_current(&missing));
    assert!(!dialer.is_current(None));
}

#[tokio::test]
async fn an_end_of_tls_that_was_not_announced_is_an_error() {
    let authority = Authority::new();
    let shown = authority.server(&["service.test"]);
    let acceptor = TlsAcceptor::from(Setup::of(&shown).config());
    let (listener, address) = listener().await;
    let dialer = dialer(address, &cluster(Some(simple())), &trusting(&authority));
    let (io, ()) = tokio::join!(dialer.connect(dial(None)), async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(socket).await.unwrap();
        stream.write_all(server::HELLO).await.unwrap();
        let (socket, _) = stream.into_inner();
        drop(socket);
    });
    let mut got = Vec::new();
    let end = io.unwrap().read_to_end(&mut got).await.unwrap_err();
    assert_eq!(got, server::HELLO);
    assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_connection_can_be_reset() {
    let (io, mut server) = connected(Alpn::Http1).await;
    io.reset();
    drop(io);
    let end = server.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}
