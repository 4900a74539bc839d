//! The examples of Istio's own page, as written there, in front of the real httpbin.

use crate::SHOP;
use e2e::{Gateway, Httpbin, Origin, Setup, run, seed, service, virtual_service};
use serde_json::Value;
use std::time::{Duration, Instant};

const HOST: &str = "Host:httpbin.example.com";

fn with_the_page_s_files(endpoint: u16) -> Setup {
    Setup::new()
        .file("gateway.yaml", seed("09-gateway-http.yaml"))
        .file(
            "virtual-service.yaml",
            seed("10-virtualservice-httpbin.yaml"),
        )
        .file("service.yaml", service("httpbin", 8000, &[endpoint]))
}

#[track_caller]
fn curl(arguments: &[&str]) -> String {
    let common = ["--silent", "--show-error", "--max-time", "20"];
    let ran = run("curl", &[&common, arguments].concat());
    assert_eq!(ran.code, 0, "curl {arguments:?}: {}", ran.stderr);
    ran.stdout
}

#[test]
fn the_page_s_two_curls_get_200_and_404() {
    let httpbin = Httpbin::start();
    let gateway = with_the_page_s_files(httpbin.port()).start();
    let found = curl(&[
        "-I",
        "-HHost:httpbin.example.com",
        &gateway.url("/status/200"),
    ]);
    assert!(found.starts_with("HTTP/1.1 200 OK"), "{found}");
    let missing = curl(&["-I", "-HHost:httpbin.example.com", &gateway.url("/headers")]);
    assert!(missing.starts_with("HTTP/1.1 404 Not Found"), "{missing}");
    let stranger = curl(&[
        "-I",
        "-HHost:other.example.com",
        &gateway.url("/status/200"),
    ]);
    assert!(stranger.starts_with("HTTP/1.1 404 Not Found"), "{stranger}");
}

#[test]
fn statuses_and_delays_of_httpbin_come_through() {
    let httpbin = Httpbin::start();
    let gateway = with_the_page_s_files(httpbin.port()).start();
    for status in ["201", "302", "418", "500", "503"] {
        let url = gateway.url(&format!("/status/{status}"));
        let head = curl(&["-i", "-H", HOST, &url]);
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
    }
    let asked = Instant::now();
    let answer: Value = serde_json::from_str(&curl(&["-H", HOST, &gateway.url("/delay/1?a=b")]))
        .expect("httpbin answers JSON");
    assert!(asked.elapsed() >= Duration::from_secs(1));
    assert_eq!(answer["args"]["a"], "b");
    assert_eq!(answer["headers"]["Host"], "httpbin.example.com");
}

#[test]
fn a_slow_httpbin_is_cut_by_the_timeout_with_504() {
    let httpbin = Httpbin::start();
    let rules = "\
- match:
  - uri: {prefix: /delay}
  timeout: 1s
  route:
  - destination: {host: httpbin, port: {number: 8000}}
";
    let gateway = Setup::new()
        .file(
            "gateway.yaml",
            e2e::gateway("edge", &["httpbin.example.com"]),
        )
        .file(
            "virtual-service.yaml",
            virtual_service("httpbin", "httpbin.example.com", rules),
        )
        .file("service.yaml", service("httpbin", 8000, &[httpbin.port()]))
        .start();
    let asked = Instant::now();
    let late = curl(&["-i", "-H", HOST, &gateway.url("/delay/5")]);
    assert!(late.starts_with("HTTP/1.1 504 "), "{late}");
    assert!(late.ends_with("\r\n\r\nupstream request timeout"), "{late}");
    assert!(asked.elapsed() >= Duration::from_secs(1));
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
    let early = curl(&["-i", "-H", HOST, &gateway.url("/delay/0")]);
    assert!(early.starts_with("HTTP/1.1 200 "), "{early}");
    let record = gateway.logged("/delay/5");
    assert_eq!(record["response_flags"], "UT");
    assert_eq!(record["response_code_details"], "response_timeout");
}

#[test]
fn httpbin_answers_the_same_with_the_gateway_between() {
    let httpbin = Httpbin::start();
    let rules = "- route:\n  - destination: {host: httpbin, port: {number: 8000}}\n";
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file(
            "virtual-service.yaml",
            virtual_service("httpbin", "httpbin.example.com", rules),
        )
        .file("service.yaml", service("httpbin", 8000, &[httpbin.port()]))
        .start();
    let direct = format!("http://127.0.0.1:{}", httpbin.port());
    let paths = [
        "/get?x=1&x=2",
        "/encoding/utf8",
        "/gzip",
        "/bytes/70000?seed=7",
        "/stream-bytes/150000?seed=3&chunk_size=1024",
        "/redirect-to?url=/get",
        "/anything/a%2Fb%20c?d=%2F",
        "/image/png",
    ];
    for path in paths {
        let answers = [direct.as_str(), &gateway.url("")].map(|base| {
            // httpbin repeats the caller's address and headers; only what it made itself counts.
            let write = "%{http_code} %{content_type} %{size_download}";
            let options = [
                "-o",
                "/dev/null",
                "-w",
                write,
                "-H",
                HOST,
                "-HX-Forwarded-For:",
            ];
            curl(&[&options, [format!("{base}{path}").as_str()].as_slice()].concat())
        });
        let [ours, theirs] = answers.map(|answer| without_size_if_json(&answer));
        assert_eq!(ours, theirs, "{path}");
    }
    let body = "x".repeat(100_000);
    let url = gateway.url("/post");
    let echo = curl(&[
        "-H",
        HOST,
        "-HContent-Type: text/plain",
        "--data-raw",
        &body,
        &url,
    ]);
    let echo: Value = serde_json::from_str(&echo).expect("httpbin answers JSON");
    assert_eq!(echo["data"].as_str(), Some(body.as_str()));
}

