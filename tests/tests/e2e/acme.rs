//! Certificates ordered from a real ACME server, and what becomes of HTTPS meanwhile.

use crate::{SHOP, TO_SHOP, shop};
use e2e::{
    Authority, Gateway, Load, Origin, PATIENCE, Pebble, PebbleOptions, Request, Setup, TlsClient,
    TlsConnection, eventually, gateway_of, https_server, poll_for, server, virtual_service,
};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

/// Valid so shortly that it is renewed after ten seconds.
const SHORT: Duration = Duration::from_secs(15);

/// `shop.test` on port 443 with a certificate that is ordered, beside other servers.
fn ordering_shop(endpoint: u16, others: &str) -> Setup {
    let https = https_server("https", &[SHOP], "mode: SIMPLE, credentialName: shop-cert");
    shop(TO_SHOP, &[("shop", &[endpoint])])
        .file("gateway.yaml", gateway_of("edge", &(https + others)))
        .port(443)
}

/// A server in clear on port 80, as ACME servers want one.
fn http_server() -> String {
    server(80, "http", "HTTP", &["*"], "")
}

fn options(setup: &Setup) -> PebbleOptions {
    PebbleOptions::new(setup.bound(80), setup.bound(443))
}

/// With `[acme]` for `pebble`, which need not run yet.
fn ordering(setup: Setup, pebble: &Pebble, more: &str) -> Setup {
    let (directory, authority) = (pebble.directory(), pebble.authority_file());
    let authority = authority.display();
    setup.section(&format!(
        "\n[acme]\n\
         directory = \"{directory}\"\n\
         ca-certificate = \"{authority}\"\n\
         contact = [\"mailto:ops@example.com\"]\n\
         storage = \"certs/acme\"\n\
         {more}\n"
    ))
}

const FOR_SHOP: &str = "credentials = { shop-cert = [\"shop.test\"] }";

/// Connects until there is a certificate.
#[track_caller]
fn wait_for_https(gateway: &Gateway, client: &TlsClient) -> TlsConnection {
    match poll_for(PATIENCE, || client.open(gateway.https()).ok()) {
        Some(connection) => connection,
        None => panic!("no certificate came"),
    }
}

#[track_caller]
fn check_served(mut connection: TlsConnection, host: &str) {
    let response = connection
        .send(&Request::get(host, "/"))
        .expect("an answer");
    assert_eq!((response.status, response.text()), (200, "shop".to_owned()));
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o777
}

/// Port 80 redirects everything to HTTPS but the ACME server's questions. A certificate that no Gateway names is
/// ordered as well.
#[test]
fn a_certificate_is_ordered_over_http_and_stored_for_the_owner_only() {
    let origin = Origin::named("shop");
    let redirecting = server(80, "http", "HTTP", &["*"], "httpsRedirect: true");
    let setup = ordering_shop(origin.port(), &redirecting);
    let pebble = Pebble::start(&options(&setup));
    let wanted = "credentials = { shop-cert = [\"shop.test\", \"www.shop.test\"], spare = [\"spare.test\"] }";
    let gateway = ordering(setup, &pebble, wanted).start();
    check_served(wait_for_https(&gateway, &pebble.client(SHOP)), SHOP);
    assert_eq!(gateway.get(SHOP, "/").status, 301);
    let storage = gateway.certificates().join("acme");
    eventually("the other one", || storage.join("spare/tls.crt").exists());
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 2));
    for file in ["account.json", "shop-cert/tls.key", "shop-cert/tls.crt"] {
        assert_eq!(mode(&storage.join(file)), 0o600, "{file}");
    }
    for folder in ["", "shop-cert", "spare"] {
        assert_eq!(mode(&storage.join(folder)), 0o700, "{folder:?}");
    }
    let orders = [("credential", "shop-cert"), ("result", "success")];
    let orders = gateway.metrics().sum("tidegate_acme_orders_total", &orders);
    assert!((orders - 1.0).abs() < 0.1, "{orders}");
}

#[test]
fn a_certificate_is_ordered_over_tls_where_nothing_listens_on_port_80() {
    let origin = Origin::named("shop");
    let setup = ordering_shop(origin.port(), "");
    let pebble = Pebble::start(&options(&setup));
    let more = format!("challenge = \"tls-alpn-01\"\n{FOR_SHOP}");
    let gateway = ordering(setup, &pebble, &more).start();
    check_served(wait_for_https(&gateway, &pebble.client(SHOP)), SHOP);
    assert_eq!(pebble.orders(), 1);
}

