//! TLS begun by the gateway: whom it trusts, what it asks for, what it shows.

use crate::{SHOP, TO_SHOP, plain_tcp, shop, shop_with};
use e2e::{
    Authority, Certificate, Connection, Gateway, Load, Place, Request, SecureOrigin, Setup,
    TcpOrigin, Visit, destination_rule, eventually, secret, service_entry, virtual_service,
};
use std::collections::BTreeSet;

const SPIFFE: &str = "spiffe://cluster.local/ns/default/sa/shop";

/// A policy with these settings of `tls`, as they stand between braces.
fn policy(tls: &str) -> String {
    destination_rule("shop", &format!("trafficPolicy:\n  tls: {{{tls}}}\n"))
}

/// `shop.test` with these settings of `tls`. What paths stand for is written beside the bootstrap file, and
/// `DIR` stands for the folder.
fn shop_in_tls(endpoint: u16, authority: &Authority, tls: &str) -> Setup {
    let setup = shop(TO_SHOP, &[("shop", &[endpoint])]).beside("ca.pem", &authority.pem());
    let folder = setup.folder().display().to_string();
    setup.file("policy.yaml", policy(&tls.replace("DIR", &folder)))
}

fn with_client(setup: Setup, client: &Certificate) -> Setup {
    setup
        .beside("client.pem", &client.chain)
        .beside("client-key.pem", &client.key)
}

/// The Secret `to-shop`: what is shown, and who is trusted.
fn to_shop(client: &Certificate, servers: &Authority) -> String {
    let data = [
        ("tls.crt", client.chain.as_str()),
        ("tls.key", client.key.as_str()),
        ("ca.crt", &servers.pem()),
    ];
    secret("to-shop", "generic", &data)
}

const SHOWING: &str = "mode: MUTUAL, clientCertificate: DIR/client.pem, \
                       privateKey: DIR/client-key.pem, caCertificates: DIR/ca.pem";

#[track_caller]
fn is_served(gateway: &Gateway) {
    let response = gateway.get(SHOP, "/");
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "secure"),
        "{response:?}"
    );
}

/// 503, nothing of the request went out, and the log says why.
#[track_caller]
fn is_refused(gateway: &Gateway, origin: &SecureOrigin, why: &str) {
    let response = gateway.get(SHOP, "/refused");
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(origin.visits(), [], "the request went out");
    let record = gateway.logged("/refused");
    let flags = record["response_flags"].as_str().unwrap_or_default();
    assert!(flags.split(',').any(|flag| flag == "UF"), "{record}");
    let reason = &record["upstream_transport_failure_reason"];
    let reason = reason.as_str().unwrap_or_default().to_ascii_lowercase();
    assert!(reason.contains(why), "{why:?} is not in {record}");
}

#[test]
fn the_server_must_be_signed_by_a_trusted_authority_and_have_the_host_s_name() {
    let (trusted, stranger) = (Authority::new("trusted"), Authority::new("stranger"));
    let simple = "mode: SIMPLE, caCertificates: DIR/ca.pem";
    let cases = [
        ("right", trusted.issue(&[SHOP]), simple, None),
        (
            "other name",
            trusted.issue(&["other.test"]),
            simple,
            Some("name"),
        ),
        (
            "stranger",
            stranger.issue(&[SHOP]),
            simple,
            Some("certificate"),
        ),
        (
            "over",
            trusted.issue_expired(&[SHOP]),
            simple,
            Some("expired"),
        ),
        (
            "no look at it",
            stranger.issue(&["other.test"]),
            "mode: SIMPLE, insecureSkipVerify: true",
            None,
        ),
    ];
    for (what, certificate, tls, refused) in cases {
        eprintln!("{what}");
        let origin = SecureOrigin::start("secure", &certificate);
        let gateway = shop_in_tls(origin.port(), &trusted, tls).start();
        match refused {
            None => is_served(&gateway),
            Some(why) => is_refused(&gateway, &origin, why),
        }
    }
}

