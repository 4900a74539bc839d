//! What the gateway tells about what it does.

use crate::{SHOP, plain_shop, shop};
use e2e::{Gateway, Origin, Request, eventually, run_gateway};
use serde_json::{Value, json};

#[test]
fn the_access_log_has_istio_s_fields() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    let request = Request::post(SHOP, "/items?x=1", "four").header("User-Agent", "tester/1");
    assert_eq!(gateway.send(&request).status, 200);
    let record = gateway.logged("/items?x=1");
    let exact = [
        ("method", json!("POST")),
        ("protocol", json!("HTTP/1.1")),
        ("response_code", json!(200)),
        ("response_flags", json!("-")),
        ("response_code_details", json!("via_upstream")),
        ("bytes_received", json!(4)),
        ("bytes_sent", json!(4)),
        ("user_agent", json!("tester/1")),
        ("authority", json!(SHOP)),
        ("x_forwarded_for", json!("127.0.0.1")),
        (
            "upstream_host",
            json!(format!("127.0.0.1:{}", origin.port())),
        ),
        (
            "upstream_cluster",
            json!("outbound|8000||shop.default.svc.cluster.local"),
        ),
        (
            "downstream_local_address",
            json!(format!("127.0.0.1:{}", gateway.http())),
        ),
        ("requested_server_name", Value::Null),
        ("reason", Value::Null),
    ];
    for (field, want) in exact {
        assert_eq!(record[field], want, "{field} in {record}");
    }
    let id = origin
        .last_request()
        .header("x-request-id")
        .map(str::to_owned);
    assert_eq!(record["request_id"].as_str(), id.as_deref());
    for field in [
        "start_time",
        "downstream_remote_address",
        "upstream_local_address",
    ] {
        assert!(record[field].is_string(), "{field} in {record}");
    }
    assert!(record["duration"].is_u64(), "{record}");
}

#[test]
fn the_text_log_is_istio_s_line_and_the_reason() {
    let gateway = shop(
        "- match: [{uri: {exact: /a}}]\n  redirect: {uri: /b}\n",
        &[],
    )
    .text_log()
    .start();
    assert_eq!(gateway.get(SHOP, "/nowhere").status, 404);
    eventually("a line", || gateway.access_log_text().contains("/nowhere"));
    let log = gateway.access_log_text();
    let line = log.lines().next().unwrap_or_default();
    assert!(
        line.contains("] \"GET /nowhere HTTP/1.1\" 404 NR route_not_found - \"-\" 0 0 "),
        "{line}"
    );
    assert!(line.contains(" no_route "), "{line}");
}

/// Promise 1.
#[test]
fn every_answer_of_its_own_has_a_reason_and_the_object_that_caused_it() {
    let rules = "\
- match: [{uri: {exact: /redirect}}]
  redirect: {uri: /b}
- match: [{uri: {exact: /direct}}]
  directResponse: {status: 503}
- match: [{uri: {exact: /abort}}]
  fault: {abort: {percentage: {value: 100}, httpStatus: 500}}
  route: [{destination: {host: nowhere}}]
- match: [{uri: {exact: /missing}}]
  route: [{destination: {host: nowhere}}]
";
    let gateway = shop(rules, &[]).start();
    let cases = [
        ("/redirect", "redirect", true),
        ("/direct", "direct_response", true),
        ("/abort", "fault_abort", true),
        ("/missing", "", true),
        // No object is to blame for what nobody wrote.
        ("/unmatched", "no_route", false),
    ];
    for (path, reason, has_origin) in cases {
        gateway.get(SHOP, path);
        let record = gateway.logged(path);
        let found = record["reason"].as_str().unwrap_or_default();
        assert!(!found.is_empty(), "{record}");
        assert!(reason.is_empty() || found == reason, "{record}");
        let origin = record["origin"].as_str().unwrap_or_default();
        assert!(!has_origin || origin.contains("shop.yaml"), "{record}");
    }
    gateway.get("stranger.test", "/stranger");
    assert_eq!(gateway.logged("/stranger")["reason"], "no_host");
}

