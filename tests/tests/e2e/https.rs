//! HTTPS as users of a browser or of curl meet it.

use crate::{SHOP, TO_SHOP, secure_shop, shop};
use e2e::{
    Authority, Certificate, Gateway, Httpbin, Origin, Ran, Request, Setup, TlsClient, eventually,
    gateway_of, https_server, run, secret, seed, server, service,
};
use std::fs;
use std::path::Path;

const HTTPBIN: &str = "httpbin.example.com";

/// Where the example of Istio's page has its certificate, below `/etc`.
const OF_THE_PAGE: &str = "istio/ingressgateway-certs";

/// What curl is told in every test: whom to trust, and that all names lead to the gateway.
#[track_caller]
fn curl(gateway: &Gateway, authority: &Authority, arguments: &[&str]) -> Ran {
    let trusted = gateway.folder().join("ca.pem");
    fs::write(&trusted, authority.pem()).expect("the folder can be written");
    let trusted = trusted.to_string_lossy();
    let http = format!(":80:127.0.0.1:{}", gateway.http());
    let https = format!(":443:127.0.0.1:{}", gateway.https());
    let common = [
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--cacert",
        &trusted,
        "--connect-to",
        &http,
        "--connect-to",
        &https,
    ];
    run("curl", &[&common, arguments].concat())
}

/// The body, which must come.
#[track_caller]
fn fetch(gateway: &Gateway, authority: &Authority, arguments: &[&str]) -> String {
    let ran = curl(gateway, authority, arguments);
    assert_eq!(ran.code, 0, "curl {arguments:?}: {}", ran.stderr);
    ran.stdout
}

/// The example as written, where the gateway can be given an `/etc` of its own; else only its paths differ.
fn with_the_page_s_paths(certificate: &Certificate) -> Setup {
    let setup = Setup::new().port(443);
    let text = seed("11-gateway-tls.yaml");
    if run("unshare", &["--map-root-user", "--mount", "true"]).code == 0 {
        let etc = setup.folder().join("etc");
        certificate.put(&etc.join(OF_THE_PAGE));
        // What else the gateway reads there.
        fs::create_dir_all(etc.join("ssl/certs")).expect("the folder can be made");
        for file in ["resolv.conf", "ssl/certs/ca-certificates.crt"] {
            let there = Path::new("/etc").join(file);
            fs::copy(there, etc.join(file)).expect("the file is there");
        }
        return setup.file("gateway.yaml", text);
    }
    let folder = setup.folder().join("files");
    certificate.put(&folder.join(OF_THE_PAGE));
    let there = format!("{}/", folder.display());
    setup.file("gateway.yaml", text.replace("/etc/", &there))
}

#[test]
fn the_page_s_gateway_serves_https_from_the_paths_it_names() {
    let httpbin = Httpbin::start();
    let authority = Authority::new("the page's");
    let gateway = with_the_page_s_paths(&authority.issue(&[HTTPBIN]))
        .file("httpbin.yaml", seed("10-virtualservice-httpbin.yaml"))
        .file("service.yaml", service("httpbin", 8000, &[httpbin.port()]))
        .start();
    let status = |url: &str| {
        let ran = curl(
            &gateway,
            &authority,
            &["-o", "/dev/null", "-w", "%{http_code}", url],
        );
        (ran.code, ran.stdout)
    };
    assert_eq!(
        status("https://httpbin.example.com/status/418"),
        (0, "418".into())
    );
    assert_eq!(
        status("https://httpbin.example.com/headers"),
        (0, "404".into())
    );
    assert_eq!(
        status("http://httpbin.example.com/status/418"),
        (0, "418".into())
    );
    // Nobody else is served, and nobody sees a certificate of another.
    assert_eq!(status("https://other.example.com/status/418").1, "000");
    let resolve = format!("{HTTPBIN}:{}:127.0.0.1", gateway.https());
    let url = format!("https://{HTTPBIN}:{}/delay/1?a=b", gateway.https());
    let answer = fetch(&gateway, &authority, &["--resolve", &resolve, &url]);
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("httpbin answers JSON");
    assert_eq!(answer["args"]["a"], "b");
    // What httpbin makes of `Host` and `X-Forwarded-Proto`.
    let seen = answer["url"].as_str().unwrap_or_default();
    assert!(seen.starts_with("https://httpbin.example.com"), "{answer}");
}