#[test]
fn the_name_that_is_sent_is_the_host_s_or_the_rule_s() {
    let authority = Authority::new("authority");
    let origin = SecureOrigin::start("secure", &authority.issue(&[SHOP, "inner.test"]));
    for (tls, sni) in [("", SHOP), (", sni: inner.test", "inner.test")] {
        let tls = format!("mode: SIMPLE, caCertificates: DIR/ca.pem{tls}");
        let gateway = shop_in_tls(origin.port(), &authority, &tls).start();
        is_served(&gateway);
        assert_eq!(origin.last_visit().sni.as_deref(), Some(sni), "{tls}");
        assert_eq!(origin.last_visit().alpn.as_deref(), Some("http/1.1"));
        assert_eq!(origin.last_visit().shown, None);
    }
}

#[test]
fn names_that_the_rule_lists_take_the_place_of_the_host_s() {
    let authority = Authority::new("authority");
    let cases = [
        ("inner.test", "[inner.test]", true),
        ("inner.test", "[other.test, inner.test]", true),
        ("inner.test", "[other.test]", false),
        // The host's own name does not count any more.
        (SHOP, "[inner.test]", false),
        (
            SPIFFE,
            "['spiffe://cluster.local/ns/default/sa/shop']",
            true,
        ),
        (SPIFFE, "['spiffe://cluster.local/ns/default/sa/*']", true),
        (
            SPIFFE,
            "['spiffe://cluster.local/ns/default/sa/shopper']",
            false,
        ),
        (SPIFFE, "['spiffe://other.local/*']", false),
    ];
    for (name, listed, served) in cases {
        eprintln!("{name} for {listed}");
        let origin = SecureOrigin::start("secure", &authority.issue(&[name]));
        let tls = format!("mode: SIMPLE, caCertificates: DIR/ca.pem, subjectAltNames: {listed}");
        let gateway = shop_in_tls(origin.port(), &authority, &tls).start();
        match served {
            true => is_served(&gateway),
            false => is_refused(&gateway, &origin, " is expected"),
        }
    }
}

#[test]
fn a_certificate_is_shown_to_servers_that_ask() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let client = clients.issue(&["client.test"]);
    let certificate = servers.issue(&[SHOP]);
    let origin = SecureOrigin::asking("secure", &certificate, &clients);
    let setup = shop_in_tls(origin.port(), &servers, SHOWING);
    let gateway = with_client(setup, &client).start();
    is_served(&gateway);
    assert_eq!(origin.last_visit().shown, Some(client.der()));

    let asking = SecureOrigin::asking("secure", &certificate, &clients);
    let simple = "mode: SIMPLE, caCertificates: DIR/ca.pem";
    let gateway = shop_in_tls(asking.port(), &servers, simple).start();
    assert_eq!(gateway.get(SHOP, "/nothing-shown").status, 503);
    assert_eq!(asking.visits(), []);
    assert_eq!(gateway.get("nobody.test", "/").status, 404);
}

