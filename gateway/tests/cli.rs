//! The command line from outside: exit codes, output, and what happens to broken input.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Runs the gateway in a folder, without a terminal.
fn gateway(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command
        .args(words)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .expect("the gateway starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"))
}

#[track_caller]
fn check_exit(output: &Output, want: i32) {
    assert_eq!(
        output.status.code(),
        Some(want),
        "{}{}",
        stdout(output),
        stderr(output)
    );
}

/// The examples that come with the gateway.
fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../conf"))
}

/// The original examples, and a Service for them.
fn seed(names: &[&str]) -> TempDir {
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/seed");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in names {
        fs::copy(seed.join(name), folder.path().join(name)).expect("the example is there");
    }
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: httpbin}\nspec: {ports: [{name: http, port: 8000}]}\n\
        ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
        metadata: {name: httpbin-1, labels: {kubernetes.io/service-name: httpbin}}\naddressType: IPv4\n\
        ports: [{name: http, port: 9000}]\nendpoints: [{addresses: [127.0.0.1]}]\n";
    fs::write(folder.path().join("service.yaml"), service).expect("the folder can be written");
    folder
}

fn httpbin() -> TempDir {
    seed(&["09-gateway-http.yaml", "10-virtualservice-httpbin.yaml"])
}

#[test]
fn help_and_version_are_no_errors() {
    for words in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["check", "--help"],
        &["explain", "--help"],
        &["egress", "--help"],
        &["egress", "propose", "--help"],
    ] {
        check_exit(&gateway(examples(), words), 0);
    }
}

#[test]
fn wrong_usage_exits_2() {
    for words in [
        &[][..],
        &["serve"],
        &["run", "--colour"],
        &["check", "--format", "xml"],
        &["explain"],
        &["explain", "--resources", "x"],
        &["explain", "--resources", "x", "--port", "0", "http://a/"],
        &["explain", "--resources", "x", "httpbin.example.com"],
        &["explain", "--resources", "x", "https://a:99999/"],
        &["explain", "--resources", "x", "https://a:44x/"],
        &["explain", "--resources", "x", "https://user:secret@a/"],
        &["explain", "--resources", "x", "-H", "no colon", "http://a/"],
        &["explain", "--resources", "x", "-X", "GE T", "http://a/"],
        &["egress"],
        &["egress", "propose", "--fold", "*"],
        &["egress", "propose", "--fold", "a.example.org"],
        &["egress", "propose", "--fold", "*example.org"],
        &["egress", "propose", "--namespace", "No Such"],
        &["egress", "propose", "--min-count", "-1"],
    ] {
        check_exit(&gateway(examples(), words), 2);
    }
}

#[test]
fn a_bootstrap_file_that_is_not_there_exits_1() {
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["run"][..],
        &["check"],
        &["explain", "http://a/"],
        &["egress", "propose"],
        &["run", "--config", "x.toml"],
    ] {
        let output = gateway(folder.path(), words);
        check_exit(&output, 1);
        assert!(
            stderr(&output).contains("cannot be read"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_mistake_in_the_bootstrap_file_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("g.toml"),
        "[proxy]\nname = \"x\"\nworker = 1\n",
    )
    .unwrap();
    let output = gateway(folder.path(), &["run", "--config", "g.toml"]);
    check_exit(&output, 1);
    assert!(
        stderr(&output).contains("g.toml:3:1: unknown field `worker`"),
        "{}",
        stderr(&output)
    );
    let output = gateway(
        folder.path(),
        &["check", "--config", "g.toml", "--format", "json"],
    );
    check_exit(&output, 1);
    let diagnostic = &json(&output)["diagnostics"][0];
    assert_eq!(
        (&diagnostic["code"], &diagnostic["line"]),
        (&"invalid_bootstrap".into(), &3.into())
    );
}

#[test]
fn a_bad_health_check_is_told_with_its_key_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let host = "[health-checks.\"shop.default.svc.cluster.local\"]";
    for (keys, want) in [
        (
            "protocol = \"http\"\ntimeout = \"0s\"",
            "g.toml:3:11: must be at least 10ms",
        ),
        (
            "protocol = \"tcp\"\npath = \"/\"",
            "g.toml:1:1: `path` is of no use with protocol \"tcp\"",
        ),
        ("path = \"/\"", "g.toml:1:1: missing field `protocol`"),
    ] {
        fs::write(folder.path().join("g.toml"), format!("{host}\n{keys}\n")).unwrap();
        for command in ["run", "explain"] {
            let url = (command == "explain").then_some("http://a/");
            let words: Vec<_> = [command, "--config", "g.toml"]
                .into_iter()
                .chain(url)
                .collect();
            let output = gateway(folder.path(), &words);
            check_exit(&output, 1);
            assert!(stderr(&output).contains(want), "{}", stderr(&output));
        }
    }
}