#[test]
fn clients_get_http_2_or_1_as_they_ask() {
    let origin = Origin::echo();
    let authority = Authority::new("ca");
    let gateway = secure_shop(&authority, &[origin.port()]).start();
    let cases = [("--http2", "2"), ("--http1.1", "1.1"), ("--no-alpn", "1.1")];
    for (option, version) in cases {
        let arguments = [
            option,
            "-o",
            "/dev/null",
            "-w",
            "%{http_version}",
            "https://shop.test/",
        ];
        assert_eq!(fetch(&gateway, &authority, &arguments), version, "{option}");
        let seen = origin.last_request();
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"), "{option}");
    }
    let client = TlsClient::new(&authority, SHOP);
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let connection = client.clone().alpn(offered).open(gateway.https());
        let agreement = connection.expect("a handshake").protocol();
        assert_eq!(agreement.as_deref(), agreed, "{offered:?}");
    }
}

#[test]
fn a_connection_is_kept_and_large_bodies_go_both_ways() {
    let origin = Origin::echo();
    let authority = Authority::new("ca");
    let gateway = secure_shop(&authority, &[origin.port()]).start();
    let client = TlsClient::new(&authority, SHOP);
    let mut connection = client.open(gateway.https()).expect("a handshake");
    let body = "x".repeat(3 << 20);
    for round in 0..5 {
        let request = Request::post(SHOP, &format!("/{round}"), body.clone());
        let response = connection.send(&request).expect("an answer");
        assert_eq!(response.status, 200);
        assert!(response.body.len() > body.len(), "{}", response.body.len());
    }
    for version in ["--http1.1", "--http2"] {
        let file = gateway.folder().join("body");
        fs::write(&file, &body).expect("the folder can be written");
        let upload = format!("@{}", file.display());
        let arguments = [version, "--data-binary", &upload, "https://shop.test/up"];
        let answer = fetch(&gateway, &authority, &arguments);
        assert!(answer.len() > body.len(), "{version}: {}", answer.len());
    }
}

/// Both of Kubernetes' own kind and of the generic one with Istio's keys.
#[test]
fn a_certificate_may_come_from_a_secret() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let [ours, theirs] =
        ["tls.shop.test", "generic.shop.test"].map(|name| authority.issue(&[name]));
    let kubernetes = [("tls.crt", &*ours.chain), ("tls.key", &*ours.key)];
    let generic = [("cert", &*theirs.chain), ("key", &*theirs.key)];
    let servers = https_server(
        "one",
        &["tls.shop.test"],
        "mode: SIMPLE, credentialName: one",
    ) + &https_server(
        "two",
        &["generic.shop.test"],
        "mode: SIMPLE, credentialName: two",
    );
    let rules = e2e::virtual_service("shop", "*.shop.test", TO_SHOP);
    let gateway = shop(TO_SHOP, &[("shop", &[origin.port()])])
        .file("shop.yaml", rules)
        .file("gateway.yaml", gateway_of("edge", &servers))
        .file("one.yaml", secret("one", "kubernetes.io/tls", &kubernetes))
        .file("two.yaml", secret("two", "Opaque", &generic))
        .port(443)
        .start();
    for (name, certificate) in [("tls.shop.test", &ours), ("generic.shop.test", &theirs)] {
        let client = TlsClient::new(&authority, name);
        let mut connection = client.open(gateway.https()).expect("a handshake");
        assert!(connection.is_of(certificate), "{name}");
        let response = connection
            .send(&Request::get(name, "/"))
            .expect("an answer");
        assert_eq!(response.text(), "shop");
    }
    // The Secret is what counts, not the folder that has the same name.
    let decoy = authority.issue(&["tls.shop.test"]);
    decoy.put(&gateway.certificates().join("one"));
    let connection = TlsClient::new(&authority, "tls.shop.test").open(gateway.https());
    assert!(connection.expect("a handshake").is_of(&ours));
    // Keys are nobody's business.
    let dump = gateway.admin("GET", "/config_dump").text() + &gateway.log();
    for certificate in [&ours, &theirs] {
        let line = certificate.key.lines().nth(1).expect("a line of the key");
        assert!(!dump.contains(line), "a key is shown");
    }
}

#[test]
fn http_is_redirected_to_the_https_server_beside_it() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let redirecting = server(80, "http", "HTTP", &[SHOP], "httpsRedirect: true");
    let secure = https_server("https", &[SHOP], "mode: SIMPLE, credentialName: shop-cert");
    let gateway = secure_shop(&authority, &[origin.port()])
        .file("gateway.yaml", gateway_of("edge", &(redirecting + &secure)))
        .start();
    let arguments = ["--location", "-w", " %{num_redirects} %{url_effective}"];
    let arguments = [&arguments[..], &["http://shop.test/a?b=c"]].concat();
    let found = fetch(&gateway, &authority, &arguments);
    assert_eq!(found, "shop 1 https://shop.test/a?b=c");
    assert_eq!(origin.hits(), 1);
}