#[test]
fn istio_s_metrics_count_requests_with_its_labels() {
    let origin = Origin::answering([200, 200, 200, 418]);
    let gateway = plain_shop(&[origin.port()]);
    for _ in 0..4 {
        gateway.get(SHOP, "/");
    }
    gateway.get("stranger.test", "/");
    let labels = [
        ("reporter", "source"),
        ("source_workload", "istio-ingressgateway"),
        ("source_workload_namespace", "istio-system"),
        ("destination_service", "shop.default.svc.cluster.local"),
        ("destination_service_name", "shop"),
        ("destination_service_namespace", "default"),
        ("request_protocol", "http"),
        ("response_flags", "-"),
        ("connection_security_policy", "unknown"),
    ];
    let with = |code: &'static str| [&labels[..], &[("response_code", code)]].concat();
    let count = |code| gateway.metrics().sum("istio_requests_total", &with(code));
    eventually("all requests are counted", || {
        count("200") == 3.0 && count("418") == 1.0
    });
    let metrics = gateway.metrics();
    let strangers = [("response_code", "404"), ("response_flags", "NR")];
    assert_eq!(metrics.sum("istio_requests_total", &strangers), 1.0);
    for histogram in [
        "istio_request_duration_milliseconds",
        "istio_request_bytes",
        "istio_response_bytes",
    ] {
        let total = metrics.sum(&format!("{histogram}_count"), &with("200"));
        assert_eq!(total, 3.0, "{histogram}");
        let last = [&with("200")[..], &[("le", "+Inf")]].concat();
        assert_eq!(
            metrics.sum(&format!("{histogram}_bucket"), &last),
            3.0,
            "{histogram}"
        );
    }
    let names = metrics.labels("istio_requests_total");
    assert_eq!(
        names.first().map(|labels| labels.len()),
        Some(25),
        "{names:?}"
    );
    assert_eq!(gateway.metrics_page("/metrics").status, 200);
}

/// Promise 18.
#[test]
fn labels_do_not_come_from_requests() {
    let origin = Origin::named("shop");
    let gateway = shop(
        "- match: [{uri: {prefix: /known}}]\n  route: [{destination: {host: shop}}]\n",
        &[("shop", &[origin.port()])],
    )
    .file(
        "wild.yaml",
        e2e::virtual_service(
            "wild",
            "*.wild.test",
            "- route: [{destination: {host: shop}}]\n",
        ),
    )
    .start();
    let hammer = |round: usize| {
        for number in 0..60 {
            let tag = format!("{round}-{number}");
            gateway.get(&format!("h{tag}.example"), "/");
            gateway.get(&format!("h{tag}.wild.test"), &format!("/{tag}"));
            gateway.get(SHOP, &format!("/{tag}"));
            gateway.get(SHOP, &format!("/known/{tag}"));
            let odd = Request::new(&format!("M{tag}").replace('-', "X"), SHOP, "/known")
                .header("User-Agent", &tag)
                .header("X-Envoy-Peer-Metadata-Id", &tag);
            gateway.send(&odd);
        }
    };
    hammer(0);
    let counted = |want: f64| {
        eventually("all requests are counted", || {
            gateway.metrics().sum("istio_requests_total", &[]) == want
        });
    };
    counted(300.0);
    let before = gateway.metrics().count("istio_requests_total", &[]);
    let before_all = gateway.metrics().len();
    hammer(1);
    counted(600.0);
    assert_eq!(gateway.metrics().count("istio_requests_total", &[]), before);
    assert_eq!(gateway.metrics().len(), before_all);
    assert!(
        !gateway
            .metrics_page("/metrics")
            .text()
            .contains("wild.test\"")
    );
}

#[test]
fn the_admin_pages_show_configuration_and_clusters() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    let dump = gateway.admin("GET", "/config_dump");
    assert_eq!(dump.status, 200);
    let dump_text = gateway.admin_json("/config_dump").to_string();
    for word in [SHOP, "shop.default.svc.cluster.local", "shop.yaml"] {
        assert!(dump_text.contains(word), "{word} is not in {dump_text}");
    }
    let clusters = gateway.admin("GET", "/clusters").text();
    assert!(
        clusters.contains("outbound|8000||shop.default.svc.cluster.local"),
        "{clusters}"
    );
    assert!(
        clusters.contains(&format!("127.0.0.1:{}", origin.port())),
        "{clusters}"
    );
    assert_eq!(gateway.admin("GET", "/no-such-page").status, 404);
    assert_eq!(gateway.status("/healthz/ready").status, 200);
}

/// Promise 7.
#[test]
fn a_change_leaves_a_receipt_in_log_metric_and_admin_page() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let gateway = shop(
        "- route: [{destination: {host: one}}]\n",
        &[("one", &[one.port()]), ("two", &[two.port()])],
    )
    .start();
    let generation = || gateway.metrics().sum("tidegate_config_generation", &[]);
    let before = generation();
    assert!(before >= 1.0, "generation {before}");
    let changed = "- route: [{destination: {host: two}}]\n";
    gateway.write("shop.yaml", e2e::virtual_service("shop", SHOP, changed));
    gateway.wait_for(SHOP, "/", 200, "two");
    assert!(
        generation() > before,
        "generation {} after {before}",
        generation()
    );
    let receipts = gateway.admin_json("/receipts").to_string();
    assert!(
        receipts.contains("default/shop") || receipts.contains("shop.yaml"),
        "{receipts}"
    );
    let now = format!("{}", generation());
    gateway.wait_for_log(&["generation", &now]);
}

