//! The pages for kubelets and scrapers.

use crate::agent::{Agent, Setup};
use crate::app::App;

fn metric<'t>(text: &'t str, series: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()
}

#[test]
fn the_kubelet_asks_the_application_through_it() {
    let app = App::answering("418 I'm a teapot", "content-type: text/tea\r\n", "short");
    let probes = format!(
        r#"{{"/app-health/shop/readyz": {{"httpGet": {{"path": "/status", "port": {0}}}, "timeoutSeconds": 20}},
            "/app-health/shop/livez": {{"tcpSocket": {{"port": {0}}}, "timeoutSeconds": 20}},
            "/app-health/shop/startupz": {{"grpc": {{"port": 1}}}}}}"#,
        app.port
    );
    let agent = Setup::new("").env("ISTIO_KUBE_APP_PROBERS", probes).start();
    let sent = "user-agent: kube-probe/1.33\r\n";
    let answer = agent.ask(15020, "GET", "/app-health/shop/readyz", sent);
    assert_eq!((answer.status, &*answer.body), (418, "short"));
    assert!(
        answer.head.contains("content-type: text/tea"),
        "{}",
        answer.head
    );
    let asked = app.asked();
    let host = format!("\r\nHost: {}:{}\r\n", agent.at(15020).ip(), app.port);
    for part in [
        "GET /status HTTP/1.1\r\n",
        "\r\nUser-Agent: kube-probe/1.33\r\n",
        &host,
    ] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    assert_eq!(agent.get(15020, "/app-health/shop/livez").status, 200);
    assert_eq!(agent.get(15020, "/app-health/shop/startupz").status, 500);
    let answer = agent.get(15020, "/app-health/other/livez");
    let want = "app prober config does not exists for /app-health/other/livez";
    assert_eq!((answer.status, &*answer.body), (400, want));
    let answer = agent.get(15020, "/app-lifecycle/shop/prestopz");
    assert_eq!(answer.status, 400);
}

fn with_metrics(port: u16) -> Agent {
    let annotations = format!(r#"{{"scrape": "true", "path": "", "port": "{port}"}}"#);
    Setup::new("")
        .env("ISTIO_PROMETHEUS_ANNOTATIONS", annotations)
        .start()
}

#[test]
fn the_applications_metrics_come_behind_its_own() {
    let body = "# TYPE process_open_fds gauge\nprocess_open_fds 7\n# TYPE carts counter\ncarts_total 3 # {} 1\n# EOF\n";
    let kind = "content-type: application/openmetrics-text; version=1.0.0\r\n";
    let app = App::answering("200 OK", kind, body);
    let agent = with_metrics(app.port);
    for path in ["/stats/prometheus", "/metrics"] {
        let answer = agent.get(15020, path);
        let want = "content-type: text/plain; version=0.0.4; charset=utf-8";
        assert!(
            answer.status == 200 && answer.head.contains(want),
            "{}",
            answer.head
        );
        assert!(app.asked().starts_with("GET /metrics "));
        // In chunks, which hyper frames.
        let text = unchunked(&answer.body);
        assert!(metric(&text, "istio_build{").is_some(), "{text}");
        assert_eq!(metric(&text, "process_open_fds "), Some("7"));
        assert!(metric(&text, "istio_agent_process_open_fds ").is_some());
        assert!(
            text.ends_with("# TYPE carts_total counter\ncarts_total 3\n"),
            "{text}"
        );
        assert!(!text.contains("# EOF"));
    }
}

#[test]
fn without_the_applications_metrics_its_own_are_told() {
    let app = App::answering("503 Service Unavailable", "", "not now");
    let agent = with_metrics(app.port);
    for scrapes in 1..=2 {
        let text = unchunked(&agent.get(15020, "/stats/prometheus").body);
        let scrapes = scrapes.to_string();
        assert_eq!(metric(&text, "istio_agent_scrapes_total "), Some(&*scrapes));
        let failures = metric(
            &text,
            "istio_agent_scrape_failures_total{type=\"application\"} ",
        );
        assert_eq!(failures, Some(&*scrapes));
    }
    let log = agent.log();
    assert_eq!(
        log.matches("status 503 Service Unavailable").count(),
        1,
        "{log}"
    );
}

/// The body of an answer in chunks.
fn unchunked(body: &str) -> String {
    let mut text = String::new();
    let mut rest = body;
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        if size == 0 {
            break;
        }
        text += &after[..size];
        rest = &after[size + 2..];
    }
    text
}
