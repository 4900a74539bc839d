//! Changes while pods talk.

use crate::mesh_bookinfo::versions_of;
use e2e::{
    After, Connection, Gate, Load, Mesh, Origin, PATIENCE, Pod, Request, ServiceSpec, WebSocket,
    eventually, seed, websocket_echo,
};
use rustix::process::Signal;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const PORT: u16 = 9080;

/// How long rules are changed.
const SECONDS: u64 = 10;

fn serve(pod: &Pod, name: &'static str) -> Origin {
    pod.serve(PORT, move |exchange| {
        exchange.reply(200, &[], name.as_bytes())?;
        Ok(After::Keep)
    })
}

/// What the rules are after `number` changes: each differs from the last in what it does.
fn revision(number: usize) -> (&'static str, String) {
    match number % 5 {
        0 => ("reviews.yaml", seed("04-default-route-v1.yaml")),
        1 => ("reviews.yaml", seed("05-canary-weights.yaml")),
        2 => ("reviews.yaml", seed("07-all-v2.yaml")),
        3 => ("versions.yaml", versions_of("reviews", &["v1", "v2", "v3"])),
        _ => ("versions.yaml", limited()),
    }
}

/// Other policies for the same subsets.
fn limited() -> String {
    let policy = "  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1000}}}\n";
    versions_of("reviews", &["v1", "v2"]) + policy
}

/// Promise 6: between two sidecars, whose rules and endpoints both change.
#[test]
fn no_request_of_a_mesh_fails_while_rules_change_ten_times_a_second() {
    let mesh = Mesh::new();
    mesh.write("reviews.yaml", seed("04-default-route-v1.yaml"));
    mesh.write("versions.yaml", versions_of("reviews", &["v1", "v2"]));
    let address = mesh.service(ServiceSpec::new("reviews").port("http", PORT));
    let names = ["reviews-v1", "reviews-v2"];
    let pods = names.map(|name| mesh.pod(name).start());
    // A second pod of a version, which comes and goes as an endpoint.
    let extra = mesh.pod("more-v2").label("app", "reviews").start();
    let apps = [
        serve(&pods[0], "v1"),
        serve(&pods[1], "v2"),
        serve(&extra, "v2"),
    ];
    let client = mesh.pod("client-v1").start();
    let machine = client.machine().clone();
    let service = SocketAddr::from((address, PORT));
    let dial = move || machine.enter(|| Connection::open_at(service));
    let request = Request::get("reviews:9080", "/");
    let load = Load::dialling(dial, 4, &request, |answer| {
        answer.status == 200 && matches!(answer.text().as_str(), "v1" | "v2")
    });
    let started = Instant::now();
    let mut changes = 0;
    while started.elapsed() < Duration::from_secs(SECONDS) {
        let (name, text) = revision(changes);
        mesh.write(name, text);
        match changes % 6 {
            0 => mesh.retire(&extra),
            3 => mesh.readmit(&extra),
            _ => {}
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
    assert!(apps.iter().all(|app| app.hits() > 0), "{apps:?}");
    let generations = client
        .agent()
        .metrics()
        .sum("tidegate_config_generation", &[]);
    assert!(
        generations >= 2.0 * SECONDS as f64,
        "{generations} of {changes}"
    );
}

/// A VirtualService that sends what is for one Service to another.
fn to_other(name: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: VirtualService\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  \
           hosts: [{name}]\n  \
           http: [{{route: [{{destination: {{host: other}}}}]}}]\n"
    )
}

/// Promise 6.
#[test]
fn what_is_in_flight_survives_the_end_of_its_rule_and_of_its_pod() {
    let mesh = Mesh::new();
    let slow_at = mesh.service(ServiceSpec::new("slow").port("http", PORT));
    let chat_at = mesh.service(ServiceSpec::new("chat").port("http", PORT));
    let [slow, chat, other] = ["slow-v1", "chat-v1", "other-v1"].map(|name| mesh.pod(name).start());
    mesh.service(ServiceSpec::new("other").port("http", PORT));
    let client = mesh.pod("client-v1").start();
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let gate = slow.enter(|| Gate::start_at(everywhere));
    let _chat = chat.serve(PORT, websocket_echo);
    let _other = serve(&other, "other");
    let mut socket = WebSocket::over(client.connect((chat_at, PORT)), "chat:9080", "/room");
    assert_eq!(socket.echo("before").expect("an echo"), "before");
    let mut waiting = client.connect((slow_at, PORT));
    waiting
        .write(&Request::get("slow:9080", "/").bytes())
        .expect("the request is sent");
    gate.wait_for_request();

    for name in ["slow", "chat"] {
        mesh.write(&format!("{name}.yaml"), to_other(name));
    }
    for pod in [&slow, &chat] {
        mesh.retire(pod);
    }
    for name in ["slow", "chat"] {
        let added = format!("VirtualService default/{name} added");
        client.agent().wait_for_log(&[&added]);
        let url = format!("{name}:9080/");
        assert_eq!(client.get(&url).text(), "other");
    }
    assert_eq!(socket.echo("after").expect("an echo"), "after");
    gate.open();
    let answer = waiting.read_response("GET").expect("an answer");
    assert_eq!((answer.status, answer.text()), (200, "finished".into()));
}

/// A sidecar that is restarted is ready again with what it had, and others notice as little as they can.
#[test]
fn a_sidecar_is_restarted() {
    let mesh = Mesh::new();
    mesh.service(ServiceSpec::new("reviews").port("http", PORT));
    let mut reviews = mesh.pod("reviews-v1").start();
    let client = mesh.pod("client-v1").start();
    let _app = serve(&reviews, "v1");
    assert_eq!(client.get("reviews:9080/").text(), "v1");
    reviews.agent_mut().restart();
    assert_eq!(client.get("reviews:9080/").text(), "v1");
}

/// A pod is replaced as a Deployment does it: the new one is there, the old one is no endpoint any more, then it ends.
#[test]
fn a_pod_is_replaced_and_no_request_fails() {
    let mesh = Mesh::new();
    let address = mesh.service(ServiceSpec::new("reviews").port("http", PORT));
    let mut old = mesh.pod("reviews-v1").start();
    let client = mesh.pod("client-v1").start();
    let first = serve(&old, "v1");
    let machine = client.machine().clone();
    let service = SocketAddr::from((address, PORT));
    let dial = move || machine.enter(|| Connection::open_at(service));
    let request = Request::get("reviews:9080", "/");
    let load = Load::dialling(dial, 4, &request, |answer| answer.status == 200);
    eventually("requests are served", || load.served() > 100);
    let new = mesh.pod("reviews-v2").start();
    let second = serve(&new, "v2");
    mesh.retire(&old);
    eventually("the new one is asked", || second.hits() > 100);
    old.agent().signal(Signal::TERM);
    let ended = old.agent_mut().ended_within(PATIENCE);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    let before = second.hits();
    eventually("only the new one is asked", || second.hits() > before + 100);
    let report = load.stop();
    assert_eq!(
        report.failed, 0,
        "{} served: {:?}",
        report.served, report.failures
    );
    assert_eq!(first.hits() + second.hits(), report.served);
}
