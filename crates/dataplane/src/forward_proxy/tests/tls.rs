//! Tunnels for TLS.

use super::proxy::{line, refusals};
use super::*;
use crate::http::tests::gateway::Gateway;
use rules::{EgressMode, OutboundProtocol};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::sync::Arc;

/// The first bytes of a client that names `sni`, or nobody if that is an address.
pub(super) fn hello(sni: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(sni.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

async fn start(protocol: OutboundProtocol, mode: EgressMode) -> Gateway {
    let upstream = echo().await;
    Proxy::default()
        .connections(443, "*.example.test", protocol, upstream)
        .connections(443, "other.test", protocol, upstream)
        .connections(443, "api.test", protocol, upstream)
        .at(443, "api.test", "192.0.2.0/24")
        .with(|proxy| proxy.mode = mode)
        .start()
        .await
}

/// A fatal alert: there is no server of this name.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Promise 20: the name that was allowed is the name that is served.
#[tokio::test]
async fn the_name_in_tls_is_the_one_that_was_asked_for() {
    for protocol in [OutboundProtocol::Tls, OutboundProtocol::Unspecified] {
        for (target, sni, served) in [
            ("a.example.test:443", "a.example.test", true),
            ("A.example.test.:443", "A.EXAMPLE.test", true),
            // Nobody is named.
            ("a.example.test:443", "192.0.2.1", true),
            ("192.0.2.7:443", "192.0.2.7", true),
            ("192.0.2.7:443", "api.test", true),
            ("a.example.test:443", "b.example.test", false),
            ("a.example.test:443", "other.test", false),
            ("192.0.2.7:443", "other.test", false),
            ("192.0.2.7:443", "unknown.test", false),
        ] {
            let gateway = start(protocol, EgressMode::Enforce).await;
            let (answer, mut socket) = ask(&gateway, target).await;
            assert_eq!(answer.status(), 200);
            let hello = hello(sni);
            if served {
                assert!(
                    exchange(&mut socket, &hello).await == hello,
                    "{target} {sni}"
                );
                assert_eq!(exchange(&mut socket, b"more").await, b"more");
                drop(socket);
                let line = line(&gateway).await;
                let named = sni.parse::<std::net::IpAddr>().is_err();
                let name = named.then(|| format!(" {} ", sni.to_ascii_lowercase()));
                let seen = line.to_ascii_lowercase();
                assert!(name.is_none_or(|name| seen.contains(&name)), "{line}");
                continue;
            }
            socket.write_all(&hello).await.unwrap();
            assert_eq!(rest(&mut socket).await, UNRECOGNIZED_NAME, "{target} {sni}");
            let line = line(&gateway).await;
            assert!(line.contains(&format!(" {sni} - sni_mismatch ")), "{line}");
            assert!(line.contains(r#""CONNECT - HTTP/1.1" 200 "#), "{line}");
            assert_eq!(refusals(&gateway, "sni_mismatch", "enforce"), 1);
        }
    }
}

#[tokio::test]
async fn a_hello_may_come_with_the_head_and_in_pieces() {
    let gateway = start(OutboundProtocol::Tls, EgressMode::Enforce).await;
    let hello = hello("a.example.test");
    let head = connect("a.example.test:443");
    let whole = [head.as_bytes(), &hello].concat();
    for first in [head.len(), head.len() + 1, head.len() + 40, whole.len()] {
        let (one, two) = whole.split_at(first);
        let pieces: Vec<&[u8]> = [one].into_iter().chain(two.chunks(50)).collect();
        let (answer, mut socket) = said(&gateway, &pieces).await;
        assert_eq!(answer.status(), 200);
        let mut back = vec![0; hello.len()];
        socket.read_exact(&mut back).await.unwrap();
        assert!(back == hello, "{first}");
    }
}

/// Promise 20.
#[tokio::test]
async fn a_tunnel_for_tls_is_for_nothing_else() {
    for first in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"s",
        b"\x16\x03\x01\x00\x05hello",
    ] {
        let gateway = start(OutboundProtocol::Tls, EgressMode::Enforce).await;
        let (_, mut socket) = ask(&gateway, "a.example.test:443").await;
        socket.write_all(first).await.unwrap();
        assert_eq!(rest(&mut socket).await, b"");
        let line = line(&gateway).await;
        assert!(line.contains(" not_tls "), "{line}");
        assert_eq!(refusals(&gateway, "not_tls", "enforce"), 1);
    }
}

/// Promise 22.
#[tokio::test]
async fn what_is_not_said_may_be_anything() {
    let gateway = start(OutboundProtocol::Unspecified, EgressMode::Enforce).await;
    let (_, mut socket) = ask(&gateway, "a.example.test:443").await;
    assert_eq!(exchange(&mut socket, b"SSH-2.0").await, b"SSH-2.0");
}

#[tokio::test]
async fn in_shadow_mode_tunnels_pass_and_are_noted() {
    for (first, reason, code) in [
        (
            hello("b.example.test"),
            " would_refuse_sni_mismatch ",
            "sni_mismatch",
        ),
        (b"SSH-2.0".to_vec(), " would_refuse_not_tls ", "not_tls"),
    ] {
        let gateway = start(OutboundProtocol::Tls, EgressMode::Shadow).await;
        let (_, mut socket) = ask(&gateway, "a.example.test:443").await;
        assert!(exchange(&mut socket, &first).await == first);
        drop(socket);
        let line = line(&gateway).await;
        assert!(line.contains(reason), "{line}");
        assert_eq!(refusals(&gateway, code, "shadow"), 1);
    }
}

/// Promise 19.
#[tokio::test]
async fn a_hello_that_never_ends_is_not_waited_for() {
    let upstream = echo().await;
    let gateway = Proxy::default()
        .connections(443, "a.test", OutboundProtocol::Tls, upstream)
        .with(|proxy| proxy.rules.limits.handshake_timeout = Duration::from_millis(50))
        .start()
        .await;
    for first in [&b""[..], &hello("a.test")[..50]] {
        let (_, mut socket) = ask(&gateway, "a.test:443").await;
        socket.write_all(first).await.unwrap();
        assert_eq!(rest(&mut socket).await, b"");
    }
    gateway.logs(" client_timeout ").await;
}