/// Two servers of one port: `a.test` with `also-a.test`, and `b.test`.
fn two_servers(authority: &Authority, endpoint: u16) -> Setup {
    let servers = https_server(
        "a",
        &["a.test", "also-a.test"],
        "mode: SIMPLE, credentialName: all",
    ) + &https_server("b", &["b.test"], "mode: SIMPLE, credentialName: all");
    let all = ["a.test", "also-a.test", "b.test"];
    let rules = e2e::virtual_service("shop", "*.test", TO_SHOP);
    shop(TO_SHOP, &[("shop", &[endpoint])])
        .file("shop.yaml", rules)
        .file("gateway.yaml", gateway_of("edge", &servers))
        .port(443)
        .certificate("all", &authority.issue(&all))
}

/// Promise 13.
#[test]
fn a_host_that_the_sni_s_server_does_not_serve_gets_421() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let gateway = two_servers(&authority, origin.port()).start();
    let client = TlsClient::new(&authority, "a.test");
    let mut connection = client.open(gateway.https()).expect("a handshake");
    let cases = [
        ("a.test", 200),
        ("A.Test:443", 200),
        ("also-a.test", 200),
        ("b.test", 421),
        ("stranger.test", 421),
        ("a.test", 200),
    ];
    for (host, status) in cases {
        let response = connection.send(&Request::get(host, &format!("/{host}")));
        assert_eq!(response.expect("an answer").status, status, "{host}");
    }
    let record = gateway.logged("/b.test");
    assert_eq!(record["requested_server_name"], "a.test", "{record}");
    let reason = record["reason"].as_str().unwrap_or_default();
    assert!(!reason.is_empty(), "{record}");
    // As browsers do when a certificate covers both names.
    let arguments = [
        "--http2",
        "-o",
        "/dev/null",
        "-w",
        "%{http_version} %{http_code}",
        "-H",
        "Host: b.test",
        "https://a.test/",
    ];
    assert_eq!(fetch(&gateway, &authority, &arguments), "2 421");
}

/// For those who rely on it.
#[test]
fn istio_s_404_can_be_had_instead() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let gateway = two_servers(&authority, origin.port())
        .tls("misdirected-status", "404")
        .start();
    let client = TlsClient::new(&authority, "a.test");
    let mut connection = client.open(gateway.https()).expect("a handshake");
    for (host, status) in [("b.test", 404), ("stranger.test", 404), ("a.test", 200)] {
        let response = connection.send(&Request::get(host, "/"));
        assert_eq!(response.expect("an answer").status, status, "{host}");
    }
}

/// A host of the server that no rule is for is missing, and not misdirected.
#[test]
fn a_host_of_the_server_without_a_rule_gets_404() {
    let authority = Authority::new("ca");
    let rules = e2e::virtual_service("shop", "also-a.test", TO_SHOP);
    let gateway = two_servers(&authority, 1).file("shop.yaml", rules).start();
    let client = TlsClient::new(&authority, "a.test");
    let mut connection = client.open(gateway.https()).expect("a handshake");
    let response = connection.send(&Request::get("a.test", "/"));
    assert_eq!(response.expect("an answer").status, 404);
}

/// Promise 9.
#[test]
fn a_missing_certificate_hurts_no_other_server_and_is_served_once_it_is_there() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let servers = server(80, "http", "HTTP", &["*"], "")
        + &https_server(
            "late",
            &["late.test"],
            "mode: SIMPLE, credentialName: late-cert",
        )
        + &https_server("https", &[SHOP], "mode: SIMPLE, credentialName: shop-cert");
    let both = TO_SHOP.to_owned();
    let gateway = secure_shop(&authority, &[origin.port()])
        .file("gateway.yaml", gateway_of("edge", &servers))
        .file(
            "late.yaml",
            e2e::virtual_service("late", "late.test", &both),
        )
        .start();
    assert_eq!(gateway.get(SHOP, "/").text(), "shop");
    let open = |name: &str| TlsClient::new(&authority, name).open(gateway.https());
    assert!(open(SHOP).is_ok());
    assert!(open("late.test").is_err());
    gateway.wait_for_log(&["late-cert", "default/edge"]);
    let certificate = authority.issue(&["late.test"]);
    certificate.put(&gateway.certificates().join("late-cert"));
    eventually("the certificate is served", || {
        open("late.test").is_ok_and(|connection| connection.is_of(&certificate))
    });
    let response = open("late.test")
        .and_then(|mut connection| connection.send(&Request::get("late.test", "/")));
    assert_eq!(response.expect("an answer").text(), "shop");
}

#[test]
fn the_access_log_names_the_server_that_was_asked_for() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let gateway = secure_shop(&authority, &[origin.port()]).start();
    fetch(&gateway, &authority, &["https://shop.test/logged"]);
    let record = gateway.logged("/logged");
    assert_eq!(record["requested_server_name"], SHOP, "{record}");
    assert_eq!(record["response_code"], 200, "{record}");
}
