//! Start, stop, and what signals do.

use crate::{SHOP, TO_SHOP, plain_shop, shop};
use e2e::{
    Connection, Gate, Gateway, Load, Origin, Ports, Request, Setup, eventually, run_gateway,
};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// A gateway with this drain, whose only request waits at its upstream for as long as the gate is shut.
fn with_a_request_in_flight(
    delay: &'static str,
    timeout: &'static str,
) -> (Gateway, Gate, Connection) {
    let gate = Gate::new();
    let gateway = shop(TO_SHOP, &[("shop", &[gate.port()])])
        .drain(delay, timeout)
        .start();
    let mut in_flight = gateway.connect();
    in_flight
        .write(&Request::get(SHOP, "/").bytes())
        .expect("the request is sent");
    gate.wait_for_request();
    (gateway, gate, in_flight)
}

#[test]
fn sigterm_lets_requests_in_flight_finish_and_exits_0() {
    let gate = Gate::new();
    let mut gateway = plain_shop(&[gate.port()]);
    let mut in_flight = gateway.connect();
    in_flight
        .write(&Request::get(SHOP, "/").bytes())
        .expect("the request is sent");
    gate.wait_for_request();
    gateway.signal(Signal::TERM);
    eventually("no more connections are accepted", || {
        Connection::try_open(gateway.http()).is_err()
    });
    assert!(gateway.is_running());
    gate.open();
    assert_eq!(
        in_flight.read_response("GET").expect("an answer").text(),
        "finished"
    );
    let status = gateway.ended_within(e2e::PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn during_the_drain_delay_it_is_not_ready_but_still_serves() {
    let origin = Origin::named("shop");
    let mut gateway = shop(TO_SHOP, &[("shop", &[origin.port()])])
        .drain("3s", "10s")
        .start();
    gateway.signal(Signal::TERM);
    eventually("not ready", || {
        gateway.status("/healthz/ready").status == 503
    });
    assert_eq!(gateway.get(SHOP, "/").status, 200);
    let status = gateway.ended_within(e2e::PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

/// Promise 6, as far as clients that keep to HTTP are concerned: they are told before it happens.
#[test]
fn keep_alive_clients_are_told_to_leave_and_lose_nothing() {
    let origin = Origin::named("shop");
    let mut gateway = shop(TO_SHOP, &[("shop", &[origin.port()])])
        .drain("3s", "10s")
        .start();
    let load = Load::start(gateway.http(), 4, &Request::get(SHOP, "/"), |response| {
        response.status == 200
    });
    eventually("traffic flows", || load.served() > 100);
    gateway.signal(Signal::TERM);
    eventually("not ready", || {
        gateway.status("/healthz/ready").status == 503
    });
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    let status = gateway.ended_within(e2e::PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let origin = Origin::named("shop");
    let mut gateway = shop(TO_SHOP, &[("shop", &[origin.port()])])
        .drain("0s", "30s")
        .start();
    let mut used = gateway.connect();
    assert_eq!(
        used.send(&Request::get(SHOP, "/"))
            .expect("an answer")
            .status,
        200
    );
    let _unused = gateway.connect();
    let asked = Instant::now();
    gateway.signal(Signal::TERM);
    assert!(
        gateway
            .ended_within(Duration::from_secs(40))
            .is_some_and(|status| status.success())
    );
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn a_request_that_never_ends_is_cut_when_the_drain_timeout_is_over() {
    let (mut gateway, _gate, _in_flight) = with_a_request_in_flight("0s", "1s");
    gateway.signal(Signal::TERM);
    assert!(gateway.ended_within(Duration::from_secs(10)).is_some());
}

#[test]
fn a_second_sigterm_stops_at_once() {
    let (mut gateway, _gate, _in_flight) = with_a_request_in_flight("60s", "60s");
    gateway.signal(Signal::TERM);
    eventually("not ready", || {
        gateway.status("/healthz/ready").status == 503
    });
    assert!(gateway.is_running());
    gateway.signal(Signal::TERM);
    assert!(
        gateway.ended_within(Duration::from_secs(5)).is_some(),
        "still runs"
    );
}

#[test]
fn sighup_reads_the_folder_again_and_nothing_else() {
    let origin = Origin::named("shop");
    let mut gateway = plain_shop(&[origin.port()]);
    let mut connection = gateway.connect();
    for _ in 0..5 {
        gateway.signal(Signal::HUP);
        let response = connection
            .send(&Request::get(SHOP, "/"))
            .expect("an answer");
        assert_eq!(response.status, 200);
    }
    let other = e2e::virtual_service("other", "other.test", TO_SHOP);
    gateway.write("other.yaml", other);
    gateway.signal(Signal::HUP);
    gateway.wait_for("other.test", "/", 200, "shop");
    assert!(gateway.is_running());
}

#[test]
fn a_bad_bootstrap_file_is_exit_1_and_bad_usage_exit_2() {
    let setup = Setup::new().section("[surprise]\nkey = 1\n");
    let path = setup.written(&Ports::reserve());
    let folder = path.parent().expect("a folder");
    let run = |arguments: &[&str]| run_gateway(folder, arguments);
    let unknown_key = run(&["run", "--config", "gateway.toml"]);
    assert_eq!(unknown_key.code, 1, "{}", unknown_key.stderr);
    assert!(
        unknown_key.stderr.contains("surprise"),
        "{}",
        unknown_key.stderr
    );
    let missing = run(&["run", "--config", "nowhere.toml"]);
    assert_eq!(missing.code, 1, "{}", missing.stderr);
    assert!(
        missing.stderr.contains("nowhere.toml"),
        "{}",
        missing.stderr
    );
    assert_eq!(run(&["run", "--no-such-flag"]).code, 2);
    assert_eq!(run(&["fly"]).code, 2);
    assert_eq!(run(&["--version"]).code, 0);
    for command in ["run", "demo", "check", "explain"] {
        assert_eq!(run(&[command, "--help"]).code, 0, "{command}");
    }
}
