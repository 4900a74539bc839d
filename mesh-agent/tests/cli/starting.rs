//! From its start until it is ready, and on.

use crate::agent::{Agent, PATIENCE, Setup, check_exit, eventually, mesh_agent};
use crate::app::App;
use rustix::process::Signal;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

/// A port of its own for a service.
const SERVICES: &str = "mode = 'NONE'\nservices = { 'HOST:9080' = 'shop:9080' }";

/// Why it is not ready, or `ready`.
fn readiness(agent: &Agent) -> String {
    let answer = agent.try_get(15021, "/healthz/ready");
    answer.map_or_else(String::new, |answer| answer.body.trim_end().to_owned())
}

/// No privilege, no redirection: a service at a port of loopback.
#[test]
fn an_application_reaches_a_service_at_a_port_of_its_own() {
    let app = App::answering("200 OK", "", "hello");
    let agent = Setup::with("", SERVICES)
        .service("shop", "http", app.port)
        .start();
    let answer = agent.get(9080, "/cart");
    assert_eq!((answer.status, &*answer.body), (200, "hello"));
    assert!(app.asked().starts_with("GET /cart HTTP/1.1\r\n"));
    let url = format!("http://{}/healthz/ready", agent.at(15021));
    check_exit(&mesh_agent(agent.folder(), &["wait", "--url", &url]), 0);
    assert_eq!(agent.get(15020, "/healthz/ready").status, 200);
}

/// Promise 21: what is redirected to nobody is lost.
#[test]
fn it_is_ready_when_it_listens_wherever_its_workload_comes() {
    let setup = Setup::with("", SERVICES).service("shop", "http", 1);
    let taken = TcpListener::bind(setup.at(9080)).unwrap();
    let want = format!("not ready: {} cannot be bound: ", setup.at(9080));
    let agent = setup.spawn();
    eventually("it says why", || readiness(&agent).starts_with(&want));
    assert_eq!(agent.get(15020, "/healthz/ready").status, 503);
    drop(taken);
    eventually("it is ready", || readiness(&agent) == "ready");
    agent.connect(9080);
}

#[test]
fn with_an_identity_it_is_ready_when_it_has_it() {
    let capture = "outbound = 'HOST:15001'\ninbound = 'HOST:15006'\ndns = ['HOST:15053']";
    let setup = Setup::with("", capture).more("[tls]\nidentity = 'identity'\n");
    let folder = setup.folder().join("identity");
    let agent = setup.spawn();
    let missing = "not ready: credential of the mesh identity: ";
    eventually("it says why", || readiness(&agent).starts_with(missing));
    let name = rcgen::SanType::URI(
        "spiffe://cluster.local/ns/default/sa/default"
            .try_into()
            .unwrap(),
    );
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![name];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    fs::create_dir(&folder).unwrap();
    for (file, text) in [
        ("root-cert.pem", &certificate),
        ("cert-chain.pem", &certificate),
        ("key.pem", &key.serialize_pem()),
    ] {
        let path = folder.join(file);
        fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).unwrap();
    }
    eventually("it is ready", || readiness(&agent) == "ready");
}

/// Nothing comes to it that it could hold against a policy, whatever its bootstrap file leaves open.
#[test]
fn the_pod_tells_that_nothing_is_redirected() {
    let setup = Setup::with("", "");
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: nobody}\nspec: {}\n";
    fs::write(setup.folder().join("resources/policy.yaml"), policy).unwrap();
    let agent = setup
        .env("ISTIO_META_INTERCEPTION_MODE", "NONE")
        .env("ISTIO_META_HTTP10", "1")
        .start();
    let log = agent.log();
    assert!(log.contains("nobody is kept out by it"), "{log}");
    assert!(log.contains("ISTIO_META_HTTP10"), "{log}");
}

#[test]
fn systemd_is_told_of_start_reload_and_end() {
    let setup = Setup::new("delay = '0s'");
    let path = setup.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = |wanted: &str| {
        let mut message = [0; 1024];
        loop {
            let length = socket.recv(&mut message).expect(wanted);
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if text.contains(wanted) {
                return text;
            }
        }
    };
    let mut agent = setup
        .env("NOTIFY_SOCKET", path.to_str().expect("text"))
        .spawn();
    next("STATUS=not ready: starting\n");
    let started = next("READY=1\n");
    assert!(started.contains("STATUS=ready\n"), "{started}");
    agent.signal(Signal::HUP);
    let reloading = next("RELOADING=1\n");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    next("READY=1\n");
    agent.signal(Signal::TERM);
    next("STOPPING=1\n");
    agent.ends_well(PATIENCE);
}