#[test]
fn what_comes_with_the_gateway_is_clean() {
    let folder = examples().parent().unwrap();
    for words in [
        &["check"][..],
        &["check", "--config", "conf/gateway.toml"],
        &["check", "conf/resources"],
    ] {
        let output = gateway(folder, &[words, &["--format", "json"]].concat());
        check_exit(&output, 0);
        let told = json(&output);
        // Certificates come with nobody's gateway.
        let is_about_files = |one: &Value| one["code"] == "missing_certificate";
        let all = told["diagnostics"].as_array().unwrap();
        assert!(all.iter().all(is_about_files), "{told:#}");
    }
}

/// Promises 3 and 4.
#[test]
fn a_rule_without_a_route_is_refused_by_name_and_hurts_no_other() {
    let folder = seed(&[
        "06-match-source-and-user.yaml",
        "09-gateway-http.yaml",
        "10-virtualservice-httpbin.yaml",
    ]);
    let output = gateway(folder.path(), &["check", ".", "--format", "json"]);
    check_exit(&output, 1);
    let diagnostics = json(&output);
    let all = diagnostics["diagnostics"].as_array().unwrap();
    let errors: Vec<_> = all
        .iter()
        .filter(|one| one["severity"] == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{diagnostics:#}");
    assert_eq!(errors[0]["resource"], "VirtualService default/ratings");
    assert!(
        errors[0]["path"]
            .as_str()
            .unwrap()
            .starts_with("spec.http[0]"),
        "{diagnostics:#}"
    );
    assert_eq!(errors[0]["file"], "./06-match-source-and-user.yaml");
    for key in [
        "severity", "code", "resource", "path", "message", "file", "line", "column",
    ] {
        assert!(!errors[0][key].is_null(), "{key}");
    }
    let text = stdout(&gateway(folder.path(), &["check", "."]));
    assert!(
        text.contains("VirtualService default/ratings") && text.contains("^"),
        "{text}"
    );
    check_exit(
        &explain(folder.path(), &["http://httpbin.example.com/status/200"]),
        0,
    );
}

#[test]
fn warnings_alone_exit_0() {
    let folder = tempfile::tempdir().unwrap();
    let seed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/seed/10-virtualservice-httpbin.yaml");
    fs::copy(seed, folder.path().join("a.yaml")).unwrap();
    let output = gateway(folder.path(), &["check", "--format", "json", "a.yaml"]);
    check_exit(&output, 0);
    let diagnostics = json(&output);
    let all = diagnostics["diagnostics"].as_array().unwrap();
    assert!(
        !all.is_empty() && all.iter().all(|one| one["severity"] == "warning"),
        "{diagnostics:#}"
    );
}

#[test]
fn broken_files_are_told_and_the_others_checked() {
    let folder = httpbin();
    fs::write(folder.path().join("junk.yaml"), [0xff, 0x00, 0x80]).unwrap();
    fs::write(
        folder.path().join("half.yaml"),
        "apiVersion: networking.istio.io/v1\nkind: Gatew",
    )
    .unwrap();
    fs::File::create(folder.path().join("large.yaml"))
        .unwrap()
        .set_len(50_000_000)
        .unwrap();
    let output = gateway(
        folder.path(),
        &["check", "--format", "json", ".", "missing.yaml"],
    );
    check_exit(&output, 1);
    let diagnostics = json(&output);
    for file in ["./junk.yaml", "./half.yaml", "./large.yaml", "missing.yaml"] {
        let all = diagnostics["diagnostics"].as_array().unwrap();
        assert!(
            all.iter().any(|one| one["file"] == file),
            "{file}: {diagnostics:#}"
        );
    }
    check_exit(
        &explain(folder.path(), &["http://httpbin.example.com/status/200"]),
        0,
    );
}

fn explain(folder: &Path, words: &[&str]) -> Output {
    let words = [&["explain", "--format", "json", "--resources", "."], words].concat();
    gateway(folder, &words)
}

/// Promise 2.
#[test]
fn a_forwarded_request_is_explained() {
    let folder = httpbin();
    let output = explain(folder.path(), &["http://httpbin.example.com/delay/2"]);
    check_exit(&output, 0);
    let explanation = json(&output);
    assert_eq!(explanation["outcome"], "forward");
    assert_eq!(explanation["resource"], "VirtualService default/httpbin");
    assert_eq!(explanation["file"], "./10-virtualservice-httpbin.yaml");
    let cluster = &explanation["clusters"][0];
    assert_eq!(cluster["host"], "httpbin.default.svc.cluster.local");
    assert_eq!(
        (&cluster["port"], &cluster["subset"]),
        (&8000.into(), &Value::Null)
    );
    assert_eq!(cluster["endpoints"][0], "127.0.0.1:9000");
    let tried = &explanation["tried"][0];
    assert!(
        tried["failed"].as_str().unwrap().contains("/status"),
        "{explanation:#}"
    );
    assert!(tried["line"].is_u64() && tried["file"].is_string() && tried["rule"].is_string());
}

/// A circuit breaker of the original examples, and TLS besides.
const POLICY: &str = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: httpbin}\n\
    spec:\n  host: httpbin\n  trafficPolicy:\n    connectionPool: {tcp: {maxConnections: 1}}\n    \
    outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}\n    \
    tls: {mode: SIMPLE, sni: httpbin.test, caCertificates: /ca.pem}\n";

