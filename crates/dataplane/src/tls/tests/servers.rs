//! Which server answers, with which certificate, version and protocol.

use super::gateway::{Secured, leaf, named, server};
use crate::http::tests::client::Client;
use http::Request;
use model::TlsVersion;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_request_over_tls_is_served_and_logged_with_its_name() {
    let tls = Secured::start(&[server("shop", &["shop.test"])]).await;
    for settings in [
        tls.client(),
        tls.client().tls12(),
        tls.client().offering(&["http/1.1"]),
        tls.client().offering(&["acme-tls/1"]),
        tls.client().offering(&["spdy/3"]),
    ] {
        let answer = tls.get(settings, "shop.test").await.unwrap();
        assert_eq!((answer.status(), answer.body.as_str()), (200, "hello"));
    }
    let seen = tls.origin.request(0);
    assert_eq!(seen.header("x-forwarded-proto").unwrap(), "https");
    tls.gateway.logs(" shop.test route-0 ").await;
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let tls = Secured::start(&[server("shop", &["shop.test"])]).await;
    let stream = tls
        .connect(&tls.client().config(), "shop.test")
        .await
        .unwrap();
    let mut client = Client::on(stream);
    for _ in 0..3 {
        let answer = client.ask(&crate::http::tests::client::get("/")).await;
        assert_eq!(answer.status(), 200);
    }
    let both = crate::http::tests::client::get("/").repeat(2);
    client.send(&both).await;
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(client.response().await.status(), 200);
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let body = "0123456789abcdef".repeat(40_000);
    let big =
        crate::http::tests::origin::Origin::answering(crate::http::tests::origin::ok(&body)).await;
    let rules = |rules: &mut crate::http::tests::gateway::Rules| {
        let credentials = rules.credentials.clone();
        *rules = crate::http::tests::gateway::Rules::to(&[big.address]);
        rules.credentials = credentials;
    };
    let tls = Secured::start_with(&[server("shop", &["shop.test"])], rules).await;
    let answer = tls.get(tls.client(), "shop.test").await.unwrap();
    assert!(answer.body == body && !answer.cut);
}

#[tokio::test]
async fn http2_is_agreed_on() {
    let tls = Secured::start(&[server("shop", &["shop.test"])]).await;
    let config = tls.client().offering(&["h2", "http/1.1"]).config();
    let stream = tls.connect(&config, "shop.test").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let request = Request::get("https://shop.test/").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_protocol_that_is_not_offered_is_not_agreed_on() {
    let shop = server("shop", &["shop.test"]).with(|tls| tls.alpn = vec!["http/1.1"]);
    let tls = Secured::start(&[shop]).await;
    let config = tls.client().offering(&["h2", "http/1.1"]).config();
    let stream = tls.connect(&config, "shop.test").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn the_name_asked_for_chooses_the_server() {
    let servers = [
        server("shop", &["shop.test"]),
        server("wild", &["*.wild.test"]),
    ];
    let tls = Secured::start(&servers).await;
    let (shop, wild) = (tls.shown("shop.test").await, tls.shown("a.wild.test").await);
    assert_ne!(shop, wild);
    assert_eq!(tls.shown("b.wild.test").await, wild);
    let unknown = tls.connect(&tls.client().config(), "other.test").await;
    let unknown = unknown.unwrap_err().to_string();
    assert!(unknown.contains("UnrecognisedName"), "{unknown}");
    assert_eq!(failures(&tls, "unknown_server"), 1);
    tls.gateway.logs(" NR filter_chain_not_found ").await;
    tls.gateway.logs(" other.test - unknown_server ").await;
}

#[tokio::test]
async fn a_client_that_names_nobody_needs_a_server_for_all() {
    let tls = Secured::start(&[server("shop", &["shop.test"])]).await;
    let mut nobody = (*tls.client().config()).clone();
    nobody.enable_sni = false;
    let nobody = Arc::new(nobody);
    let refused = tls.connect(&nobody, "shop.test").await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("UnrecognisedName")
    );
    let tls = Secured::start(&[server("all", &["*", "shop.test"])]).await;
    let mut nobody = (*tls.client().config()).clone();
    nobody.enable_sni = false;
    let answer = tls
        .get_from(&Arc::new(nobody), "shop.test", "shop.test")
        .await;
    assert_eq!(answer.unwrap().status(), 200);
}

/// rustls lowers the case of names it asks for, so a hello is changed on its way.
#[tokio::test]
async fn a_name_asked_for_has_no_case() {
    let tls = Secured::start(&[server("shop", &["shop.test"])]).await;
    let mut hello = super::bad_input::hello(&tls, "shop.test");
    let at = hello
        .windows(9)
        .position(|name| name == b"shop.test")
        .unwrap();
    hello[at..at + 9].make_ascii_uppercase();
    let mut socket = TcpStream::connect(tls.gateway.address).await.unwrap();
    socket.write_all(&hello).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), 22, "no alert");
}

#[tokio::test]
async fn a_missing_certificate_harms_only_its_server() {
    let servers = [
        server("shop", &["shop.test"]),
        server("bare", &["bare.test"]),
    ];
    let tls = Secured::start(&servers).await;
    tls.publish_credentials(|credentials| {
        credentials.certificates.remove(&named("bare"));
    });
    assert_eq!(
        tls.get(tls.client(), "shop.test").await.unwrap().status(),
        200
    );
    let bare = tls.connect(&tls.client().config(), "bare.test").await;
    assert!(bare.unwrap_err().to_string().contains("InternalError"));
    assert_eq!(failures(&tls, "no_certificate"), 1);
    tls.gateway
        .logs(" no_certificate \"VirtualService default/shop")
        .await;
}

