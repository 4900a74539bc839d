//! Which of a port's servers a client reaches: by the name it asks for (SNI).

use crate::{SHOP, TO_SHOP, secure_shop, shop};
use e2e::{
    Authority, Certificate, Origin, Request, Setup, TlsClient, gateway_of, https_server, run,
    s_client,
};
use std::fs;

/// As many servers as the port must carry.
const MANY: usize = 1000;

/// A server with a certificate of its own for each of these hosts.
fn servers(authority: &Authority, endpoint: u16, hosts: &[&str]) -> (Setup, Vec<Certificate>) {
    let mut text = String::new();
    let mut setup = shop(TO_SHOP, &[("shop", &[endpoint])])
        .file("shop.yaml", e2e::virtual_service("shop", "*", TO_SHOP))
        .port(443);
    let mut certificates = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let credential = format!("cert-{number}");
        let tls = format!("mode: SIMPLE, credentialName: {credential}");
        text += &https_server(&format!("server-{number}"), &[host], &tls);
        let certificate = authority.issue(&[host]);
        setup = setup.certificate(&credential, &certificate);
        certificates.push(certificate);
    }
    (
        setup.file("gateway.yaml", gateway_of("edge", &text)),
        certificates,
    )
}

#[test]
fn case_does_not_matter() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let gateway = secure_shop(&authority, &[origin.port()]).start();
    for name in [SHOP, "SHOP.TEST", "Shop.Test"] {
        let served = s_client(gateway.https(), SHOP, &["-servername", name]);
        assert!(served.is_served(), "{name}: {}", served.output);
    }
}

#[test]
fn an_unknown_name_or_none_is_refused() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let gateway = secure_shop(&authority, &[origin.port()]).start();
    let cases = [&["-servername", "stranger.test"][..], &["-noservername"]];
    for arguments in cases {
        let refused = s_client(gateway.https(), SHOP, arguments);
        assert_eq!(refused.protocol, None, "{arguments:?}: {}", refused.output);
        assert!(
            !refused.output.contains("BEGIN CERTIFICATE"),
            "{arguments:?}"
        );
    }
    assert_eq!(origin.hits(), 0);
    let client = TlsClient::new(&authority, SHOP);
    assert!(client.open(gateway.https()).is_ok());
}

#[test]
fn the_server_of_every_host_takes_what_no_other_does() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let (setup, _) = servers(&authority, origin.port(), &["*", SHOP]);
    let gateway = setup.start();
    for arguments in [&["-servername", "stranger.test"][..], &["-noservername"]] {
        let served = s_client(gateway.https(), "stranger.test", arguments);
        assert!(served.is_served(), "{arguments:?}: {}", served.output);
        assert!(served.output.contains("CN = *"), "{}", served.output);
    }
    let served = s_client(gateway.https(), SHOP, &["-servername", SHOP]);
    assert!(
        served.is_served() && served.output.contains("CN = shop.test"),
        "{}",
        served.output
    );
}

#[test]
fn exact_names_come_before_wildcards_and_longer_ones_before_shorter() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let hosts = ["*.net.test", "*.shop.net.test", "a.shop.net.test"];
    let (setup, certificates) = servers(&authority, origin.port(), &hosts);
    let gateway = setup.start();
    let cases = [
        ("x.net.test", 0),
        ("b.shop.net.test", 1),
        ("a.shop.net.test", 2),
    ];
    for (name, index) in cases {
        let client = TlsClient::new(&authority, name);
        let mut connection = client.open(gateway.https()).expect("a handshake");
        assert!(connection.is_of(&certificates[index]), "{name}");
        let response = connection.send(&Request::get(name, "/"));
        assert_eq!(response.expect("an answer").text(), "shop", "{name}");
    }
}

/// A Gateway's `*.shop.test` takes every depth, a certificate's only one label.
#[test]
fn a_wildcard_certificate_is_for_one_label() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let (setup, _) = servers(&authority, origin.port(), &["*.shop.test"]);
    let gateway = setup.start();
    let trusted = gateway.folder().join("ca.pem");
    fs::write(&trusted, authority.pem()).expect("the folder can be written");
    let to = format!("::127.0.0.1:{}", gateway.https());
    let curl = |url: &str, trust: &[&str]| {
        let common = ["--silent", "--max-time", "20", "--connect-to", &to, url];
        run("curl", &[&common[..], trust].concat())
    };
    let trust = ["--cacert", &trusted.to_string_lossy()];
    let shallow = curl("https://a.shop.test/", &trust);
    assert_eq!((shallow.code, shallow.stdout.as_str()), (0, "shop"));
    // curl's code for a certificate that is not the server's.
    assert_eq!(curl("https://a.b.shop.test/", &trust).code, 60);
    assert_eq!(
        curl("https://a.b.shop.test/", &["--insecure"]).stdout,
        "shop"
    );
    // The wildcard does not cover the name below it.
    assert_ne!(curl("https://shop.test/", &["--insecure"]).code, 0);
}

#[test]
fn a_thousand_servers_share_a_port_each_with_its_own_certificate() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let names: Vec<String> = (0..MANY).map(|number| format!("h{number}.test")).collect();
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let (setup, certificates) = servers(&authority, origin.port(), &hosts);
    let gateway = setup.start();
    for (index, (name, certificate)) in names.iter().zip(&certificates).enumerate() {
        let client = TlsClient::new(&authority, name);
        let mut connection = client.open(gateway.https()).expect("a handshake");
        assert!(connection.is_of(certificate), "{name}");
        if index % 100 == 0 {
            let response = connection.send(&Request::get(name, "/"));
            assert_eq!(response.expect("an answer").text(), "shop", "{name}");
        }
    }
}