/// Promise 2.
#[test]
fn the_policy_of_a_destination_is_explained_with_its_place() {
    let folder = httpbin();
    fs::write(folder.path().join("policy.yaml"), POLICY).expect("the folder can be written");
    let url = "http://httpbin.example.com/delay/2";
    let cluster = json(&explain(folder.path(), &[url]))["clusters"][0].clone();
    let policy = &cluster["policy"];
    assert_eq!(policy["load_balancing"], "least request");
    assert_eq!(policy["max_connections"], "1");
    assert_eq!(
        policy["outlier_detection"],
        "after 1 5xx in a row, for 30s, at most 100%, swept every 10s"
    );
    let tls = "SIMPLE, sni httpbin.test, verifies the sni by authorities /ca.pem";
    assert_eq!(policy["tls"], tls);
    assert_eq!(policy["max_requests"], Value::Null);
    let shaped_by = &cluster["shaped_by"];
    assert_eq!(shaped_by["resource"], "DestinationRule default/httpbin");
    assert_eq!(
        (&shaped_by["file"], &shaped_by["line"]),
        (&"./policy.yaml".into(), &6.into())
    );
    let text = stdout(&gateway(
        folder.path(),
        &["explain", "--resources", ".", url],
    ));
    for said in ["max connections: 1", "tls: SIMPLE", "(./policy.yaml:6)"] {
        assert!(text.contains(said), "no {said:?} in\n{text}");
    }
}

/// Promise 2.
#[test]
fn what_nobody_takes_exits_3_and_says_why() {
    let folder = httpbin();
    for (words, outcome) in [
        (&["http://httpbin.example.com/headers"][..], "no_route"),
        (&["http://other.example.com/status/200"], "no_host"),
        (
            &["--port", "81", "http://httpbin.example.com/status/200"],
            "no_listener",
        ),
        (&["http://httpbin.example.com:81/status/200"], "no_listener"),
        (
            &[
                "-H",
                "Host: other.test",
                "http://httpbin.example.com/status/200",
            ],
            "no_host",
        ),
    ] {
        let output = explain(folder.path(), words);
        check_exit(&output, 3);
        let explanation = json(&output);
        assert_eq!(explanation["outcome"], outcome, "{words:?}");
        for key in [
            "status",
            "listener",
            "virtual_host",
            "route",
            "resource",
            "file",
            "line",
            "clusters",
            "tried",
        ] {
            assert!(explanation.get(key).is_some(), "{key} of {explanation:#}");
        }
    }
}

