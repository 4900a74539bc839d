//! Ports that come, change and go.

use crate::{SHOP, TO_SHOP, shop};
use e2e::{Connection, Gate, Gateway, Origin, Request, WebSocket, eventually, websocket_echo};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// A Gateway like the usual one, with a second server.
fn with_port(number: u16) -> String {
    e2e::gateway("edge", &["*"])
        + &format!(
            "  - port: {{number: {number}, name: second, protocol: HTTP}}\n    hosts: ['*']\n"
        )
}

fn accepts(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[track_caller]
fn get_on(port: u16) -> u16 {
    Connection::open(port)
        .send(&Request::get(SHOP, "/"))
        .expect("an answer")
        .status
}

#[test]
fn a_listener_comes_and_goes_with_its_server() {
    let origin = Origin::named("shop");
    let gateway = shop(TO_SHOP, &[("shop", &[origin.port()])])
        .port(90)
        .start();
    let second = gateway.bound(90);
    assert!(!accepts(second));
    gateway.write("gateway.yaml", with_port(90));
    eventually("the second port is bound", || accepts(second));
    eventually("it serves", || get_on(second) == 200);
    gateway.write("gateway.yaml", e2e::gateway("edge", &["*"]));
    eventually("the second port is gone", || !accepts(second));
    assert_eq!(gateway.get(SHOP, "/").status, 200);
}

/// Promise 6.
#[test]
fn a_removed_listener_drains() {
    let slow = Gate::new();
    let chat = Origin::serving(websocket_echo);
    let rules = "\
- match: [{uri: {prefix: /chat}}]
  route: [{destination: {host: chat}}]
- route: [{destination: {host: slow}}]
";
    let services: [(&str, &[u16]); 2] = [("chat", &[chat.port()]), ("slow", &[slow.port()])];
    let gateway = shop(rules, &services)
        .file("gateway.yaml", with_port(90))
        .port(90)
        .start();
    let second = gateway.bound(90);
    let mut socket = WebSocket::open(second, SHOP, "/chat");
    let mut in_flight = Connection::open(second);
    in_flight
        .write(&Request::get(SHOP, "/").bytes())
        .expect("the request is sent");
    slow.wait_for_request();

    gateway.write("gateway.yaml", e2e::gateway("edge", &["*"]));
    eventually("the second port is gone", || !accepts(second));
    assert_eq!(socket.echo("still here").expect("an echo"), "still here");
    slow.open();
    assert_eq!(
        in_flight.read_response("GET").expect("an answer").text(),
        "finished"
    );
}

/// Promise 6: a server that names the address it had anyway takes the port over, socket and all.
#[test]
fn a_listener_that_changes_its_bind_is_never_away() {
    let origin = Origin::named("shop");
    let gateway = shop(TO_SHOP, &[("shop", &[origin.port()])]).start();
    let plain = e2e::gateway("edge", &["*"]);
    let named = plain.replace("    hosts:", "    bind: 127.0.0.1\n    hosts:");
    assert_ne!(plain, named, "the server has hosts");
    for (round, form) in [&named, &plain, &named].into_iter().enumerate() {
        gateway.write("gateway.yaml", form);
        let generation = round + 2;
        eventually("the change is live", || {
            assert_eq!(get_on(gateway.http()), 200, "the port was away");
            let receipts = gateway.admin_json("/receipts").to_string();
            receipts.contains(&format!("\"generation\":{generation}"))
        });
    }
}

/// An idle connection of a removed listener is not held for ever.
#[test]
fn an_idle_connection_of_a_removed_listener_is_closed() {
    let origin = Origin::named("shop");
    let gateway = shop(TO_SHOP, &[("shop", &[origin.port()])])
        .file("gateway.yaml", with_port(90))
        .port(90)
        .start();
    let mut idle = Connection::open(gateway.bound(90));
    assert_eq!(
        idle.send(&Request::get(SHOP, "/"))
            .expect("an answer")
            .status,
        200
    );
    gateway.write("gateway.yaml", e2e::gateway("edge", &["*"]));
    assert!(idle.is_closed_within(e2e::PATIENCE), "still open");
}

#[test]
fn a_port_in_use_is_reported_tried_again_and_hurts_no_other() {
    let origin = Origin::named("shop");
    let setup = shop(TO_SHOP, &[("shop", &[origin.port()])])
        .file("gateway.yaml", with_port(90))
        .port(90);
    let second = setup.bound(90);
    let squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, second)).expect("a free port");
    let gateway = setup.start();
    assert_eq!(gateway.get(SHOP, "/").status, 200);
    let named = second.to_string();
    gateway.wait_for_log(&[&named, "in use"]);
    assert_eq!(listener_up(&gateway, second), Some(0.0));
    drop(squatter);
    eventually("the port is bound at last", || {
        Connection::try_open(second)
            .and_then(|mut connection| connection.send(&Request::get(SHOP, "/")))
            .is_ok_and(|response| response.status == 200)
    });
    eventually("the metric says so", || {
        listener_up(&gateway, second) == Some(1.0)
    });
}

/// The receipt of the admin page says so, too.
#[test]
fn the_receipt_tells_of_a_port_in_use() {
    let setup = shop(TO_SHOP, &[])
        .file("gateway.yaml", with_port(90))
        .port(90);
    let second = setup.bound(90);
    let _squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, second)).expect("a free port");
    let gateway = setup.start();
    let named = second.to_string();
    eventually("the receipt names the port", || {
        gateway.admin_json("/receipts").to_string().contains(&named)
    });
}

fn listener_up(gateway: &Gateway, port: u16) -> Option<f64> {
    let metrics = gateway.metrics();
    let listener = format!("127.0.0.1:{port}");
    let labels = [("listener", listener.as_str())];
    let known = metrics.count("tidegate_listener_up", &labels) == 1;
    known.then(|| metrics.sum("tidegate_listener_up", &labels))
}