/// Promise 9: the other servers do not wait.
#[test]
fn until_the_first_certificate_comes_its_server_waits_and_the_rest_serves() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let tls = "mode: SIMPLE, credentialName: other-cert";
    let others = http_server() + &https_server("other", &["other.test"], tls);
    let setup = ordering_shop(origin.port(), &others)
        .file(
            "other.yaml",
            virtual_service("other", "other.test", TO_SHOP),
        )
        .certificate("other-cert", &authority.issue(&["other.test"]));
    let mut pebble = Pebble::stopped(&options(&setup));
    let gateway = ordering(setup, &pebble, FOR_SHOP).start();
    gateway.wait_for_log(&["no certificate could be obtained", "shop-cert", "shop.test"]);
    let other = TlsClient::new(&authority, "other.test");
    check_served(
        other.open(gateway.https()).expect("a handshake"),
        "other.test",
    );
    assert_eq!(gateway.get(SHOP, "/").status, 200);
    let waiting = TlsClient::new(&authority, SHOP);
    assert!(waiting.open(gateway.https()).is_err());
    pebble.run();
    check_served(wait_for_https(&gateway, &pebble.client(SHOP)), SHOP);
}

#[test]
fn a_restart_serves_the_stored_certificate_and_orders_none() {
    let origin = Origin::named("shop");
    let setup = ordering_shop(origin.port(), &http_server());
    let pebble = Pebble::start(&options(&setup));
    let mut gateway = ordering(setup, &pebble, FOR_SHOP).start();
    let client = pebble.client(SHOP);
    let first = wait_for_https(&gateway, &client).certificate();
    gateway.restart();
    assert_eq!(wait_for_https(&gateway, &client).certificate(), first);
    gateway.wait_for_log(&["a stored certificate is used", "shop-cert"]);
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 1));
}

/// Promises 6 and 8.
#[test]
fn a_renewal_under_traffic_fails_no_request() {
    let origin = Origin::named("shop");
    let setup = ordering_shop(origin.port(), &http_server());
    let pebble = Pebble::start(&options(&setup).valid_for(SHORT));
    let gateway = ordering(setup, &pebble, FOR_SHOP).start();
    let client = pebble.client(SHOP);
    let first = wait_for_https(&gateway, &client).certificate();
    let told = gateway.log().len();
    let load = |request: Request, connections: usize| {
        let (client, port) = (client.clone(), gateway.https());
        let dial = move || client.open(port);
        Load::dialling(dial, connections, &request, |response| {
            response.text() == "shop"
        })
    };
    let kept = load(Request::get(SHOP, "/kept"), 1);
    let new = load(Request::get(SHOP, "/new").header("Connection", "close"), 2);
    let renewed = poll_for(PATIENCE, || {
        let shown = client.open(gateway.https()).ok()?.certificate();
        (shown != first).then_some(())
    });
    // Until the first would have run out.
    std::thread::sleep(SHORT / 3);
    for (what, load) in [("kept", kept), ("new", new)] {
        let report = load.stop();
        assert_eq!(report.failed, 0, "{what}: {:?}", report.failures);
        // How many there are says how fast the machine is, and nothing about the renewal.
        assert!(report.served > 0, "{what}: {report:?}");
    }
    assert!(renewed.is_some(), "the certificate was not renewed");
    let log = gateway.log().split_off(told);
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn an_acme_server_that_fails_costs_a_stored_certificate_nothing() {
    let origin = Origin::named("shop");
    let setup = ordering_shop(origin.port(), &http_server());
    let mut pebble = Pebble::start(&options(&setup).valid_for(SHORT));
    let gateway = ordering(setup, &pebble, FOR_SHOP).start();
    let client = pebble.client(SHOP);
    let first = wait_for_https(&gateway, &client).certificate();
    pebble.stop();
    gateway.wait_for_log(&[
        "no certificate could be obtained",
        "cannot be reached",
        "[acme] directory",
    ]);
    let connection = client.open(gateway.https()).expect("a handshake");
    assert_eq!(connection.certificate(), first);
    check_served(connection, SHOP);
    pebble.run();
    check_served(wait_for_https(&gateway, &pebble.client(SHOP)), SHOP);
}

#[test]
fn a_port_80_that_nobody_opened_is_told_when_the_server_will_ask_there() {
    let origin = Origin::named("shop");
    let setup = ordering_shop(origin.port(), "");
    let pebble = Pebble::start(&options(&setup));
    let gateway = ordering(setup, &pebble, FOR_SHOP).start();
    gateway.wait_for_log(&["WARN", "port 80", SHOP]);
    gateway.wait_for_log(&[
        "ERROR",
        "could not validate shop.test with http-01",
        "advice",
    ]);
    assert_eq!(gateway.status("/healthz/ready").status, 200);
}
