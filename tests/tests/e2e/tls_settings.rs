//! What a server's `tls` says of versions, cipher suites and kinds of key.

use crate::{SHOP, secure_shop};
use e2e::{
    Authority, Gateway, Origin, Setup, gateway_of, https_server, run, run_gateway, s_client,
};

/// An old client: OpenSSL's own limits lifted.
const ANYTHING: [&str; 2] = ["-cipher", "ALL:@SECLEVEL=0"];

fn with_tls(origin: &Origin, settings: &str) -> Setup {
    let authority = Authority::new("ca");
    let tls = format!("mode: SIMPLE, credentialName: shop-cert, {settings}");
    let text = gateway_of("edge", &https_server("https", &[SHOP], &tls));
    secure_shop(&authority, &[origin.port()]).file("gateway.yaml", text)
}

/// The protocol of a handshake that ends in an answer.
#[track_caller]
fn agreed(gateway: &Gateway, arguments: &[&str]) -> Option<String> {
    let arguments = [&["-servername", SHOP], arguments].concat();
    let handshake = s_client(gateway.https(), SHOP, &arguments);
    assert_eq!(
        handshake.protocol.is_some(),
        handshake.is_served(),
        "{}",
        handshake.output
    );
    handshake.protocol
}

#[test]
fn versions_are_1_2_and_1_3_unless_said_otherwise() {
    let origin = Origin::named("shop");
    let cases = [
        (
            "",
            [None, Some("TLSv1.2"), Some("TLSv1.3"), Some("TLSv1.3")],
        ),
        (
            "minProtocolVersion: TLSV1_3",
            [None, None, Some("TLSv1.3"), Some("TLSv1.3")],
        ),
        (
            "maxProtocolVersion: TLSV1_2",
            [None, Some("TLSv1.2"), None, Some("TLSv1.2")],
        ),
    ];
    for (settings, [with_1_1, with_1_2, with_1_3, with_any]) in cases {
        let gateway = with_tls(&origin, settings).start();
        let old = [&ANYTHING[..], &["-tls1_1"]].concat();
        assert_eq!(
            agreed(&gateway, &old).as_deref(),
            with_1_1,
            "{settings} 1.1"
        );
        assert_eq!(
            agreed(&gateway, &["-tls1_2"]).as_deref(),
            with_1_2,
            "{settings} 1.2"
        );
        assert_eq!(
            agreed(&gateway, &["-tls1_3"]).as_deref(),
            with_1_3,
            "{settings} 1.3"
        );
        assert_eq!(agreed(&gateway, &[]).as_deref(), with_any, "{settings} any");
    }
}

#[test]
fn cipher_suites_of_tls_1_2_can_be_chosen() {
    let origin = Origin::named("shop");
    let only = "cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384]";
    let gateway = with_tls(&origin, only).start();
    let handshake = |arguments: &[&str]| {
        let arguments = [&["-servername", SHOP], arguments].concat();
        s_client(gateway.https(), SHOP, &arguments)
    };
    let served = handshake(&["-tls1_2"]);
    assert_eq!(
        served.cipher, "ECDHE-ECDSA-AES256-GCM-SHA384",
        "{}",
        served.output
    );
    let refused = handshake(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]);
    assert_eq!(refused.protocol, None, "{}", refused.output);
    // Those of TLS 1.3 are not chosen here, as in Istio.
    assert!(handshake(&["-tls1_3"]).is_served());
}

/// They are told, and the others stay.
#[test]
fn an_unknown_cipher_suite_is_a_warning() {
    let origin = Origin::named("shop");
    let both = "cipherSuites: [ROT13, ECDHE-ECDSA-AES128-GCM-SHA256]";
    let gateway = with_tls(&origin, both).start();
    assert_eq!(agreed(&gateway, &["-tls1_2"]).as_deref(), Some("TLSv1.2"));
    let check = run_gateway(gateway.folder(), &["check", "--config", "gateway.toml"]);
    assert_eq!(check.code, 0, "{}", check.stdout);
    for word in ["ROT13", "spec.servers[0].tls.cipherSuites", "default/edge"] {
        assert!(
            check.stdout.contains(word),
            "{word} is not in {}",
            check.stdout
        );
    }
}

/// A self-signed one: nothing here makes RSA keys but OpenSSL.
fn with_rsa_certificate(setup: Setup, name: &str) -> Setup {
    let folder = setup.certificates().join(name);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let [key, certificate] =
        ["tls.key", "tls.crt"].map(|file| folder.join(file).to_string_lossy().into_owned());
    // OpenSSL writes the key so that only its owner can read it.
    let made = run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=shop.test",
            "-addext",
            "subjectAltName=DNS:shop.test",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ],
    );
    assert_eq!(made.code, 0, "{}", made.stderr);
    setup
}

#[test]
fn a_server_may_have_an_rsa_and_an_ecdsa_certificate() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let tls = "mode: SIMPLE, credentialNames: [rsa-cert, shop-cert]";
    let setup = secure_shop(&authority, &[origin.port()]).file(
        "gateway.yaml",
        gateway_of("edge", &https_server("https", &[SHOP], tls)),
    );
    let gateway = with_rsa_certificate(setup, "rsa-cert").start();
    for (accepted, signature) in [
        ("RSA-PSS+SHA256", "Peer signature type: RSA-PSS"),
        ("ECDSA+SHA256", "Peer signature type: ECDSA"),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let arguments = ["-servername", SHOP, "-sigalgs", accepted, version];
            let served = s_client(gateway.https(), SHOP, &arguments);
            assert!(
                served.is_served(),
                "{accepted} {version}: {}",
                served.output
            );
            assert!(
                served.output.contains(signature),
                "{version}: {}",
                served.output
            );
        }
    }
}