#[test]
fn the_mesh_s_identity_is_shown_with_the_mesh_s_name() {
    let mesh = Authority::new("mesh");
    let own = mesh.issue(&["spiffe://cluster.local/ns/istio-system/sa/gateway"]);
    let origin = SecureOrigin::asking("secure", &mesh.issue(&[SPIFFE]), &mesh);
    let tls = format!("mode: ISTIO_MUTUAL, subjectAltNames: ['{SPIFFE}']");
    let setup = shop_in_tls(origin.port(), &mesh, &tls);
    let identity = setup.folder().join("identity");
    std::fs::create_dir(&identity).expect("the folder is made");
    let gateway = setup
        .tls("identity", r#""identity""#)
        .beside("identity/cert-chain.pem", &own.chain)
        .beside("identity/key.pem", &own.key)
        .beside("identity/root-cert.pem", &mesh.pem())
        .start();
    is_served(&gateway);
    let visit = origin.last_visit();
    assert_eq!(visit.shown, Some(own.der()));
    assert_eq!(
        visit.sni.as_deref(),
        Some("outbound_.8000_._.shop.default.svc.cluster.local")
    );
}

#[test]
fn credentials_come_from_a_folder_or_a_secret() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let client = clients.issue(&["client.test"]);
    let tls = "mode: MUTUAL, credentialName: to-shop";
    let from_folder = |setup: Setup| {
        setup.certificate("to-shop", &client).beside_certificate(
            "to-shop",
            "ca.crt",
            &servers.pem(),
        )
    };
    let from_secret = |setup: Setup| setup.file("secret.yaml", to_shop(&client, &servers));
    let ways: [(&str, &dyn Fn(Setup) -> Setup); 2] =
        [("folder", &from_folder), ("Secret", &from_secret)];
    for (what, with_credential) in ways {
        eprintln!("{what}");
        let origin = SecureOrigin::asking("secure", &servers.issue(&[SHOP]), &clients);
        let gateway = with_credential(shop_in_tls(origin.port(), &servers, tls)).start();
        is_served(&gateway);
        assert_eq!(origin.last_visit().shown, Some(client.der()), "{what}");
    }
}

/// Nothing goes out in clear instead, nobody else suffers, and it is mended without a restart.
#[test]
fn a_credential_that_is_missing_costs_its_own_cluster_only() {
    let authority = Authority::new("authority");
    let origin = SecureOrigin::start("secure", &authority.issue(&[SHOP]));
    let tls = "mode: SIMPLE, credentialName: to-shop";
    let gateway = shop_in_tls(origin.port(), &authority, tls).start();
    is_refused(&gateway, &origin, "to-shop");
    assert_eq!(gateway.get("nobody.test", "/").status, 404);
    let data = [("ca.crt", authority.pem())];
    let data = data.each_ref().map(|(key, value)| (*key, value.as_str()));
    gateway.write("secret.yaml", secret("to-shop", "generic", &data));
    gateway.wait_for(SHOP, "/", 200, "secure");
}

/// What is missing is missing here: no endpoint is to blame, however little it takes to be ejected.
#[test]
fn a_credential_that_is_missing_ejects_nobody() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let client = clients.issue(&["client.test"]);
    let certificate = servers.issue(&[SHOP]);
    let origins = [(); 2].map(|()| SecureOrigin::asking("secure", &certificate, &clients));
    let policy = "\
trafficPolicy:
  tls: {mode: MUTUAL, credentialName: to-shop}
  outlierDetection: {consecutiveGatewayErrors: 1, baseEjectionTime: 300s, maxEjectionPercent: 100}
";
    let gateway = shop_with(policy, &origins.each_ref().map(SecureOrigin::port)).start();
    for _ in 0..10 {
        (origins.iter()).for_each(|origin| is_refused(&gateway, origin, "to-shop"));
    }
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("tidegate_ejections_total", &[]), 0.0);

    gateway.write("secret.yaml", to_shop(&client, &servers));
    gateway.wait_for(SHOP, "/", 200, "secure");
    (0..40).for_each(|_| is_served(&gateway));
    for origin in &origins {
        assert_eq!(origin.last_visit().shown, Some(client.der()));
    }
}

#[test]
fn the_system_s_authorities_are_trusted_when_none_are_named() {
    let authority = Authority::new("company");
    let origin = SecureOrigin::start("secure", &authority.issue(&[SHOP]));
    let trusting = shop_in_tls(origin.port(), &authority, "mode: SIMPLE")
        .environment("SSL_CERT_FILE", "ca.pem")
        .start();
    is_served(&trusting);

    let stranger = SecureOrigin::start("secure", &authority.issue(&[SHOP]));
    let others = Authority::new("others");
    let gateway = shop_in_tls(stranger.port(), &others, "mode: SIMPLE")
        .environment("SSL_CERT_FILE", "ca.pem")
        .start();
    is_refused(&gateway, &stranger, "certificate");
}