#[test]
fn answers_by_a_rule_exit_0() {
    let folder = examples().parent().unwrap();
    for (words, outcome) in [
        (
            &["http://more.example.com/robots.txt"][..],
            "direct_response",
        ),
        (&["http://more.example.com/old/page"], "redirect"),
        (
            &["-H", "x-user: jason", "http://more.example.com/reviews"],
            "abort",
        ),
        (
            &["-X", "POST", "http://more.example.com/api/x?y=1"],
            "forward",
        ),
        (
            &["--port", "8080", "http://httpbin.example.com/status/200"],
            "forward",
        ),
    ] {
        let output = gateway(folder, &[&["explain", "--format", "json"], words].concat());
        check_exit(&output, 0);
        assert_eq!(json(&output)["outcome"], outcome, "{words:?}");
    }
}

#[test]
fn an_explanation_reads_well() {
    let folder = examples().parent().unwrap();
    let text = stdout(&gateway(
        folder,
        &["explain", "http://more.example.com/api/list?all=yes"],
    ));
    for part in [
        "more.example.com:80",
        "robots at VirtualService default/more spec.http[0]",
        "because uri: wants exact \"/robots.txt\"",
        "everything-at-once",
        "httpbin.default.svc.cluster.local:8000 -> 127.0.0.1:8000",
        "/anything/list?all=yes",
        "timeout  3s",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

const HTTPS_GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ['*']
    tls: {mode: SIMPLE, credentialName: web}
";

/// What `check` says of certificates: code and severity.
fn checked(folder: &Path) -> Vec<(String, String)> {
    let output = gateway(folder, &["check", "--config", "g.toml", "--format", "json"]);
    let told = json(&output);
    let all = told["diagnostics"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    all.iter()
        .map(|one| (text(&one["code"]), text(&one["severity"])))
        .collect()
}

#[test]
fn check_reads_the_certificates_too() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("rules.yaml", HTTPS_GATEWAY);
    write(
        "g.toml",
        "[resources]\nfiles = ['rules.yaml']\n[tls]\ncertificates = 'certs'\n",
    );
    let told = |code: &str, severity: &str| vec![(code.to_owned(), severity.to_owned())];
    assert_eq!(
        checked(folder.path()),
        told("missing_certificate", "warning")
    );
    fs::create_dir_all(folder.path().join("certs/web")).unwrap();
    write("certs/web/tls.crt", "junk");
    assert_eq!(
        checked(folder.path()),
        told("incomplete_certificate", "error")
    );
    write("certs/web/tls.key", "junk");
    let key = folder.path().join("certs/web/tls.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(checked(folder.path()), told("readable_key", "error"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(checked(folder.path()), told("invalid_certificate", "error"));
    let text = gateway(folder.path(), &["check", "--config", "g.toml"]);
    check_exit(&text, 1);
    for word in [
        "rules.yaml:10:",
        "certs/web/tls.crt",
        "there is no certificate in it",
    ] {
        assert!(
            stdout(&text).contains(word),
            "{word} is not in {}",
            stdout(&text)
        );
    }
}

/// Promise 2: also over TLS, where the URL's host is the name that is asked for.
#[test]
fn a_request_over_tls_is_explained_with_the_server_that_takes_it() {
    let folder = seed(&["10-virtualservice-httpbin.yaml", "11-gateway-tls.yaml"]);
    let output = explain(folder.path(), &["https://httpbin.example.com/status/200"]);
    check_exit(&output, 0);
    let told = stderr(&output);
    assert!(
        told.contains("spec.servers[1].tls") && told.contains("is missing"),
        "{told}"
    );
    let explanation = json(&output);
    assert_eq!(explanation["listener"], "443");
    let server = &explanation["server"];
    assert_eq!(
        (&server["name"], &server["mode"], &server["line"]),
        (
            &"default/httpbin-gateway/https".into(),
            &"SIMPLE".into(),
            &15.into()
        )
    );
    assert_eq!(explanation["clusters"][0]["endpoints"][0], "127.0.0.1:9000");
    let host = ["-H", "host: other.example.com"];
    for (words, status, told) in [
        (
            &["https://other.example.com/"][..],
            Value::Null,
            "no server",
        ),
        (&["https://127.0.0.1/"], Value::Null, "no name"),
        (&["http://httpbin.example.com:443/"], 400.into(), "in TLS"),
        (
            &[host[0], host[1], "https://httpbin.example.com/"],
            421.into(),
            "does not serve",
        ),
    ] {
        let output = explain(folder.path(), words);
        check_exit(&output, 3);
        let explanation = json(&output);
        assert_eq!(explanation["outcome"], "no_host", "{words:?}");
        assert_eq!(explanation["status"], status, "{words:?}");
        let reason = explanation["reason"].as_str().unwrap();
        assert!(reason.contains(told), "{words:?}: {reason}");
    }
}

/// The seed's host outside, through a forward proxy (promise 20).
#[test]
fn what_a_forward_proxy_lets_out_is_explained() {
    let folder = seed(&["12-serviceentry-egress.yaml", "13-egress-timeout.yaml"]);
    let bootstrap = "[resources]\nfiles = ['.']\nlast-good = ''\n\
                     [listen]\nforward-proxy = '127.0.0.1:15080'\n\
                     [forward-proxy]\nclient-namespace = 'guests'\n\
                     clients = [{ namespace = 'default', networks = ['10.1.0.0/16'] }]\n";
    let toml = folder.path().join("gateway.toml");
    fs::write(&toml, bootstrap).expect("the folder can be written");
    let explain = |words: &[&str]| {
        let toml = toml.display().to_string();
        let fixed = [
            "explain",
            "--format",
            "json",
            "--config",
            &toml,
            "--forward-proxy",
        ];
        gateway(folder.path(), &[&fixed, words].concat())
    };
    let allowed = explain(&["--client", "10.1.2.3", "http://httpbin.org/get"]);
    check_exit(&allowed, 0);
    let allowed = json(&allowed);
    assert_eq!(allowed["outcome"], "forward");
    assert_eq!(allowed["resource"], "VirtualService default/httpbin-ext");
    assert_eq!(allowed["clusters"][0]["host"], "httpbin.org");
    for (words, status, reason) in [
        (&["http://httpbin.org:81/"][..], 502, "port_not_in_registry"),
        (&["https://httpbin.org/"], 403, "port_not_in_registry"),
        (&["https://evil.test/"], 403, "not_in_registry"),
        (&["tcp://192.0.2.1:22"], 403, "not_in_registry"),
    ] {
        let denied = explain(words);
        check_exit(&denied, 3);
        let denied = json(&denied);
        assert_eq!(denied["outcome"], "denied", "{words:?}");
        assert_eq!(denied["status"], status, "{words:?}");
        let told = denied["reason"].as_str().unwrap_or_default();
        assert!(told.starts_with(reason), "{words:?}: {told}");
    }
    let nowhere = gateway(
        folder.path(),
        &[
            "explain",
            "--resources",
            ".",
            "--forward-proxy",
            "http://a/",
        ],
    );
    check_exit(&nowhere, 1);
    assert!(
        stderr(&nowhere).contains("[listen] forward-proxy"),
        "{}",
        stderr(&nowhere)
    );
}

/// A row of what was learnt.
fn learnt(host: &str, port: u16, protocol: &str) -> Value {
    serde_json::json!({
        "host": host, "port": port, "protocol": protocol, "count": 2, "received": 10, "sent": 20,
        "first_seen": 1_767_225_600, "last_seen": 1_767_225_601, "clients": ["10.0.0.1"],
        "of_further_clients": 0, "denial": "not_in_registry",
    })
}

/// A bootstrap file with its resources, and what was learnt with it.
fn with_learnt(rows: &[Value]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("the folder can be written");
    };
    let bootstrap = "[resources]\nfiles = ['there.yaml']\n[listen]\nforward-proxy = '127.0.0.1:15080'\n\
        [forward-proxy]\nmode = 'learn'\nlearned = 'learned.json'\n";
    write("g.toml", bootstrap);
    let there = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: there}\nspec:\n  \
        hosts: [there.test]\n  resolution: DNS\n  ports: [{number: 443, name: tls, protocol: TLS}]\n";
    write("there.yaml", there);
    let rows = serde_json::json!({ "left_out": 7, "rows": rows });
    write("learned.json", &rows.to_string());
    folder
}

fn propose(folder: &Path, words: &[&str]) -> Output {
    gateway(
        folder,
        &[&["egress", "propose", "--config", "g.toml"], words].concat(),
    )
}

#[test]
fn what_was_learnt_is_proposed_and_then_allowed() {
    let folder = with_learnt(&[
        learnt("there.test", 443, "tls"),
        learnt("a.example.org", 443, "tls"),
        learnt("b.example.org", 80, "http"),
        learnt("notexample.org", 443, "tls"),
        learnt("198.51.100.7", 5432, "tcp"),
        learnt("no host", 443, "tls"),
    ]);
    let output = propose(
        folder.path(),
        &["--fold", "*.example.org", "--namespace", "shop"],
    );
    check_exit(&output, 0);
    let told = stderr(&output);
    for said in [
        "warning: \"no host\", port 443, is left out",
        "7 requests or connections were not learnt",
        "3 ServiceEntries for 6 hosts and ports",
    ] {
        assert!(told.contains(said), "no {said:?} in\n{told}");
    }
    assert!(!told.contains("even so"), "{told}");
    let yaml = stdout(&output);
    let is_there = |text: &str| yaml.contains(text);
    assert!(
        is_there("- \"*.example.org\"") && is_there("- \"notexample.org\""),
        "{yaml}"
    );
    assert!(
        !is_there("there.test") && is_there("namespace: \"shop\""),
        "{yaml}"
    );
    fs::write(folder.path().join("proposed.yaml"), &yaml).unwrap();
    let checked = gateway(
        folder.path(),
        &["check", "--format", "json", "there.yaml", "proposed.yaml"],
    );
    check_exit(&checked, 0);
    for url in [
        "tls://a.example.org:443",
        "http://b.example.org/",
        "tls://notexample.org:443",
        "tcp://198.51.100.7:5432",
    ] {
        let words = [
            "explain",
            "--forward-proxy",
            "--config",
            "g.toml",
            "--resources",
            "proposed.yaml",
            url,
        ];
        check_exit(&gateway(folder.path(), &words), 0);
    }
    // Without the present resources everything is new.
    let all = stdout(&propose(folder.path(), &["--all"]));
    assert!(
        all.contains("- \"there.test\"") && all.contains("- \"a.example.org\""),
        "{all}"
    );
}

#[test]
fn a_proposal_that_a_sidecar_hides_is_told() {
    let folder = with_learnt(&[learnt("a.test", 443, "tls")]);
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: istio-system}\n\
        spec: {egress: [{hosts: ['other/*']}]}\n";
    fs::write(folder.path().join("sidecar.yaml"), sidecar).unwrap();
    let output = propose(
        folder.path(),
        &["--resources", "there.yaml", "sidecar.yaml"],
    );
    check_exit(&output, 0);
    let told = stderr(&output);
    assert!(
        told.contains("a.test:443 is not allowed to all of its clients even so"),
        "{told}"
    );
}

#[test]
fn nothing_to_propose_is_no_error_and_an_unreadable_file_is() {
    let folder = with_learnt(&[learnt("there.test", 443, "tls")]);
    let output = propose(folder.path(), &[]);
    check_exit(&output, 0);
    assert_eq!(stdout(&output), "");
    assert!(
        stderr(&output).contains("nothing to propose"),
        "{}",
        stderr(&output)
    );
    let output = propose(folder.path(), &["--learned", "missing.json"]);
    check_exit(&output, 1);
    assert!(
        stderr(&output).contains("missing.json: cannot be read"),
        "{}",
        stderr(&output)
    );
    fs::write(folder.path().join("torn.json"), "{\"rows\": [").unwrap();
    let output = propose(folder.path(), &["--learned", "torn.json"]);
    check_exit(&output, 1);
    assert!(
        stderr(&output).contains("torn.json: EOF"),
        "{}",
        stderr(&output)
    );
}
