//! Changes while traffic flows.

use crate::{SHOP, TO_SHOP, plain_shop, shop};
use e2e::{
    Gate, Load, Origin, Request, WebSocket, eventually, service, virtual_service, websocket_echo,
};
use std::env;
use std::time::{Duration, Instant};

/// How long the long test lasts: `RELOAD_SECONDS`, a minute by default, ten seconds at least.
fn seconds() -> u64 {
    let wanted = env::var("RELOAD_SECONDS").ok();
    let wanted = wanted.and_then(|text| text.parse().ok());
    wanted.unwrap_or(60).max(10)
}

/// What the folder holds after `number` changes: each differs from the last in what it does.
fn revision(number: usize, a: u16, b: u16) -> (&'static str, String) {
    let endpoints: [&[u16]; 3] = [&[a], &[b], &[a, b]];
    match number % 6 {
        0 => (
            "shop.yaml",
            virtual_service("shop", SHOP, &weighted(number)),
        ),
        1 => (
            "shop-service.yaml",
            service("shop", 8000, endpoints[(number / 6) % 3]),
        ),
        2 => ("extra.yaml", virtual_service("extra", SHOP, &extra(number))),
        3 => (
            "other.yaml",
            virtual_service("other", &format!("h{number}.test"), TO_SHOP),
        ),
        4 => ("gateway.yaml", gateway_with_second(number)),
        _ => (
            "shop.yaml",
            virtual_service("shop", SHOP, &with_header(number)),
        ),
    }
}

fn weighted(number: usize) -> String {
    let share = number % 100;
    format!(
        "- route:\n  - destination: {{host: shop}}\n    weight: {share}\n  \
         - destination: {{host: shop, port: {{number: 8000}}}}\n    weight: {}\n",
        100 - share
    )
}

fn extra(number: usize) -> String {
    format!(
        "- match: [{{uri: {{prefix: /extra/{number}}}}}]\n  \
         route: [{{destination: {{host: shop}}}}]\n"
    )
}

fn with_header(number: usize) -> String {
    format!("{TO_SHOP}  headers: {{response: {{set: {{x-revision: '{number}'}}}}}}\n")
}

fn gateway_with_second(number: usize) -> String {
    let mut text = e2e::gateway("edge", &["*"]);
    if number.is_multiple_of(4) {
        text += "  - port: {number: 90, name: second, protocol: HTTP}\n    hosts: ['*']\n";
    }
    text
}

/// Promises 6 and 7: a minute of keep-alive traffic, ten changes a second, no failed request.
#[test]
fn no_request_fails_while_the_folder_is_rewritten_ten_times_a_second() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let gateway = shop(TO_SHOP, &[])
        .file("shop-service.yaml", service("shop", 8000, &[a.port()]))
        .port(90)
        .start();
    let before = gateway.metrics().sum("tidegate_config_generation", &[]);
    let load = Load::start(gateway.http(), 6, &Request::get(SHOP, "/"), |response| {
        response.status == 200 && matches!(response.text().as_str(), "a" | "b")
    });
    let started = Instant::now();
    let mut changes = 0;
    while started.elapsed() < Duration::from_secs(seconds()) {
        let (name, text) = revision(changes, a.port(), b.port());
        if changes % 3 == 0 {
            // As `echo >` does: emptied, then written.
            std::fs::write(gateway.resources().join(name), text).expect("the file is written");
        } else {
            gateway.write(name, text);
        }
        changes += 1;
        let next = Duration::from_millis(100) * u32::try_from(changes).unwrap_or(u32::MAX);
        std::thread::sleep(next.saturating_sub(started.elapsed()));
    }
    let report = load.stop();
    assert_eq!(
        report.failed, 0,
        "{} served: {:?}",
        report.served, report.failures
    );
    assert!(report.served > changes, "{report:?}");
    assert!(a.hits() > 0 && b.hits() > 0);
    let generations = gateway.metrics().sum("tidegate_config_generation", &[]) - before;
    assert!(
        generations >= 2.0 * seconds() as f64,
        "{generations} generations of {changes} changes"
    );

    gateway.write("shop.yaml", virtual_service("shop", SHOP, &with_header(7)));
    eventually("the last change is live", || {
        gateway.get(SHOP, "/").header("x-revision") == Some("7")
    });
}

