//! Against a Workload API of our own, over sockets.

mod server;

use crate::runner::start_with;
use crate::timing::Timing;
use crate::workload_api::{Svid, SvidResponse};
use crate::{Endpoint, Settings};
use certificates::{Credential, SpiffeId};
use config::{
    Configuration, CredentialSettings, Followers, Identity, IdentitySource, IssuedIdentity,
    Message, Published, Running,
};
use model::Defaults;
use rcgen::{CertificateParams, KeyPair, SanType};
use rules::{CompileOptions, CredentialRef};
use server::{Server, Visit};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};

const PATIENCE: Duration = Duration::from_secs(10);

const A: &str = "spiffe://td.test/ns/a/sa/a";
const B: &str = "spiffe://td.test/ns/b/sa/b";

/// Pauses that nobody notices.
const QUICK: Timing = Timing {
    patience: PATIENCE,
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(4),
    hopeless_pause: Duration::from_secs(3600),
};

/// What a server does wrong.
type Break = fn(&mut Visit);

/// Who follows, and what it tells.
struct Followed {
    receiver: Receiver<Message>,
    /// Who sends as well does not keep the queue open.
    _sender: Sender<Message>,
    running: Option<Running>,
}

impl Followed {
    fn start(server: &Server) -> Self {
        Self::with(server.endpoint(), None, QUICK)
    }

    fn with(endpoint: Endpoint, spiffe_id: Option<&str>, timing: Timing) -> Self {
        let (sender, receiver) = channel(config::QUEUE);
        let settings = Settings {
            endpoint,
            spiffe_id: spiffe_id.map(|id| id.parse().unwrap()),
        };
        let running = start_with(settings, timing, &sender).unwrap();
        Self {
            receiver,
            _sender: sender,
            running: Some(running),
        }
    }

    async fn told(&mut self) -> Identity {
        let told = tokio::time::timeout(PATIENCE, self.receiver.recv()).await;
        match told.expect("something is told").expect("it goes on") {
            Message::Identity(told) => told,
            other => panic!("{other:?}"),
        }
    }

    async fn issued(&mut self) -> IssuedIdentity {
        match self.told().await {
            Identity::Issued(issued) => *issued,
            other => panic!("{other:?}"),
        }
    }

