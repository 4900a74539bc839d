//! Orders at a real pebble, answered by a small HTTP server of the test's own.

use crate::{
    ChallengeKind, CredentialName, DirectoryUrl, ExternalAccount, HostName, Names, Publish,
    Running, Settings, Wanted,
};
use certificates::Credential;
use e2e::{Pebble, PebbleOptions, Port, eventually};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use telemetry::Metrics;
use tempfile::TempDir;

/// A name that leads to a server which answers nothing.
const ELSEWHERE: &str = "elsewhere.test";

/// Answers HTTP-01 on a port of its own as long as the process lives.
#[derive(Clone)]
struct Responder {
    port: Arc<Port>,
    answers: Arc<Mutex<HashMap<String, String>>>,
}

impl Responder {
    fn start() -> Self {
        let responder = Self {
            port: Arc::new(Port::reserve()),
            answers: Arc::default(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, responder.port.number()));
        let (listener, answers) = (listener.unwrap(), Arc::clone(&responder.answers));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = respond(stream, &answers);
            }
        });
        responder
    }
}

fn respond(stream: TcpStream, answers: &Mutex<HashMap<String, String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let token = path.trim_start_matches("/.well-known/acme-challenge/");
    let answer = answers.lock().unwrap().get(token).cloned();
    let (status, body) = match answer {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", String::new()),
    };
    let length = body.len();
    write!(
        &stream,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

struct Guard {
    token: String,
    answers: Arc<Mutex<HashMap<String, String>>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.answers.lock().unwrap().remove(&self.token);
    }
}

impl Publish for Responder {
    type Guard = Guard;

    fn http01(&self, name: &str, token: &str, key_authorization: &str) -> Option<Guard> {
        if name != ELSEWHERE {
            let mut answers = self.answers.lock().unwrap();
            answers.insert(token.to_owned(), key_authorization.to_owned());
        }
        Some(Guard {
            token: token.to_owned(),
            answers: Arc::clone(&self.answers),
        })
    }

    fn tls_alpn01(&self, _: &str, _: &[u8]) -> Option<Guard> {
        None
    }
}

/// A storage folder, and what runs on it.
struct Client {
    folder: TempDir,
    responder: Responder,
    metrics: Arc<Metrics>,
    settings: Settings,
    running: Option<Running>,
}

impl Client {
    /// Not started yet, with `pebble` to be made from its port.
    fn new(responder: &Responder, pebble: &Pebble, wanted: &[(&str, &[&str])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: DirectoryUrl::try_from(pebble.directory()).unwrap(),
            ca_certificate: Some(pebble.authority_file()),
            contact: vec!["mailto:ops@example.com".into()],
            storage: folder.path().join("acme"),
            challenge: ChallengeKind::Http01,
            external_account: None,
            wanted: want(wanted),
        };
        Self {
            folder,
            responder: responder.clone(),
            metrics: Arc::new(Metrics::new("test")),
            settings,
            running: None,
        }
    }

    fn start(&mut self) {
        let (settings, metrics) = (self.settings.clone(), Arc::clone(&self.metrics));
        crate::prepare(&settings);
        let running = crate::start(settings, self.responder.clone(), metrics).unwrap();
        self.running = Some(running);
    }

    /// As a restart of the process with other settings does.
    fn restart(&mut self, wanted: &[(&str, &[&str])]) {
        self.running = None;
        self.settings.wanted = want(wanted);
        self.start();
    }

    fn path(&self, credential: &str) -> PathBuf {
        self.settings.storage.join(credential)
    }

    fn certificate(&self, credential: &str) -> Option<Credential> {
        let read = |file: &str| fs::read(self.path(credential).join(file)).ok();
        Credential::from_pem(&read("tls.crt")?, &read("tls.key")?).ok()
    }

    fn orders(&self, credential: &str, result: &'static str) -> u64 {
        self.metrics.own().acme_orders(credential, result).get()
    }

    #[track_caller]
    fn wait_for(&self, credential: &str, number: u64) {
        eventually(credential, || self.orders(credential, "success") >= number);
    }
}

fn want(wanted: &[(&str, &[&str])]) -> Vec<Wanted> {
    let host = |name: &&str| HostName::try_from((*name).to_owned()).unwrap();
    wanted
        .iter()
        .map(|(credential, names)| Wanted {
            credential: CredentialName::try_from((*credential).to_owned()).unwrap(),
            names: Names::try_from(names.iter().map(host).collect::<Vec<_>>()).unwrap(),
        })
        .collect()
}

fn options(responder: &Responder) -> PebbleOptions {
    PebbleOptions::new(responder.port.number(), 1)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_order_stores_a_certificate_for_all_names_for_its_owner_only() {
    let responder = Responder::start();
    let pebble = Pebble::start(&options(&responder));
    let mut client = Client::new(&responder, &pebble, &[("shop", &["b.test", "a.test"])]);
    client.start();
    client.wait_for("shop", 1);
    let mut credential = client.certificate("shop").unwrap();
    credential.names.sort();
    assert_eq!(credential.names, ["a.test", "b.test"]);
    assert!(credential.certified_key.cert.len() > 1, "intermediates");
    for path in ["account.json", "shop/tls.crt", "shop/tls.key"] {
        assert_eq!(mode(&client.settings.storage.join(path)), 0o600, "{path}");
    }
    assert_eq!(mode(&client.path("shop")), 0o700);
    let key = fs::read_to_string(client.path("shop").join("tls.key")).unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(
        responder.answers.lock().unwrap().is_empty(),
        "answers are taken back"
    );
}

#[test]
fn a_restart_orders_only_what_is_not_stored_and_uses_the_account_again() {
    let responder = Responder::start();
    let pebble = Pebble::start(&options(&responder));
    let mut client = Client::new(&responder, &pebble, &[("one", &["a.test"])]);
    client.start();
    client.wait_for("one", 1);
    let first = client.certificate("one").unwrap();
    // The second's order shows when the first would have been ordered, since it comes after it.
    client.restart(&[("one", &["A.test"]), ("two", &["b.test"])]);
    client.wait_for("two", 1);
    assert_eq!((pebble.orders(), pebble.accounts()), (2, 1));
    let kept = client.certificate("one").unwrap();
    assert_eq!(kept.certified_key.cert, first.certified_key.cert);
    // Other names are another certificate.
    client.restart(&[("one", &["a.test", "c.test"]), ("two", &["b.test"])]);
    client.wait_for("one", 2);
    assert_eq!((pebble.orders(), pebble.accounts()), (3, 1));
    assert_eq!(client.certificate("one").unwrap().names.len(), 2);
    // So is one from another server, such as that for trying things out.
    fs::write(
        client.path("one").join("directory"),
        "https://staging.test/",
    )
    .unwrap();
    client.restart(&[("one", &["a.test", "c.test"]), ("two", &["b.test"])]);
    client.wait_for("one", 3);
    assert_eq!((pebble.orders(), pebble.accounts()), (4, 1));
}

#[test]
fn a_name_that_leads_elsewhere_costs_itself_only() {
    let responder = Responder::start();
    let pebble = Pebble::start(&options(&responder));
    let wanted: [(&str, &[&str]); 2] = [("bad", &[ELSEWHERE]), ("good", &["a.test"])];
    let mut client = Client::new(&responder, &pebble, &wanted);
    client.start();
    client.wait_for("good", 1);
    assert_eq!(client.orders("bad", "failure"), 1, "it backs off");
    assert!(client.certificate("bad").is_none());
}

#[test]
fn a_server_that_forgot_the_account_gets_a_new_one() {
    let responder = Responder::start();
    let mut pebble = Pebble::start(&options(&responder));
    let mut client = Client::new(&responder, &pebble, &[("one", &["a.test"])]);
    client.start();
    client.wait_for("one", 1);
    pebble.stop();
    pebble.run();
    client.restart(&[("two", &["b.test"])]);
    client.wait_for("two", 1);
    assert_eq!(pebble.accounts(), 2);
}

#[test]
fn a_server_that_comes_later_is_found() {
    let responder = Responder::start();
    let mut pebble = Pebble::stopped(&options(&responder));
    let mut client = Client::new(&responder, &pebble, &[("one", &["a.test"])]);
    client.start();
    eventually("a failure", || client.orders("one", "failure") > 0);
    pebble.run();
    client.wait_for("one", 1);
}

#[test]
fn an_external_account_is_bound_where_the_server_requires_it() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let responder = Responder::start();
    let mut required = options(&responder);
    required.external_account = Some(("kid-1", KEY));
    let pebble = Pebble::start(&required);
    let mut client = Client::new(&responder, &pebble, &[("one", &["a.test"])]);
    client.start();
    eventually("a refusal", || client.orders("one", "failure") > 0);
    let key_file = client.folder.path().join("hmac");
    fs::write(&key_file, format!("{KEY}\n")).unwrap();
    client.settings.external_account = Some(ExternalAccount {
        key_id: "kid-1".into(),
        hmac_key_file: key_file,
    });
    client.restart(&[("one", &["a.test"])]);
    client.wait_for("one", 1);
}

#[test]
fn a_certificate_that_runs_out_is_renewed_with_a_fresh_key_before_it_does() {
    let responder = Responder::start();
    let pebble = Pebble::start(&options(&responder).valid_for(Duration::from_secs(9)));
    let mut client = Client::new(&responder, &pebble, &[("one", &["a.test"])]);
    client.start();
    client.wait_for("one", 1);
    let first = client.certificate("one").unwrap();
    let key = |client: &Client| fs::read(client.path("one").join("tls.key")).unwrap();
    let first_key = key(&client);
    client.wait_for("one", 2);
    let second = client.certificate("one").unwrap();
    assert!(second.not_before < first.not_after, "there is no gap");
    assert!(second.not_after > first.not_after);
    assert_ne!(key(&client), first_key);
    assert_eq!(client.orders("one", "failure"), 0);
}

#[test]
fn a_server_that_goes_away_costs_the_stored_certificate_nothing() {
    let responder = Responder::start();
    let mut pebble = Pebble::start(&options(&responder).valid_for(Duration::from_secs(9)));
    let mut client = Client::new(&responder, &pebble, &[("one", &["a.test"])]);
    client.start();
    client.wait_for("one", 1);
    let first = client.certificate("one").unwrap();
    pebble.stop();
    eventually("a failed renewal", || client.orders("one", "failure") > 0);
    let kept = client.certificate("one").unwrap();
    assert_eq!(kept.certified_key.cert, first.certified_key.cert);
    pebble.run();
    client.wait_for("one", 2);
}

#[test]
fn nothing_is_ordered_before_it_could_be_stored() {
    let responder = Responder::start();
    let pebble = Pebble::start(&options(&responder));
    let mut client = Client::new(&responder, &pebble, &[("one", &["a.test"])]);
    fs::create_dir_all(&client.settings.storage).unwrap();
    // Holds for root as well, whom permissions do not stop.
    fs::write(client.path("one"), "in the way").unwrap();
    client.start();
    eventually("a failure", || client.orders("one", "failure") > 0);
    assert_eq!((pebble.orders(), pebble.accounts()), (0, 0));
    fs::remove_file(client.path("one")).unwrap();
    client.wait_for("one", 1);
    assert_eq!((pebble.orders(), pebble.accounts()), (1, 1));
}

#[test]
fn no_account_is_made_before_it_could_be_stored() {
    let responder = Responder::start();
    let pebble = Pebble::start(&options(&responder));
    let mut client = Client::new(&responder, &pebble, &[("one", &["a.test"])]);
    // In the way of what is written there, but of nothing in the credential's own folder.
    let obstacles = [".probe.new", ".account.json.new"].map(|name| client.path(name));
    for obstacle in &obstacles {
        fs::create_dir_all(obstacle).unwrap();
    }
    client.start();
    eventually("a failure", || client.orders("one", "failure") > 0);
    assert_eq!(pebble.accounts(), 0);
    for obstacle in &obstacles {
        fs::remove_dir(obstacle).unwrap();
    }
    client.wait_for("one", 1);
    assert_eq!(pebble.accounts(), 1);
}

#[test]
fn a_certificate_that_cannot_be_stored_is_kept_and_not_ordered_again() {
    let responder = Responder::start();
    let pebble = Pebble::start(&options(&responder));
    let mut client = Client::new(&responder, &pebble, &[("one", &["a.test"])]);
    let obstacle = client.path("one").join("tls.crt");
    fs::create_dir_all(&obstacle).unwrap();
    client.start();
    eventually("a failure", || client.orders("one", "failure") > 0);
    assert_eq!(pebble.orders(), 1, "it was ordered");
    fs::remove_dir(&obstacle).unwrap();
    client.wait_for("one", 1);
    assert_eq!(client.certificate("one").unwrap().names, ["a.test"]);
    assert_eq!(pebble.orders(), 1, "the one that came was stored");
}