/// Promise 6.
#[test]
fn a_websocket_and_a_request_in_flight_survive_the_end_of_their_rule() {
    let chat = Origin::serving(websocket_echo);
    let slow = Gate::new();
    let rules = "\
- match: [{uri: {prefix: /chat}}]
  route: [{destination: {host: chat}}]
- route: [{destination: {host: slow}}]
";
    let services: [(&str, &[u16]); 2] = [("chat", &[chat.port()]), ("slow", &[slow.port()])];
    let gateway = shop(rules, &services).start();
    let mut socket = WebSocket::open(gateway.http(), SHOP, "/chat");
    let mut in_flight = gateway.connect();
    in_flight
        .write(&Request::get(SHOP, "/").bytes())
        .expect("the request is sent");
    slow.wait_for_request();

    gateway.remove("shop.yaml");
    gateway.remove("chat-service.yaml");
    gateway.remove("slow-service.yaml");
    gateway.wait_for(SHOP, "/chat", 404, "");
    assert_eq!(socket.echo("still here").expect("an echo"), "still here");
    slow.open();
    assert_eq!(
        in_flight.read_response("GET").expect("an answer").text(),
        "finished"
    );
    // The connection itself is none of the rule's business.
    assert_eq!(
        in_flight
            .send(&Request::get(SHOP, "/"))
            .expect("an answer")
            .status,
        404
    );
}

#[test]
fn files_come_change_and_go_however_they_are_written() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let gateway = shop(TO_SHOP, &[("a", &[a.port()]), ("b", &[b.port()])]).start();
    let to = |service: &str| {
        virtual_service(
            "shop",
            SHOP,
            &format!("- route: [{{destination: {{host: {service}}}}}]\n"),
        )
    };
    // Renamed over.
    gateway.write("shop.yaml", to("a"));
    gateway.wait_for(SHOP, "/", 200, "a");
    // In place.
    std::fs::write(gateway.resources().join("shop.yaml"), to("b")).expect("the file is written");
    gateway.wait_for(SHOP, "/", 200, "b");
    // In a new folder.
    gateway.remove("shop.yaml");
    gateway.wait_for(SHOP, "/", 404, "");
    let nested = gateway.resources().join("team");
    std::fs::create_dir(&nested).expect("the folder is made");
    std::fs::write(nested.join("vs.yml"), to("a")).expect("the file is written");
    gateway.wait_for(SHOP, "/", 200, "a");
    std::fs::remove_dir_all(&nested).expect("the folder is removed");
    gateway.wait_for(SHOP, "/", 404, "");
}

/// As the kubelet writes a ConfigMap: a folder behind a symbolic link, swapped at once.
#[test]
fn a_swapped_symbolic_link_is_a_change() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let gateway = shop(TO_SHOP, &[("a", &[a.port()]), ("b", &[b.port()])]).start();
    gateway.remove("shop.yaml");
    for (round, service) in ["a", "b", "a"].into_iter().enumerate() {
        let data = gateway.resources().join(format!("..data-{round}"));
        std::fs::create_dir(&data).expect("the folder is made");
        let rules = format!("- route: [{{destination: {{host: {service}}}}}]\n");
        std::fs::write(data.join("vs.yaml"), virtual_service("shop", SHOP, &rules))
            .expect("the file is written");
        let link = gateway.resources().join("..data");
        let new = gateway.resources().join("..data_tmp");
        std::os::unix::fs::symlink(format!("..data-{round}"), &new).expect("the link is made");
        std::fs::rename(&new, &link).expect("the link is swapped");
        if round == 0 {
            let file = gateway.resources().join("vs.yaml");
            std::os::unix::fs::symlink("..data/vs.yaml", file).expect("the link is made");
        }
        gateway.wait_for(SHOP, "/", 200, service);
    }
}

#[test]
fn endpoints_change_without_a_failed_request() {
    let origins: Vec<Origin> = (0..4).map(|_| Origin::named("ok")).collect();
    let gateway = plain_shop(&[origins[0].port()]);
    let load = Load::start(gateway.http(), 3, &Request::get(SHOP, "/"), |response| {
        response.status == 200
    });
    for origin in &origins[1..] {
        gateway.write("shop-service.yaml", service("shop", 8000, &[origin.port()]));
        eventually("the new endpoint is used", || origin.hits() > 0);
    }
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
}
