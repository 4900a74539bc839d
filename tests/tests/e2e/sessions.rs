//! Resumption: a client that was here before need not shake hands as a stranger.

use crate::{SHOP, TO_SHOP, secure_shop, shop};
use e2e::{
    Authority, Gateway, Handshake, Origin, Setup, TlsClient, eventually, gateway_of, https_server,
    s_client,
};

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// A first visit to `host`, whose session is kept in a file.
#[track_caller]
fn visit(gateway: &Gateway, host: &str, arguments: &[&str]) -> Handshake {
    let file = session_file(gateway);
    let first = ["-servername", host, "-sess_out", &file];
    let visited = s_client(gateway.https(), host, &[&first, arguments].concat());
    assert!(visited.is_served(), "{}", visited.output);
    visited
}

/// A visit with the session of the last [`visit`].
#[track_caller]
fn come_again(gateway: &Gateway, host: &str, arguments: &[&str]) -> Handshake {
    let file = session_file(gateway);
    let again = ["-servername", host, "-sess_in", &file];
    s_client(gateway.https(), host, &[&again, arguments].concat())
}

fn session_file(gateway: &Gateway) -> String {
    gateway
        .folder()
        .join("session")
        .to_string_lossy()
        .into_owned()
}

#[test]
fn a_session_is_resumed() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let gateway = secure_shop(&authority, &[origin.port()]).start();
    for version in VERSIONS {
        assert!(!visit(&gateway, SHOP, &[version]).resumed, "{version}");
        let again = come_again(&gateway, SHOP, &[version]);
        assert!(
            again.resumed && again.is_served(),
            "{version}: {}",
            again.output
        );
    }
    // On another thread of the gateway as well.
    let client = TlsClient::new(&authority, SHOP).resuming();
    let request = e2e::Request::get(SHOP, "/");
    let mut resumed = 0;
    for _ in 0..20 {
        let mut connection = client.open(gateway.https()).expect("a handshake");
        resumed += usize::from(connection.was_resumed());
        assert_eq!(connection.send(&request).expect("an answer").status, 200);
    }
    assert!(resumed >= 15, "{resumed} of 20");
}

#[test]
fn a_change_elsewhere_ends_no_session() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let gateway = secure_shop(&authority, &[origin.port()]).start();
    for (round, version) in VERSIONS.into_iter().enumerate() {
        visit(&gateway, SHOP, &[version]);
        let before = gateway.metrics().sum("tidegate_config_generation", &[]);
        let other = e2e::virtual_service("other", &format!("x{round}.test"), TO_SHOP);
        gateway.write("other.yaml", other);
        eventually("the change is live", || {
            gateway.metrics().sum("tidegate_config_generation", &[]) > before
        });
        assert!(come_again(&gateway, SHOP, &[version]).resumed, "{version}");
    }
}

/// `open.test` asks for no certificate; `a.test` and `b.test` do, each trusting another authority.
fn three_servers(server_ca: &Authority, a: &Authority, b: &Authority, endpoint: u16) -> Setup {
    let servers = https_server("open", &["open.test"], "mode: SIMPLE, credentialName: all")
        + &https_server(
            "a",
            &["a.test"],
            "mode: MUTUAL, credentialName: all, caCertCredentialName: a",
        )
        + &https_server(
            "b",
            &["b.test"],
            "mode: MUTUAL, credentialName: all, caCertCredentialName: b",
        );
    let certificate = server_ca.issue(&["open.test", "a.test", "b.test"]);
    shop(TO_SHOP, &[("shop", &[endpoint])])
        .file("shop.yaml", e2e::virtual_service("shop", "*.test", TO_SHOP))
        .file("gateway.yaml", gateway_of("edge", &servers))
        .port(443)
        .certificate("all", &certificate)
        .beside_certificate("a", "ca.crt", &a.pem())
        .beside_certificate("b", "ca.crt", &b.pem())
}

/// Else the client's certificate would be verified by one server and believed by another.
#[test]
fn a_session_is_worth_nothing_to_a_server_that_verifies_otherwise() {
    let origin = Origin::named("shop");
    let [server_ca, a, b] = ["server", "a", "b"].map(Authority::new);
    let gateway = three_servers(&server_ca, &a, &b, origin.port()).start();
    let client = a.issue(&["client.test"]);
    client.put(&gateway.folder().join("client"));
    let file = |name: &str| gateway.folder().join("client").join(name);
    let [certificate, key] =
        ["tls.crt", "tls.key"].map(|name| file(name).to_string_lossy().into_owned());
    let shown = ["-cert", &certificate, "-key", &key];
    for version in VERSIONS {
        let with_certificate = [&[version], &shown[..]].concat();
        visit(&gateway, "open.test", &[version]);
        let crossed = come_again(&gateway, "a.test", &[version]);
        assert!(
            !crossed.is_served() && !crossed.resumed,
            "{version}: {}",
            crossed.output
        );

        visit(&gateway, "a.test", &with_certificate);
        for host in ["b.test", "open.test"] {
            let crossed = come_again(&gateway, host, &with_certificate);
            assert!(!crossed.resumed, "{version} {host}: {}", crossed.output);
            assert_eq!(crossed.is_served(), host == "open.test", "{version} {host}");
        }
        // And at home it is.
        visit(&gateway, "a.test", &with_certificate);
        let again = come_again(&gateway, "a.test", &with_certificate);
        assert!(
            again.resumed && again.is_served(),
            "{version}: {}",
            again.output
        );
    }
}
