//! How it ends (promise 21).

use crate::agent::{Agent, PATIENCE, Setup, eventually};
use crate::app::{App, echo};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// What is done at once is done in this time; what waits would wait longer.
const AT_ONCE: Duration = Duration::from_secs(30);

fn start(drain: &str, protocol: &str, endpoint: u16) -> Agent {
    let services = "mode = 'NONE'\nservices = { 'HOST:9080' = 'shop:9080' }";
    let setup = Setup::with(drain, services);
    setup.service("shop", protocol, endpoint).start()
}

/// Sends a request, whose answer comes when the application lets it.
fn begin(agent: &Agent, app: &App) -> TcpStream {
    let mut client = agent.connect(9080);
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
        .expect("the request is sent");
    app.asked();
    client
}

fn rest(client: &mut TcpStream) -> String {
    let mut rest = String::new();
    // One that is cut may be reset.
    let _ = client.read_to_string(&mut rest);
    rest
}

fn is_not_ready(agent: &Agent) -> bool {
    let answer = agent.try_get(15021, "/healthz/ready");
    answer.is_some_and(|answer| answer.status == 503 && answer.body == "not ready: draining\n")
}

#[test]
fn with_nothing_in_use_it_ends_when_others_know() {
    let mut agent = start("delay = '1s'\ntimeout = '1h'", "http", 1);
    let _unused = agent.connect(9080);
    agent.signal(Signal::TERM);
    eventually("it is not ready", || is_not_ready(&agent));
    assert!(agent.is_running());
    agent.ends_well(AT_ONCE);
}

/// The application may need others for its last answers.
#[test]
fn while_a_request_is_in_flight_others_are_served_and_then_it_ends() {
    let app = App::waiting("200 OK", "", "late");
    let mut agent = start("delay = '0s'\ntimeout = '1h'", "http", app.port);
    let mut first = begin(&agent, &app);
    agent.signal(Signal::TERM);
    eventually("it is not ready", || is_not_ready(&agent));
    let mut second = agent.connect(9080);
    second
        .write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
        .unwrap();
    app.answer();
    let answer = rest(&mut first);
    assert!(answer.ends_with("late"), "{answer}");
    app.asked();
    assert!(agent.is_running());
    app.answer();
    let answer = rest(&mut second);
    assert!(answer.ends_with("late"), "{answer}");
    assert!(
        answer.to_ascii_lowercase().contains("connection: close"),
        "{answer}"
    );
    agent.ends_well(AT_ONCE);
}

#[test]
fn a_connection_that_waits_for_its_next_request_does_not_hold_it_up() {
    let app = App::answering("200 OK", "", "hello");
    let mut agent = start("delay = '0s'\ntimeout = '1h'", "http", app.port);
    let mut client = begin(&agent, &app);
    let mut answer = String::new();
    while !answer.ends_with("hello") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        answer.push(byte[0].into());
    }
    agent.signal(Signal::TERM);
    agent.ends_well(AT_ONCE);
    assert_eq!(rest(&mut client), "");
}

#[test]
fn a_tcp_connection_holds_it_up_until_it_ends() {
    let mut agent = start("delay = '0s'\ntimeout = '1h'", "tcp", echo());
    let mut client = agent.connect(9080);
    let mut say = |text: &str| {
        client.write_all(text.as_bytes()).unwrap();
        let mut back = vec![0; text.len()];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, text.as_bytes());
        client.try_clone().unwrap()
    };
    say("before");
    agent.signal(Signal::TERM);
    eventually("it is not ready", || is_not_ready(&agent));
    let client = say("after");
    assert!(agent.is_running());
    client.shutdown(Shutdown::Both).unwrap();
    agent.ends_well(AT_ONCE);
}

#[test]
fn what_never_ends_is_cut_when_the_timeout_is_over() {
    let app = App::waiting("200 OK", "", "never");
    let mut agent = start("delay = '0s'\ntimeout = '1s'", "http", app.port);
    let mut client = begin(&agent, &app);
    agent.signal(Signal::TERM);
    agent.ends_well(AT_ONCE);
    assert_eq!(rest(&mut client), "");
}

#[test]
fn a_second_sigterm_ends_it_at_once() {
    let app = App::waiting("200 OK", "", "never");
    let mut agent = start("delay = '1h'\ntimeout = '1h'", "http", app.port);
    let _client = begin(&agent, &app);
    agent.signal(Signal::TERM);
    eventually("it is not ready", || is_not_ready(&agent));
    agent.signal(Signal::TERM);
    agent.ends_well(AT_ONCE);
}

/// A native sidecar: its preStop hook is called when the pod ends, SIGTERM comes when the application has ended.
#[test]
fn drain_and_then_sigterm_wait_for_nothing_but_what_is_in_use() {
    let app = App::answering("200 OK", "", "hello");
    let mut agent = start("delay = '1h'\ntimeout = '1h'", "http", app.port);
    assert_eq!(agent.get(15020, "/drain").status, 405);
    let answer = agent.post(15020, "/drain");
    assert_eq!((answer.status, &*answer.body), (200, "OK"));
    eventually("it is not ready", || is_not_ready(&agent));
    // The application goes on.
    let answer = agent.get(9080, "/");
    assert_eq!((answer.status, &*answer.body), (200, "hello"));
    assert!(agent.is_running());
    agent.signal(Signal::TERM);
    agent.ends_well(AT_ONCE);
}

/// A Job, which has ended. Whoever asks is answered.
#[test]
fn quitquitquit_ends_it_at_once() {
    let app = App::waiting("200 OK", "", "never");
    let mut agent = start("delay = '1h'\ntimeout = '1h'", "http", app.port);
    let _client = begin(&agent, &app);
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(agent.ask(15020, method, "/quitquitquit", "").status, 405);
    }
    assert!(agent.is_running());
    let answer = agent.post(15020, "/quitquitquit");
    assert_eq!((answer.status, &*answer.body), (200, "OK"));
    agent.ends_well(AT_ONCE);
}

/// The kubelet calls the application's hook while it ends the sidecar.
#[test]
fn a_hook_of_the_application_holds_it_up() {
    let app = App::waiting("200 OK", "", "cleaned up");
    let hook = format!(
        r#"{{"/app-lifecycle/shop/prestopz": {{"httpGet": {{"path": "/end", "port": {}}}}}}}"#,
        app.port
    );
    let mut agent = Setup::new("delay = '0s'\ntimeout = '1h'")
        .env("ISTIO_KUBE_APP_PROBERS", hook)
        .start();
    let mut kubelet = agent.connect(15020);
    kubelet
        .write_all(
            b"GET /app-lifecycle/shop/prestopz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .unwrap();
    assert!(app.asked().starts_with("GET /end "));
    agent.signal(Signal::TERM);
    eventually("it is not ready", || is_not_ready(&agent));
    assert!(agent.is_running());
    app.answer();
    assert!(rest(&mut kubelet).ends_with("cleaned up"));
    agent.ends_well(PATIENCE);
}