/// Promises 6 and 8.
#[test]
fn a_new_certificate_is_shown_on_new_connections_and_no_request_fails() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (old, new) = (clients.issue(&["old.test"]), clients.issue(&["new.test"]));
    let origin = SecureOrigin::asking("secure", &servers.issue(&[SHOP]), &clients);
    let setup = shop_in_tls(origin.port(), &servers, SHOWING);
    let gateway = with_client(setup, &old).start();
    let load = Load::start(gateway.http(), 4, &Request::get(SHOP, "/"), |response| {
        response.status == 200
    });
    eventually("the old one is shown", || {
        shown_by(&origin).contains(&old.der())
    });
    e2e::put_secret(&gateway.folder().join("client-key.pem"), &new.key);
    e2e::put_secret(&gateway.folder().join("client.pem"), &new.chain);
    eventually("the new one is shown", || {
        shown_by(&origin).contains(&new.der())
    });
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    is_served(&gateway);
}

/// The server's certificate changes as well, without a word to the gateway.
#[test]
fn a_server_may_change_its_certificate() {
    let authority = Authority::new("authority");
    let origin = SecureOrigin::start("secure", &authority.issue(&[SHOP]));
    let tls = "mode: SIMPLE, caCertificates: DIR/ca.pem";
    let gateway = shop_in_tls(origin.port(), &authority, tls).start();
    is_served(&gateway);
    origin.show(&authority.issue(&[SHOP]));
    is_served(&gateway);
}

/// What was shown on the connections so far, DER.
fn shown_by(origin: &SecureOrigin) -> BTreeSet<Vec<u8>> {
    let visits = origin.visits();
    visits.into_iter().filter_map(|visit| visit.shown).collect()
}

#[test]
fn http2_is_spoken_when_the_rule_asks_for_it() {
    let authority = Authority::new("authority");
    let origin = SecureOrigin::start("secure", &authority.issue(&[SHOP]));
    let setup = shop_in_tls(origin.port(), &authority, "mode: DISABLE");
    let ca = setup.folder().join("ca.pem").display().to_string();
    let policy = format!(
        "trafficPolicy:\n  \
           connectionPool: {{http: {{h2UpgradePolicy: UPGRADE}}}}\n  \
           tls: {{mode: SIMPLE, caCertificates: {ca}}}\n"
    );
    let gateway = setup
        .file("policy.yaml", destination_rule("shop", &policy))
        .start();
    (0..20).for_each(|_| is_served(&gateway));
    let visits = origin.visits();
    assert_eq!(visits.len(), 20);
    assert!(
        visits
            .iter()
            .all(|visit| visit.alpn.as_deref() == Some("h2")),
        "{visits:?}"
    );
    assert!(
        origin.connections() <= 2,
        "{} connections",
        origin.connections()
    );
}

/// Two services on one address: what one shows must never carry the other's requests.
#[test]
fn clusters_with_other_identities_never_share_a_connection() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let [ours, theirs] = ["ours.test", "theirs.test"].map(|name| clients.issue(&[name]));
    let origin = SecureOrigin::asking("secure", &servers.issue(&[SHOP]), &clients);
    let rules = "\
- match: [{uri: {prefix: /ours}}]
  route: [{destination: {host: ours}}]
