//! Servers that ask who the client is.

use crate::{SHOP, TO_SHOP, secure_shop, shop};
use e2e::{
    Authority, Certificate, Gateway, Httpbin, Origin, Request, Response, Setup, TlsClient,
    eventually, gateway_of, https_server, put_secret, run, secret,
};
use std::io;

const CLIENT: [&str; 2] = ["spiffe://cluster.local/ns/test/sa/client", "client.test"];

/// Whom a test trusts, and whom the gateway does.
struct Parties {
    server: Authority,
    clients: Authority,
}

impl Parties {
    fn new() -> Self {
        Self {
            server: Authority::new("server"),
            clients: Authority::new("clients"),
        }
    }

    /// `shop.test` with these settings of `tls`; `shop-cert` has the authority of clients.
    fn setup(&self, endpoint: u16, tls: &str) -> Setup {
        let tls = format!("credentialName: shop-cert, {tls}");
        let text = gateway_of("edge", &https_server("https", &[SHOP], &tls));
        secure_shop(&self.server, &[endpoint])
            .file("gateway.yaml", text)
            .beside_certificate("shop-cert", "ca.crt", &self.clients.pem())
    }

    /// What a client hears that shows this certificate.
    fn get(&self, gateway: &Gateway, shown: Option<&Certificate>) -> io::Result<Response> {
        let client = match shown {
            Some(certificate) => TlsClient::showing(&self.server, SHOP, certificate),
            None => TlsClient::new(&self.server, SHOP),
        };
        client.open(gateway.https())?.send(&Request::get(SHOP, "/"))
    }

    #[track_caller]
    fn check(&self, gateway: &Gateway, who: &str, shown: Option<&Certificate>, served: bool) {
        match self.get(gateway, shown) {
            Ok(response) => assert!(served && response.status == 200, "{who}: {response:?}"),
            Err(error) => assert!(!served, "{who}: {error}"),
        }
    }
}

#[test]
fn only_clients_with_a_good_certificate_are_served() {
    let origin = Origin::named("shop");
    let parties = Parties::new();
    let revoked = parties.clients.issue(&CLIENT);
    let revocations = parties.clients.revocations(&[&revoked]);
    let gateway = parties
        .setup(origin.port(), "mode: MUTUAL")
        .beside_certificate("shop-cert", "ca.crl", &revocations)
        .start();
    let (right, wrong) = (
        parties.clients.issue(&CLIENT),
        Authority::new("other").issue(&CLIENT),
    );
    let expired = parties.clients.issue_expired(&CLIENT);
    parties.check(&gateway, "right", Some(&right), true);
    let before = origin.hits();
    parties.check(&gateway, "nobody", None, false);
    parties.check(&gateway, "of another authority", Some(&wrong), false);
    parties.check(&gateway, "expired", Some(&expired), false);
    parties.check(&gateway, "revoked", Some(&revoked), false);
    assert_eq!(origin.hits(), before, "a stranger's request went upstream");
    parties.check(&gateway, "right again", Some(&right), true);
}

#[test]
fn an_optional_certificate_is_verified_when_there_is_one() {
    let origin = Origin::echo();
    let parties = Parties::new();
    let gateway = parties
        .setup(origin.port(), "mode: OPTIONAL_MUTUAL")
        .start();
    let (right, wrong) = (
        parties.clients.issue(&CLIENT),
        Authority::new("other").issue(&CLIENT),
    );
    let expired = parties.clients.issue_expired(&CLIENT);
    parties.check(&gateway, "nobody", None, true);
    assert_eq!(
        origin.last_request().header("x-forwarded-client-cert"),
        None
    );
    parties.check(&gateway, "right", Some(&right), true);
    assert!(
        origin
            .last_request()
            .header("x-forwarded-client-cert")
            .is_some()
    );
    parties.check(&gateway, "of another authority", Some(&wrong), false);
    parties.check(&gateway, "expired", Some(&expired), false);
}