type Headers<'h> = &'h [(&'h str, &'h str)];

/// What `explain` says is what happens: outcome, status, and the service behind it.
#[test]
fn explain_agrees_with_the_data_plane() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let rules = "\
- match:
  - uri: {prefix: /a}
    headers: {x-user: {regex: 'ja.*'}}
  - uri: {exact: /a/special}
  route: [{destination: {host: a}}]
- match: [{method: {exact: POST}, queryParams: {dry: {exact: 'true'}}}]
  directResponse: {status: 202}
- match: [{uri: {regex: '/items/[0-9]+'}, withoutHeaders: {x-old: {}}}]
  route: [{destination: {host: b}}]
- match: [{uri: {prefix: /go}}]
  redirect: {uri: /gone, redirectCode: 307}
- match: [{uri: {prefix: /broken}}]
  fault: {abort: {percentage: {value: 100}, httpStatus: 555}}
  route: [{destination: {host: a}}]
- match: [{uri: {prefix: /B}, ignoreUriCase: true}]
  route: [{destination: {host: b}}]
";
    let gateway = shop(rules, &[("a", &[a.port()]), ("b", &[b.port()])]).start();
    let user = ("X-User", "jason");
    let cases: [(&str, &str, &str, Headers<'_>); 14] = [
        ("GET", SHOP, "/a", &[]),
        ("GET", SHOP, "/a", &[user]),
        ("GET", SHOP, "/abc?x=1", &[user]),
        ("GET", SHOP, "/a/special", &[]),
        ("POST", SHOP, "/x?dry=true", &[]),
        ("POST", SHOP, "/x?dry=false", &[]),
        ("GET", SHOP, "/items/12", &[]),
        ("GET", SHOP, "/items/12", &[("X-Old", "1")]),
        ("GET", SHOP, "/items/twelve", &[]),
        ("GET", SHOP, "/go/on", &[]),
        ("GET", SHOP, "/broken", &[user]),
        ("GET", SHOP, "/bee", &[]),
        ("GET", SHOP, "/x/../a/special", &[]),
        ("GET", "stranger.test", "/", &[]),
    ];
    for (method, host, target, headers) in cases {
        let told = explain(&gateway, method, host, target, headers);
        let seen = headers.iter().fold(
            Request::new(method, host, target),
            |request, (name, value)| request.header(name, value),
        );
        check_agreement(
            &told,
            &gateway.send(&seen),
            &format!("{method} {host}{target} {headers:?}"),
        );
    }
}

#[track_caller]
fn explain(
    gateway: &Gateway,
    method: &str,
    host: &str,
    target: &str,
    headers: Headers<'_>,
) -> Value {
    let url = format!("http://{host}{target}");
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let mut arguments = vec![
        "explain",
        "--config",
        "gateway.toml",
        "--format",
        "json",
        "-X",
        method,
    ];
    for header in &headers {
        arguments.extend(["-H", header]);
    }
    arguments.push(&url);
    let ran = run_gateway(gateway.folder(), &arguments);
    let told: Value = match serde_json::from_str(&ran.stdout) {
        Ok(told) => told,
        Err(error) => panic!("{url}: {error}: {}{}", ran.stdout, ran.stderr),
    };
    let nowhere = told["outcome"]
        .as_str()
        .is_some_and(|outcome| outcome.starts_with("no_"));
    assert_eq!(ran.code, if nowhere { 3 } else { 0 }, "{told}");
    told
}

#[track_caller]
fn check_agreement(told: &Value, seen: &e2e::Response, what: &str) {
    let outcome = told["outcome"].as_str().unwrap_or_default();
    match outcome {
        "forward" => {
            assert_eq!(seen.status, 200, "{what}: {told}");
            let host = told["clusters"][0]["host"].as_str().unwrap_or_default();
            assert_eq!(
                host.split('.').next(),
                Some(seen.text().as_str()),
                "{what}: {told}"
            );
            assert!(
                told["line"].is_u64() && told["file"].is_string(),
                "{what}: {told}"
            );
        }
        "no_host" | "no_route" => assert_eq!(seen.status, 404, "{what}: {told}"),
        "redirect" | "direct_response" | "abort" => {
            assert_eq!(told["status"], seen.status, "{what}: {told}");
            assert_ne!(seen.status, 200, "{what}");
        }
        _ => panic!("{what}: outcome {outcome:?}: {told}"),
    }
    for tried in told["tried"].as_array().into_iter().flatten() {
        assert!(
            tried["failed"].is_string() && tried["line"].is_u64(),
            "{what}: {tried}"
        );
    }
}