- route: [{destination: {host: theirs}}]
";
    let services: [(&str, &[u16]); 2] = [("ours", &[origin.port()]), ("theirs", &[origin.port()])];
    let mut setup = shop(rules, &services);
    for (name, client) in [("ours", &ours), ("theirs", &theirs)] {
        let tls = format!("{{tls: {{mode: MUTUAL, credentialName: {name}}}}}");
        let policy = destination_rule(name, &format!("trafficPolicy: {tls}\n"));
        setup = setup
            .file(&format!("{name}-policy.yaml"), policy)
            .certificate(name, client)
            .beside_certificate(name, "ca.crt", &servers.pem());
    }
    let gateway = setup.start();
    for _ in 0..20 {
        assert_eq!(gateway.get(SHOP, "/ours").status, 200);
        assert_eq!(gateway.get(SHOP, "/theirs").status, 200);
    }
    let mut connections = [BTreeSet::new(), BTreeSet::new()];
    for Visit {
        path,
        shown,
        connection,
        ..
    } in origin.visits()
    {
        let is_ours = path == "/ours";
        let want = if is_ours { &ours } else { &theirs };
        assert_eq!(shown, Some(want.der()), "{path} on connection {connection}");
        connections[usize::from(is_ours)].insert(connection);
    }
    let [one, other] = &connections;
    assert!(one.is_disjoint(other), "{connections:?}");
    assert!(origin.connections() < 40, "none was reused");
}

/// A name that was verified for one host is not good for another.
#[test]
fn hosts_with_other_names_never_share_a_connection() {
    let authority = Authority::new("authority");
    let origin = SecureOrigin::start("secure", &authority.issue(&[SHOP]));
    let setup = shop_in_tls(
        origin.port(),
        &authority,
        "mode: SIMPLE, caCertificates: DIR/ca.pem",
    );
    let rules = virtual_service("shop", "*", TO_SHOP);
    let gateway = setup.file("shop.yaml", rules).start();
    for _ in 0..5 {
        is_served(&gateway);
        assert_eq!(gateway.get("other.test", "/other").status, 503);
    }
    assert!(origin.visits().iter().all(|visit| visit.path == "/"));
}

#[test]
fn tcp_goes_out_in_tls() {
    let authority = Authority::new("authority");
    let origin = TcpOrigin::tls_echo(&authority.issue(&[SHOP]));
    let setup = plain_tcp(&[origin.port()]).beside("ca.pem", &authority.pem());
    let ca = setup.folder().join("ca.pem").display().to_string();
    let tls = format!("mode: SIMPLE, caCertificates: {ca}, sni: {SHOP}");
    let gateway = setup.file("policy.yaml", policy(&tls)).start();
    let mut connection = Connection::open(gateway.bound(9000));
    for text in ["in clear", "and back"] {
        let back = connection.echo(text.as_bytes());
        assert_eq!(back.expect("an echo"), text.as_bytes());
    }

    // And to nobody who is not the one.
    gateway.write("policy.yaml", policy(&tls.replace(SHOP, "other.test")));
    eventually("it is refused", || {
        let mut connection = Connection::open(gateway.bound(9000));
        let _ = connection.write(b"in clear");
        let _ = connection.finish();
        connection.read_to_end().is_empty()
    });
}

/// As Istio's page about egress TLS origination has it: port 80 of a host outside is port 443 of it in TLS.
#[test]
fn a_service_entry_s_port_80_goes_to_another_port_in_tls() {
    let authority = Authority::new("authority");
    let origin = SecureOrigin::start("secure", &authority.issue(&["outside.test"]));
    let rules = "\
- rewrite: {authority: outside.test}
  route: [{destination: {host: outside.test, port: {number: 80}}}]
";
    let port = format!(
        "number: 80, name: plain, protocol: HTTP, targetPort: {}",
        origin.port()
    );
    // Its endpoints know no port of this name, so that the target port holds.
    let entry = service_entry("outside.test", &port, &[Place::new(1, "")]);
    let setup = shop(rules, &[])
        .file("outside.yaml", entry)
        .beside("ca.pem", &authority.pem());
    let ca = setup.folder().join("ca.pem").display().to_string();
    let policy = format!(
        "trafficPolicy:\n  portLevelSettings:\n  - port: {{number: 80}}\n    \
         tls: {{mode: SIMPLE, caCertificates: {ca}, sni: outside.test}}\n"
    );
    let gateway = setup
        .file("policy.yaml", destination_rule("outside.test", &policy))
        .start();
    is_served(&gateway);
    assert_eq!(origin.last_visit().sni.as_deref(), Some("outside.test"));
}