/// A list of revocations that comes later counts at the next handshake.
#[test]
fn a_certificate_can_be_revoked_while_running() {
    let origin = Origin::named("shop");
    let parties = Parties::new();
    let gateway = parties.setup(origin.port(), "mode: MUTUAL").start();
    let [stolen, other] = [(); 2].map(|()| parties.clients.issue(&CLIENT));
    parties.check(&gateway, "not yet revoked", Some(&stolen), true);
    let list = gateway.certificates().join("shop-cert/ca.crl");
    put_secret(&list, &parties.clients.revocations(&[&stolen]));
    eventually("it is refused", || {
        parties.get(&gateway, Some(&stolen)).is_err()
    });
    parties.check(&gateway, "another", Some(&other), true);
}

#[test]
fn a_client_s_names_key_or_certificate_can_be_named() {
    let origin = Origin::named("shop");
    let parties = Parties::new();
    let [named, unnamed] = [CLIENT, ["spiffe://cluster.local/ns/test/sa/x", "x.test"]]
        .map(|names| parties.clients.issue(&names));
    let cases = [
        format!("subjectAltNames: [{:?}]", CLIENT[0]),
        format!("subjectAltNames: [other.test, {:?}]", CLIENT[1]),
        format!("verifyCertificateHash: [{}]", fingerprint(&named)),
        format!("verifyCertificateSpki: [{:?}]", spki(&named)),
    ];
    for settings in cases {
        let tls = format!("mode: MUTUAL, {settings}");
        let gateway = parties.setup(origin.port(), &tls).start();
        parties.check(&gateway, &format!("{settings}: named"), Some(&named), true);
        parties.check(
            &gateway,
            &format!("{settings}: unnamed"),
            Some(&unnamed),
            false,
        );
    }
}

/// The SHA-256 of a certificate in lower-case hex, as OpenSSL has it.
fn fingerprint(certificate: &Certificate) -> String {
    let printed = openssl(
        certificate,
        "openssl x509 -noout -fingerprint -sha256 -in \"$0\"",
    );
    let (_, hex) = printed.split_once('=').expect("a fingerprint");
    hex.trim().replace(':', "").to_lowercase()
}

/// The SHA-256 of its public key in base64.
fn spki(certificate: &Certificate) -> String {
    let pipe = "openssl x509 -noout -pubkey -in \"$0\" | openssl pkey -pubin -outform der \
                | openssl dgst -sha256 -binary | openssl base64";
    openssl(certificate, pipe).trim().to_owned()
}