    async fn unavailable(&mut self) -> String {
        match self.told().await {
            Identity::Unavailable(why) => why,
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn check_holds(why: &str, words: &str) {
    assert!(why.contains(words), "{why}");
}

fn svid(id: &str, version: &str) -> Svid {
    Svid {
        spiffe_id: id.to_owned(),
        x509_svid: format!("chain {version}").into_bytes(),
        x509_svid_key: format!("key {version}").into_bytes(),
        bundle: b"bundle".to_vec(),
    }
}

fn response(svids: &[Svid]) -> SvidResponse {
    SvidResponse {
        svids: svids.to_vec(),
        ..SvidResponse::default()
    }
}

#[tokio::test]
async fn what_is_issued_is_told_and_followed() {
    let mut server = Server::start();
    let mut followed = Followed::start(&server);
    let mut visit = server.visit().await;
    assert_eq!(visit.path(), "/SpiffeWorkloadAPI/FetchX509SVID");
    for (header, want) in [
        ("workload.spiffe.io", "true"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        assert_eq!(visit.header(header), Some(want));
    }
    for version in ["1", "2", "3"] {
        visit.send(&response(&[svid(A, version), svid(B, "0")]));
        let issued = followed.issued().await;
        assert_eq!(issued.id.as_str(), A);
        assert_eq!(issued.chain, format!("chain {version}").as_bytes());
        let key = format!("key {version}");
        assert_eq!(issued.key.as_bytes(), key.as_bytes());
    }
    assert_eq!(visit.body().await, b"\0\0\0\0\0");
}

#[tokio::test]
async fn the_wanted_identity_is_waited_for() {
    let mut server = Server::start();
    let mut followed = Followed::with(server.endpoint(), Some(B), QUICK);
    let mut visit = server.visit().await;
    visit.send(&response(&[svid(A, "1")]));
    let why = followed.unavailable().await;
    check_holds(&why, &format!("does not issue {B}, but {A:?}"));
    visit.send(&response(&[svid(A, "1"), svid(B, "2")]));
    let issued = followed.issued().await;
    assert_eq!(
        (issued.id.as_str(), &issued.chain[..]),
        (B, &b"chain 2"[..])
    );
}

#[tokio::test]
async fn bundles_of_other_domains_and_revocations_come_along() {
    let mut server = Server::start();
    let mut followed = Followed::start(&server);
    let mut visit = server.visit().await;
    let domain = "spiffe://other.test".to_owned();
    visit.send(&SvidResponse {
        crl: vec![b"list".to_vec()],
        federated_bundles: [(domain, b"other".to_vec())].into(),
        ..response(&[svid(A, "1")])
    });
    let issued = followed.issued().await;
    assert_eq!(issued.revocations, b"list");
    assert_eq!(issued.federated["other.test"], b"other");
    // What is not said any more does not stay.
    visit.send(&response(&[svid(A, "1")]));
    let issued = followed.issued().await;
    assert!(issued.revocations.is_empty() && issued.federated.is_empty());
}

/// More than fits the windows of HTTP/2 at once.
#[tokio::test]
async fn a_long_message_is_read_whole() {
    let mut server = Server::start();
    let mut followed = Followed::start(&server);
    let mut visit = server.visit().await;
    let mut long = svid(A, "1");
    long.bundle = vec![b'x'; 3 * 1024 * 1024];
    for _ in 0..2 {
        visit.send(&response(std::slice::from_ref(&long)));
        assert_eq!(followed.issued().await.authorities, long.bundle);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told_and_another_is_asked_for() {
    let broken: [(Break, &str); 6] = [
        (
            |visit| visit.send_raw(b"\0\0\0\0\x03\xff\xff\xff"),
            "sent a message that is no X509SVIDResponse",
        ),
        (
            |visit| visit.send_raw(b"\0\0\x40\0\x01"),
            "sent a message of 4194305 bytes",
        ),
        (
            |visit| visit.send_raw(b"\x01\0\0\0\x01a"),
            "sent a compressed message",
        ),
        (
            |visit| {
                visit.send_raw(b"\0\0\0\0\x09abc");
                visit.end(0, "");
            },
            "a message is cut off",
        ),
        (
            |visit| visit.end_without_status(),
            "there is no grpc-status",
        ),
        (
            |visit| visit.end(14, "not%20ready\n"),
            "refused the call: Unavailable, \"not ready\\n\"",
        ),
    ];
    let mut server = Server::start();
    let mut followed = Followed::start(&server);
    for (break_it, words) in broken {
        let mut visit = server.visit().await;
        break_it(&mut visit);
        check_holds(&followed.unavailable().await, words);
    }
    let mut visit = server.visit().await;
    visit.send(&response(&[svid(A, "1")]));
    assert_eq!(followed.issued().await.id.as_str(), A);
}

#[tokio::test]
async fn who_is_no_workload_api_is_told_of() {
    let mut server = Server::start();
    let mut followed = Followed::start(&server);
    server.head().await.refuse(404);
    check_holds(
        &followed.unavailable().await,
        "answered with the status 404 of HTTP",
    );
    // Without messages the trailers are the head.
    server.head().await.deny("no identity issued");
    let denied = followed.unavailable().await;
    let words = "issues no identity to this process: PermissionDenied, \"no identity issued\"";
    check_holds(&denied, words);
}

/// As while its registration is on its way.
#[tokio::test]
async fn who_is_denied_asks_again() {
    let mut server = Server::start();
    let mut followed = Followed::start(&server);
    server.visit().await.end(7, "");
    let denied = followed.unavailable().await;
    check_holds(&denied, "issues no identity to this process");
    // It is told once.
    server.visit().await.end(7, "");
    let mut visit = server.visit().await;
    visit.send(&response(&[svid(A, "1")]));
    followed.issued().await;
    // It is told at once where there was an identity, too.
    visit.end(7, "");
    let denied = followed.unavailable().await;
    check_holds(&denied, "issues no identity to this process");
}

#[tokio::test]
async fn who_says_that_asking_is_of_no_use_is_asked_rarely() {
    let rarely = Timing {
        first_pause: Duration::from_secs(3600),
        longest_pause: Duration::from_secs(3600),
        hopeless_pause: Duration::from_millis(1),
        ..QUICK
    };
    for (status, name) in [(3, "InvalidArgument"), (12, "Unimplemented")] {
        let mut server = Server::start();
        let mut followed = Followed::with(server.endpoint(), None, rarely);
        server.visit().await.end(status, "");
        check_holds(&followed.unavailable().await, name);
        // Of the pauses only this one is short.
        server.visit().await;
    }
}

/// Promise 8: a server that is restarted is not noticed.
#[tokio::test]
async fn a_stream_that_ends_is_opened_again_and_not_told_of() {
    let mut server = Server::start();
    let mut followed = Followed::start(&server);
    let mut visit = server.visit().await;
    visit.send(&response(&[svid(A, "1")]));
    assert_eq!(followed.issued().await.chain, b"chain 1");
    let ends: [fn(Visit); 3] = [
        |mut visit| visit.end(0, ""),
        |mut visit| visit.end(14, "shutting down"),
        |visit| visit.cut(),
    ];
    for (version, end) in ["2", "3", "4"].into_iter().zip(ends) {
        end(visit);
        visit = server.visit().await;
        visit.send(&response(&[svid(A, version)]));
        // The next that is told.
        let issued = followed.issued().await;
        assert_eq!(issued.chain, format!("chain {version}").as_bytes());
    }
}

#[tokio::test]
async fn a_socket_that_is_gone_is_told_of_and_looked_for() {
    let mut server = Server::start();
    let mut followed = Followed::start(&server);
    let mut visit = server.visit().await;
    visit.send(&response(&[svid(A, "1")]));
    followed.issued().await;
    server.stop();
    visit.cut();
    let gone = followed.unavailable().await;
    check_holds(&gone, "cannot be reached: No such file or directory");
    server.start_again();
    let mut visit = server.visit().await;
    visit.send(&response(&[svid(A, "1")]));
    followed.issued().await;
}

#[tokio::test]
async fn a_socket_need_not_be_there_first() {
    let mut server = Server::start();
    server.stop();
    let mut followed = Followed::start(&server);
    let missing = followed.unavailable().await;
    check_holds(&missing, "cannot be reached: No such file or directory");
    server.start_again();
    let mut visit = server.visit().await;
    visit.send(&response(&[svid(A, "1")]));
    followed.issued().await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let impatient = Timing {
        patience: Duration::from_millis(50),
        ..QUICK
    };
    let mut server = Server::start();
    let mut followed = Followed::with(server.endpoint(), None, impatient);
    // Neither the head comes nor, the next time, a message.
    let _held = server.head().await;
    check_holds(&followed.unavailable().await, "did not answer within 50ms");
    let _held = server.visit().await;
    server.head().await;
}

#[tokio::test]
async fn a_server_can_be_at_an_address() {
    let mut server = Server::start_on_tcp().await;
    let mut followed = Followed::start(&server);
    let mut visit = server.visit().await;
    visit.send(&response(&[svid(A, "1")]));
    followed.issued().await;
}

#[tokio::test]
async fn it_ends_with_who_holds_it() {
    let mut server = Server::start();
    let mut followed = Followed::start(&server);
    let visit = server.visit().await;
    followed.running = None;
    visit.until_left().await;
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let mut server = Server::start();
    let followed = Followed::start(&server);
    let mut visit = server.visit().await;
    drop(followed.receiver);
    visit.send(&response(&[svid(A, "1")]));
    visit.until_left().await;
    drop(followed.running);
}

/// Promise 8, from the socket to what handshakes are made with.
#[tokio::test]
async fn an_issued_identity_is_published_and_the_next_one_follows() {
    let mut server = Server::start();
    let name = server.endpoint().to_string();
    let configuration = Configuration::new(config::Settings {
        defaults: Defaults::default(),
        compile: CompileOptions::default(),
        last_good: None,
        credentials: CredentialSettings {
            identity: Some(IdentitySource::Told(name.into())),
            ..CredentialSettings::default()
        },
    });
    let (sender, receiver) = channel(config::QUEUE);
    let publications = config::start(configuration, 1, Followers::default(), receiver);
    let mut publications = publications.unwrap();
    let settings = Settings {
        endpoint: server.endpoint(),
        spiffe_id: None,
    };
    let _running = start_with(settings, QUICK, &sender).unwrap();
    sender.send(Message::Synced).await.unwrap();
    let mut visit = server.visit().await;
    let mut former: Option<Arc<Credential>> = None;
    for _ in 0..2 {
        visit.send(&response(&[real(A)]));
        let is_newer = |published: &Option<Arc<Published>>| {
            let credentials = published.as_ref().map(|published| &published.credentials);
            let own = credentials.and_then(|all| all.certificates.get(&CredentialRef::Workload));
            let former = former.as_ref();
            own.is_some_and(|own| former.is_none_or(|former| !Arc::ptr_eq(own, former)))
        };
        let published = tokio::time::timeout(PATIENCE, publications.wait_for(is_newer)).await;
        let published = published.unwrap().unwrap().clone().unwrap();
        let credentials = &published.credentials;
        assert_eq!(credentials.identity().map(SpiffeId::as_str), Some(A));
        former = credentials
            .certificates
            .get(&CredentialRef::Workload)
            .cloned();
    }
}

/// A certificate, its key and, since it has signed itself, its authority.
fn real(id: &str) -> Svid {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().to_vec();
    Svid {
        spiffe_id: id.to_owned(),
        x509_svid: certificate.clone(),
        x509_svid_key: key.serialize_der(),
        bundle: certificate,
    }
}