/// httpbin's JSON repeats headers that a proxy adds to.
fn without_size_if_json(answer: &str) -> String {
    let json = answer.contains("application/json");
    let (facts, _) = answer.rsplit_once(' ').expect("three facts");
    if json { facts } else { answer }.to_owned()
}

#[test]
fn the_rule_without_a_route_is_refused_by_name_and_harms_nothing_else() {
    let origin = Origin::named("httpbin");
    let gateway = with_the_page_s_files(origin.port())
        .file("06.yaml", seed("06-match-source-and-user.yaml"))
        .start();
    assert_eq!(
        gateway.get("httpbin.example.com", "/status/200").status,
        200
    );

    let check = e2e::run_gateway(gateway.folder(), &["check", "--config", "gateway.toml"]);
    assert_eq!(check.code, 1, "{}{}", check.stdout, check.stderr);
    for word in [
        "VirtualService default/ratings",
        "spec.http[0]",
        "route",
        "06.yaml",
    ] {
        assert!(
            check.stdout.contains(word),
            "{word} is not in\n{}",
            check.stdout
        );
    }
    gateway.wait_for_log(&["default/ratings", "spec.http[0]"]);
}

#[test]
fn every_other_example_is_accepted_as_written() {
    let names = [
        "01-fault-abort-jason.yaml",
        "02-circuit-breaker.yaml",
        "03-fault-delay.yaml",
        "04-default-route-v1.yaml",
        "05-canary-weights.yaml",
        "07-all-v2.yaml",
        "08-subset-connection-limit.yaml",
        "09-gateway-http.yaml",
        "10-virtualservice-httpbin.yaml",
        "11-gateway-tls.yaml",
        "12-serviceentry-egress.yaml",
        "13-egress-timeout.yaml",
        "14-mirror.yaml",
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in names {
        std::fs::write(folder.path().join(name), seed(name)).expect("the folder can be written");
        let check = e2e::run_gateway(folder.path(), &["check", name]);
        assert_eq!(check.code, 0, "{name}: {}{}", check.stdout, check.stderr);
    }
}

#[test]
fn the_main_job_works_on_the_real_httpbin() {
    let httpbin = Httpbin::start();
    let rules = "\
- match:
  - headers: {end-user: {exact: jason}}
  fault:
    abort: {percentage: {value: 100}, httpStatus: 500}
  route:
  - destination: {host: httpbin}
- match:
  - uri: {prefix: /old/}
  redirect: {uri: /get, redirectCode: 302}
- match:
  - uri: {prefix: /api/}
  rewrite: {uri: /}
  route:
  - destination: {host: httpbin}
- route:
  - destination: {host: httpbin}
  corsPolicy:
    allowOrigins: [{exact: 'https://shop.example'}]
    allowMethods: [GET, POST]
";
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &[SHOP]))
        .file("shop.yaml", virtual_service("shop", SHOP, rules))
        .file("httpbin.yaml", service("httpbin", 8000, &[httpbin.port()]))
        .start();
    check_with_curl(&gateway);
}

#[track_caller]
fn check_with_curl(gateway: &Gateway) {
    let host = format!("Host: {SHOP}");
    let code = |arguments: &[&str], path: &str| {
        let url = gateway.url(path);
        let fixed = [
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %header{location}",
            "-H",
            &host,
        ];
        curl(&[&fixed, arguments, &[url.as_str()]].concat())
    };
    assert_eq!(code(&["-Hend-user: jason"], "/get"), "500 ");
    assert_eq!(code(&["-Hend-user: anna"], "/get"), "200 ");
    assert_eq!(
        code(&[], "/old/thing?x=1"),
        format!("302 http://{SHOP}/get?x=1")
    );
    assert_eq!(code(&[], "/api/status/204"), "204 ");
    let preflight = ["-XOPTIONS", "-HOrigin: https://shop.example"];
    let asked = ["-HAccess-Control-Request-Method: POST"];
    let url = gateway.url("/post");
    let head = curl(
        &[
            &["-i", "-H", &host],
            &preflight[..],
            &asked,
            &[url.as_str()],
        ]
        .concat(),
    );
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let head = head.to_lowercase();
    assert!(
        head.contains("access-control-allow-methods: get,post"),
        "{head}"
    );
    assert!(
        head.contains("access-control-allow-origin: https://shop.example"),
        "{head}"
    );
}