/// Promise 8.
#[tokio::test]
async fn a_new_certificate_is_shown_at_the_next_handshake_while_connections_live() {
    let tls = Secured::start(&[server("shop", &["shop.test"])]).await;
    let config = tls.client().config();
    let old = tls.connect(&config, "shop.test").await.unwrap();
    let new = tls.root.server(&["shop.test"]);
    tls.publish_credentials(|credentials| {
        credentials
            .certificates
            .insert(named("shop"), new.credential());
    });
    assert_ne!(leaf(&old), new.der);
    let answer = Client::on(old)
        .ask(&crate::http::tests::client::get("/"))
        .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(tls.shown("shop.test").await, new.der);
}

#[tokio::test]
async fn versions_are_limited() {
    let only = |version| {
        move |tls: &mut rules::TlsTermination| {
            (tls.min_version, tls.max_version) = (version, version);
        }
    };
    let servers = [
        server("old", &["old.test"]).with(only(TlsVersion::V1_2)),
        server("new", &["new.test"]).with(only(TlsVersion::V1_3)),
        server("none", &["none.test"]).with(only(TlsVersion::V1_1)),
    ];
    let tls = Secured::start(&servers).await;
    let version = async |sni| {
        let stream = tls.connect(&tls.client().config(), sni).await.unwrap();
        stream.get_ref().1.protocol_version()
    };
    assert_eq!(version("old.test").await, Some(ProtocolVersion::TLSv1_2));
    assert_eq!(version("new.test").await, Some(ProtocolVersion::TLSv1_3));
    let refused = tls
        .connect(&tls.client().tls12().config(), "new.test")
        .await;
    assert!(refused.is_err());
    assert!(
        tls.connect(&tls.client().config(), "none.test")
            .await
            .is_err()
    );
    assert_eq!(failures(&tls, "no_certificate"), 1);
    assert_eq!(failures(&tls, "nothing_in_common"), 1);
}

#[tokio::test]
async fn suites_are_limited_and_preferred_as_written() {
    let names = [
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ];
    let shop = server("shop", &["shop.test"])
        .with(|tls| tls.cipher_suites = names.map(str::to_owned).to_vec());
    let tls = Secured::start(&[shop]).await;
    let stream = tls
        .connect(&tls.client().tls12().config(), "shop.test")
        .await
        .unwrap();
    let suite = stream.get_ref().1.negotiated_cipher_suite();
    assert_eq!(super::super::suites::suite_name(suite), names[0]);
}

/// A client that looks at no name.
pub(super) fn anything() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Understands(SignatureScheme::ECDSA_NISTP256_SHA256))
}

/// Takes anything, and understands only these signatures.
#[derive(Debug)]
struct Understands(SignatureScheme);

impl ServerCertVerifier for Understands {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![self.0]
    }
}

#[tokio::test]
async fn of_two_certificates_the_client_gets_the_one_it_understands() {
    let shop = server("shop", &["shop.test"])
        .with(|tls| tls.certificates = vec![named("shop"), named("other")]);
    let tls = Secured::start(&[shop]).await;
    let other = tls.root.server_with(&["shop.test"], &rcgen::PKCS_ED25519);
    tls.publish_credentials(|credentials| {
        credentials
            .certificates
            .insert(named("other"), other.credential());
    });
    let shown = async |scheme| {
        let mut settings = tls.client();
        settings.verifier = Some(Arc::new(Understands(scheme)));
        let stream = tls.connect(&settings.config(), "shop.test").await;
        stream.map(|stream| leaf(&stream))
    };
    assert_eq!(shown(SignatureScheme::ED25519).await.unwrap(), other.der);
    let ecdsa = shown(SignatureScheme::ECDSA_NISTP256_SHA256).await.unwrap();
    assert_ne!(ecdsa, other.der);
    assert!(shown(SignatureScheme::RSA_PSS_SHA256).await.is_err());
}

/// RFC 8737.
#[tokio::test]
async fn an_acme_server_is_shown_the_certificate_of_its_challenge() {
    let tls = Secured::start(&[server("shop", &["shop.test"])]).await;
    let challenge = tls.root.server(&["new.test"]);
    let key = challenge.credential().certified_key.clone();
    let guard = tls
        .gateway
        .shared
        .challenges
        .set_tls_alpn01("new.test", key);
    let config = tls.client().offering(&["acme-tls/1"]).config();
    let stream = tls.connect(&config, "new.test").await.unwrap();
    assert_eq!(leaf(&stream), challenge.der);
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    let other = tls.connect(&tls.client().config(), "new.test").await;
    assert!(other.is_err(), "only for ACME servers");
    drop(guard);
    assert!(tls.connect(&config, "new.test").await.is_err());
}

/// RFC 8555, before routes and redirects.
#[tokio::test]
async fn an_acme_server_is_answered_over_http() {
    let gateway = crate::http::tests::gateway::Rules::to(&[]).start().await;
    let challenges = &gateway.shared.challenges;
    let _guard = challenges.set_http01("token", "token.key".into());
    let ask = async |host, token| {
        let request =
            format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        gateway.ask(&request).await
    };
    for host in ["secure.test", "unknown.test"] {
        let answer = ask(host, "token").await;
        assert_eq!((answer.status(), answer.body.as_str()), (200, "token.key"));
    }
    assert_eq!(ask("secure.test", "other").await.status(), 301);
}

pub(super) fn failures(tls: &Secured, reason: &'static str) -> u64 {
    tls.gateway.shared.metrics.own().tls_failures(reason).get()
}
