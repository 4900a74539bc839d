//! Certificates that change, break and come back, while connections are opened all the time.

use crate::{SHOP, TO_SHOP, secure_shop};
use e2e::{
    Authority, Certificate, Gateway, Load, Origin, Request, Setup, TlsClient, gateway_of,
    https_server, poll_for, put_secret, run_gateway, secret,
};
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the long test lasts: `CERTIFICATE_SECONDS`, half a minute by default, five seconds at least.
fn seconds() -> u64 {
    let wanted = env::var("CERTIFICATE_SECONDS").ok();
    let wanted = wanted.and_then(|text| text.parse().ok());
    wanted.unwrap_or(30).max(5)
}

/// Ways in which people and tools replace a certificate. Its two files never change at the same moment.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Each written beside and renamed.
    Renamed,
    /// Emptied and written, as `cp` does.
    InPlace,
    /// A link to a folder, replaced, as the kubelet mounts Secrets.
    Linked,
}

impl Way {
    fn put(self, certificate: &Certificate, folder: &Path) {
        match self {
            Self::Renamed => certificate.put(folder),
            Self::InPlace => {
                fs::write(folder.join("tls.crt"), &certificate.chain).expect("the file is written");
                fs::write(folder.join("tls.key"), &certificate.key).expect("the file is written");
            }
            Self::Linked => link(certificate, folder),
        }
    }
}

/// `tls.crt` and `tls.key` lead through `..data` to a folder of this certificate.
fn link(certificate: &Certificate, folder: &Path) {
    let data = format!("..{}", certificate.serial);
    certificate.put(&folder.join(&data));
    let beside = folder.join("..data.new");
    symlink(&data, &beside).expect("the link is made");
    fs::rename(&beside, folder.join("..data")).expect("the link is renamed");
}

/// The time until the next handshakes are made with this certificate.
fn served_after(
    gateway: &Gateway,
    client: &TlsClient,
    certificate: &Certificate,
) -> Option<Duration> {
    let changed = Instant::now();
    let served = poll_for(Duration::from_secs(10), || {
        let connection = client.open(gateway.https()).expect("a handshake");
        connection.is_of(certificate).then_some(())
    });
    served.map(|()| changed.elapsed())
}

/// Promises 6 and 8: half a minute of new and of kept connections, a new certificate and key each second.
#[track_caller]
fn swap_under_load(way: Way, seconds: u64) {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let setup = secure_shop(&authority, &[origin.port()]);
    let folder = setup.certificates().join("shop-cert");
    if matches!(way, Way::Linked) {
        for file in ["tls.crt", "tls.key"] {
            fs::remove_file(folder.join(file)).expect("the file is there");
            symlink(format!("..data/{file}"), folder.join(file)).expect("the link is made");
        }
        link(&authority.issue(&[SHOP]), &folder);
    }
    let gateway = setup.start();
    let client = TlsClient::new(&authority, SHOP);
    let load = |request: Request, connections: usize| {
        let (client, port) = (client.clone(), gateway.https());
        let dial = move || client.open(port);
        Load::dialling(dial, connections, &request, |response| {
            response.text() == "shop"
        })
    };
    let kept = load(Request::get(SHOP, "/kept"), 2);
    let new = load(Request::get(SHOP, "/new").header("Connection", "close"), 4);
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    for round in 0..seconds {
        let certificate = authority.issue(&[SHOP]);
        way.put(&certificate, &folder);
        let Some(after) = served_after(&gateway, &client, &certificate) else {
            panic!("{way:?}: round {round} is not served");
        };
        slowest = slowest.max(after);
        std::thread::sleep(Duration::from_secs(round + 1).saturating_sub(started.elapsed()));
    }
    for (what, load) in [("kept", kept), ("new", new)] {
        let report = load.stop();
        assert_eq!(report.failed, 0, "{way:?} {what}: {:?}", report.failures);
        assert!(
            report.served > 10 * usize::try_from(seconds).unwrap_or(1),
            "{what}: {report:?}"
        );
    }
    // Seeing a change, waiting for the other file, reading: well below a second, on a busy machine.
    assert!(slowest < Duration::from_secs(5), "{way:?}: {slowest:?}");
}

#[test]
fn a_certificate_swapped_every_second_fails_no_handshake() {
    swap_under_load(Way::Renamed, seconds());
}

#[test]
fn a_certificate_written_in_place_fails_no_handshake() {
    swap_under_load(Way::InPlace, seconds().min(5));
}

#[test]
fn a_certificate_behind_links_fails_no_handshake() {
    swap_under_load(Way::Linked, seconds().min(5));
}

/// `shop.test` with a certificate at paths beside the bootstrap file, and `other.test` from the folder.
fn two_shops(authority: &Authority, endpoint: u16) -> Setup {
    let of_files = "mode: SIMPLE, serverCertificate: own/tls.crt, privateKey: own/tls.key";
    let servers = https_server("https", &[SHOP], of_files)
        + &https_server(
            "other",
            &["other.test"],
            "mode: SIMPLE, credentialName: other",
        );
    let other = e2e::virtual_service("other", "other.test", TO_SHOP);
    let setup = secure_shop(authority, &[endpoint])
        .file("gateway.yaml", gateway_of("edge", &servers))
        .file("other.yaml", other)
        .certificate("other", &authority.issue(&["other.test"]));
    authority.issue(&[SHOP]).put(&setup.folder().join("own"));
    setup
}