#[track_caller]
fn openssl(certificate: &Certificate, script: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    certificate.put(folder.path());
    let file = folder.path().join("tls.crt");
    let ran = run("sh", &["-c", script, &file.to_string_lossy()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout
}

/// Promise 14, as httpbin sees it.
#[test]
fn upstreams_are_told_who_the_client_is_and_nothing_it_says_itself() {
    let httpbin = Httpbin::start();
    let parties = Parties::new();
    let gateway = parties.setup(httpbin.port(), "mode: MUTUAL").start();
    let client = parties.clients.issue(&CLIENT);
    let mut connection = TlsClient::showing(&parties.server, SHOP, &client)
        .open(gateway.https())
        .expect("a handshake");
    let request =
        Request::get(SHOP, "/headers").header("X-Forwarded-Client-Cert", "By=evil;Hash=0");
    let response = connection.send(&request).expect("an answer").text();
    let seen: serde_json::Value = serde_json::from_str(&response).expect("httpbin answers JSON");
    let told = seen["headers"]["X-Forwarded-Client-Cert"].as_str();
    let told = told.unwrap_or_default();
    assert!(!told.contains("evil"), "{told}");
    for part in [
        format!("Hash={}", fingerprint(&client)),
        format!("URI={}", CLIENT[0]),
    ] {
        assert!(told.contains(&part), "{part} is not in {told}");
    }
    assert!(told.contains("Subject=\"CN="), "{told}");
}

#[test]
fn without_client_certificates_nobody_is_believed() {
    let origin = Origin::echo();
    let authority = Authority::new("ca");
    let gateway = secure_shop(&authority, &[origin.port()]).start();
    let client = TlsClient::new(&authority, SHOP);
    let request = Request::get(SHOP, "/").header("X-Forwarded-Client-Cert", "By=evil;Hash=0");
    let mut connection = client.open(gateway.https()).expect("a handshake");
    assert_eq!(connection.send(&request).expect("an answer").status, 200);
    assert_eq!(
        origin.last_request().header("x-forwarded-client-cert"),
        None
    );
}

/// A resumed session is that of the same client.
#[test]
fn who_resumes_a_session_is_still_known() {
    let origin = Origin::echo();
    let parties = Parties::new();
    let gateway = parties.setup(origin.port(), "mode: MUTUAL").start();
    let certificate = parties.clients.issue(&CLIENT);
    let client = TlsClient::showing(&parties.server, SHOP, &certificate).resuming();
    let mut resumed = false;
    for _ in 0..5 {
        let mut connection = client.open(gateway.https()).expect("a handshake");
        resumed = connection.was_resumed();
        let response = connection
            .send(&Request::get(SHOP, "/"))
            .expect("an answer");
        assert_eq!(response.status, 200);
        let told = origin.last_request();
        let told = told.header("x-forwarded-client-cert").unwrap_or_default();
        assert!(told.contains(&fingerprint(&certificate)), "{told}");
    }
    assert!(resumed);
}

#[test]
fn the_authorities_may_come_from_secrets() {
    let origin = Origin::named("shop");
    let parties = Parties::new();
    let certificate = parties.server.issue(&[SHOP]);
    let authorities = parties.clients.pem();
    let own = [
        ("cert", &*certificate.chain),
        ("key", &*certificate.key),
        ("cacert", &*authorities),
    ];
    let with_ca = secret("one", "Opaque", &own);
    let without = secret("one", "Opaque", &own[..2]);
    let beside = secret("one-cacert", "Opaque", &[("cacert", &authorities)]);
    let server = https_server("https", &[SHOP], "mode: MUTUAL, credentialName: one");
    for files in [with_ca, format!("{without}---\n{beside}")] {
        let gateway = shop(TO_SHOP, &[("shop", &[origin.port()])])
            .file("gateway.yaml", gateway_of("edge", &server))
            .file("secrets.yaml", files)
            .port(443)
            .start();
        let client = parties.clients.issue(&CLIENT);
        parties.check(&gateway, "right", Some(&client), true);
        parties.check(&gateway, "nobody", None, false);
    }
}

/// Authorities and revocations at paths, as the certificate itself.
#[test]
fn the_authorities_may_come_from_files() {
    let origin = Origin::named("shop");
    let parties = Parties::new();
    let [right, revoked] = [(); 2].map(|()| parties.clients.issue(&CLIENT));
    let tls = "mode: MUTUAL, serverCertificate: own/tls.crt, privateKey: own/tls.key, \
               caCertificates: own/clients.pem, caCrl: own/revoked.pem";
    let setup = secure_shop(&parties.server, &[origin.port()]).file(
        "gateway.yaml",
        gateway_of("edge", &https_server("https", &[SHOP], tls)),
    );
    let own = setup.folder().join("own");
    parties.server.issue(&[SHOP]).put(&own);
    put_secret(&own.join("clients.pem"), &parties.clients.pem());
    let revocations = parties.clients.revocations(&[&revoked]);
    put_secret(&own.join("revoked.pem"), &revocations);
    let gateway = setup.start();
    parties.check(&gateway, "right", Some(&right), true);
    parties.check(&gateway, "revoked", Some(&revoked), false);
    parties.check(&gateway, "nobody", None, false);
    // Another authority takes the place of the first, and so does its list.
    let others = Authority::new("others");
    put_secret(&own.join("clients.pem"), &others.pem());
    put_secret(&own.join("revoked.pem"), &others.revocations(&[]));
    let theirs = others.issue(&CLIENT);
    eventually("the new authority is trusted", || {
        parties.get(&gateway, Some(&theirs)).is_ok()
    });
    parties.check(&gateway, "of the first", Some(&right), false);
}

/// Servers of one port differ in what they ask.
#[test]
fn each_server_of_a_port_verifies_its_own_way() {
    let origin = Origin::named("shop");
    let parties = Parties::new();
    let others = Authority::new("others");
    let servers = https_server("open", &["open.test"], "mode: SIMPLE, credentialName: all")
        + &https_server("a", &["a.test"], "mode: MUTUAL, credentialName: all")
        + &https_server(
            "b",
            &["b.test"],
            "mode: MUTUAL, credentialName: all, caCertCredentialName: b",
        );
    let names = ["open.test", "a.test", "b.test"];
    let gateway = shop(TO_SHOP, &[("shop", &[origin.port()])])
        .file("shop.yaml", e2e::virtual_service("shop", "*.test", TO_SHOP))
        .file("gateway.yaml", gateway_of("edge", &servers))
        .port(443)
        .certificate("all", &parties.server.issue(&names))
        .beside_certificate("all", "ca.crt", &parties.clients.pem())
        .beside_certificate("b", "ca.crt", &others.pem())
        .start();
    let [of_a, of_b] = [&parties.clients, &others].map(|authority| authority.issue(&CLIENT));
    let clients = [None, Some(&of_a), Some(&of_b)];
    let want = [
        ("open.test", [true, true, true]),
        ("a.test", [false, true, false]),
        ("b.test", [false, false, true]),
    ];
    for (name, served) in want {
        for (shown, want) in clients.into_iter().zip(served) {
            let client = match shown {
                Some(certificate) => TlsClient::showing(&parties.server, name, certificate),
                None => TlsClient::new(&parties.server, name),
            };
            let answer = client
                .open(gateway.https())
                .and_then(|mut connection| connection.send(&Request::get(name, "/")));
            let who = shown.map(|certificate| certificate.serial);
            assert_eq!(answer.is_ok(), want, "{name} {who:?}: {answer:?}");
        }
    }
}

/// The gateway's own identity in the mesh, from files as Istio's agent names them.
#[test]
fn the_mesh_s_identity_serves_the_mesh_s_clients() {
    let origin = Origin::echo();
    let mesh = Authority::new("mesh");
    let identity = mesh.issue(&["spiffe://cluster.local/ns/istio-system/sa/gateway", SHOP]);
    let server = https_server("https", &[SHOP], "mode: ISTIO_MUTUAL");
    let setup = shop(TO_SHOP, &[("shop", &[origin.port()])])
        .file("gateway.yaml", gateway_of("edge", &server))
        .port(443)
        .tls("identity", r#""identity""#);
    let folder = setup.folder().join("identity");
    std::fs::create_dir(&folder).expect("the folder can be made");
    put_secret(&folder.join("key.pem"), &identity.key);
    put_secret(&folder.join("cert-chain.pem"), &identity.chain);
    put_secret(&folder.join("root-cert.pem"), &mesh.pem());
    let gateway = setup.start();
    let parties = Parties {
        server: mesh,
        clients: Authority::new("outside"),
    };
    let inside = parties.server.issue(&CLIENT);
    parties.check(&gateway, "of the mesh", Some(&inside), true);
    let told = origin.last_request();
    let told = told.header("x-forwarded-client-cert").unwrap_or_default();
    for part in [
        "By=spiffe://cluster.local/ns/istio-system/sa/gateway",
        &format!("URI={}", CLIENT[0]),
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    parties.check(
        &gateway,
        "of outside",
        Some(&parties.clients.issue(&CLIENT)),
        false,
    );
    parties.check(&gateway, "nobody", None, false);
}