/// Puts something bad in place of a certificate: it is reported with its object, field and line, the last good
/// one stays, the other server is not touched, and a good one mends it.
#[track_caller]
fn is_reported_and_the_last_good_stays(words: &[&str], spoil: impl FnOnce(&Authority, &Path)) {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let gateway = two_shops(&authority, origin.port()).start();
    let client = TlsClient::new(&authority, SHOP);
    let other = TlsClient::new(&authority, "other.test");
    let good = client
        .open(gateway.https())
        .expect("a handshake")
        .certificate();
    let folder = gateway.folder().join("own");
    spoil(&authority, &folder);
    let object = ["default/edge", "spec.servers[0].tls", "gateway.yaml:"];
    gateway.wait_for_log(&[&object, words].concat());
    for _ in 0..10 {
        let connection = client.open(gateway.https()).expect("a handshake");
        assert_eq!(connection.certificate(), good, "another is served");
        assert!(other.open(gateway.https()).is_ok());
    }
    let check = run_gateway(gateway.folder(), &["check", "--config", "gateway.toml"]);
    for word in object.iter().chain(words) {
        assert!(
            check.stdout.contains(word),
            "{word} is not in {}",
            check.stdout
        );
    }
    // What is missing may come yet.
    let code = i32::from(!words.contains(&"missing"));
    assert_eq!(check.code, code, "{}", check.stdout);
    let mended = authority.issue(&[SHOP]);
    mended.put(&folder);
    assert!(
        served_after(&gateway, &client, &mended).is_some(),
        "not mended"
    );
}

#[test]
fn a_broken_certificate() {
    is_reported_and_the_last_good_stays(&["own/tls.crt"], |_, folder| {
        put_secret(&folder.join("tls.crt"), "this is no certificate\n");
    });
}

#[test]
fn an_expired_certificate() {
    is_reported_and_the_last_good_stays(&["own/tls.crt", "expired"], |authority, folder| {
        authority.issue_expired(&[SHOP]).put(folder);
    });
}

#[test]
fn a_key_of_another_certificate() {
    is_reported_and_the_last_good_stays(&["own/tls.crt", "key"], |authority, folder| {
        put_secret(&folder.join("tls.key"), &authority.issue(&[SHOP]).key);
    });
}

#[test]
fn a_certificate_that_is_gone() {
    is_reported_and_the_last_good_stays(&["own/tls.crt", "missing"], |_, folder| {
        fs::remove_file(folder.join("tls.crt")).expect("the file is there");
    });
}

#[test]
fn a_key_that_others_can_read() {
    is_reported_and_the_last_good_stays(&["own/tls.key"], |authority, folder| {
        let key = folder.join("tls.key");
        let next = authority.issue(&[SHOP]);
        put_secret(&key, &next.key);
        fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("the file is there");
        put_secret(&folder.join("tls.crt"), &next.chain);
    });
}

/// Some tools cannot write it otherwise.
#[test]
fn a_key_that_others_can_read_may_be_allowed() {
    let authority = Authority::new("ca");
    let setup = secure_shop(&authority, &[]).tls("allow-readable-keys", "true");
    let key = setup.certificates().join("shop-cert/tls.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("the file is there");
    let gateway = setup.start();
    let client = TlsClient::new(&authority, SHOP);
    assert!(client.open(gateway.https()).is_ok());
}

/// A Secret that is broken is reported by its own name.
#[test]
fn a_broken_secret_leaves_the_last_good_in_force() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let certificate = authority.issue(&[SHOP]);
    let of = |key: &str| {
        let data = [("tls.crt", &*certificate.chain), ("tls.key", key)];
        secret("from-secret", "kubernetes.io/tls", &data)
    };
    let server = https_server(
        "https",
        &[SHOP],
        "mode: SIMPLE, credentialName: from-secret",
    );
    let gateway = secure_shop(&authority, &[origin.port()])
        .file("gateway.yaml", gateway_of("edge", &server))
        .file("secret.yaml", of(&certificate.key))
        .start();
    let client = TlsClient::new(&authority, SHOP);
    assert!(client.open(gateway.https()).is_ok());
    gateway.write("secret.yaml", of(&authority.issue(&[SHOP]).key));
    gateway.wait_for_log(&["istio-system/from-secret"]);
    for _ in 0..5 {
        assert!(
            client
                .open(gateway.https())
                .expect("a handshake")
                .is_of(&certificate)
        );
    }
    let next = authority.issue(&[SHOP]);
    let data = [("tls.crt", &*next.chain), ("tls.key", &*next.key)];
    gateway.write(
        "secret.yaml",
        secret("from-secret", "kubernetes.io/tls", &data),
    );
    assert!(
        served_after(&gateway, &client, &next).is_some(),
        "not mended"
    );
}

/// Promise 7: a change of a certificate has its receipt as well.
#[test]
fn a_new_certificate_has_a_receipt() {
    let origin = Origin::named("shop");
    let authority = Authority::new("ca");
    let gateway = secure_shop(&authority, &[origin.port()]).start();
    let client = TlsClient::new(&authority, SHOP);
    let next = authority.issue(&[SHOP]);
    next.put(&gateway.certificates().join("shop-cert"));
    assert!(
        served_after(&gateway, &client, &next).is_some(),
        "not served"
    );
    let receipts = gateway.admin_json("/receipts").to_string();
    assert!(receipts.contains("shop-cert"), "{receipts}");
}
