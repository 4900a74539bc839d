//! The commands that a user types.

use crate::{SHOP, shop};
use e2e::{Ports, Setup, gateway_binary, poll_for, run, run_gateway, virtual_service};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Everything in `conf/` is loaded as it lies there.
#[test]
fn the_shipped_configuration_is_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let ran = run_gateway(&root, &["check", "--config", "conf/gateway.toml"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
}

/// Promise 4.
#[test]
fn check_points_at_object_field_and_line() {
    let rules = "- route: [{destination: {host: nowhere}}]\n  timeout: forever\n";
    let setup = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("vs.yaml", virtual_service("shop", SHOP, rules));
    let path = setup.written(&Ports::reserve());
    let folder = path.parent().expect("a folder");
    let arguments = ["check", "--config", "gateway.toml"];
    let text = run_gateway(folder, &arguments);
    assert_eq!(text.code, 1, "{}{}", text.stdout, text.stderr);
    for word in [
        "error",
        "default/shop",
        "spec.http[0].timeout",
        "vs.yaml:",
        "timeout: forever",
        "^",
    ] {
        assert!(
            text.stdout.contains(word),
            "{word:?} is not in\n{}",
            text.stdout
        );
    }
    let json = run_gateway(folder, &[&arguments[..], &["--format", "json"]].concat());
    assert_eq!(json.code, 1);
    let told: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let all = told["diagnostics"].as_array().expect("a list");
    let found = all
        .iter()
        .find(|diagnostic| diagnostic["path"] == "spec.http[0].timeout")
        .expect("the diagnostic of the timeout");
    assert_eq!(found["severity"], "error");
    assert_eq!(found["resource"], "VirtualService default/shop");
    assert!(
        found["file"]
            .as_str()
            .is_some_and(|file| file.ends_with("vs.yaml")),
        "{found}"
    );
    assert_eq!(found["line"], 9, "{found}");
    assert!(
        found["column"].is_u64() && found["code"].is_string(),
        "{found}"
    );
}

/// Promise 3: what can never take effect is said.
#[test]
fn check_warns_of_rules_that_can_never_take_effect() {
    let rules = "\
- match: [{uri: {prefix: /a}}]
  route: [{destination: {host: nowhere}}]
- match: [{uri: {prefix: /a/b}}]
  route: [{destination: {host: known, subset: ghost}}]
";
    let setup = shop(rules, &[("known", &[])])
        .file("gateway.yaml", e2e::gateway("edge", &[SHOP]))
        .file(
            "stray.yaml",
            virtual_service(
                "stray",
                "stray.test",
                "- route: [{destination: {host: known}}]\n",
            ),
        )
        .file(
            "lost.yaml",
            virtual_service("lost", SHOP, "- route: [{destination: {host: known}}]\n")
                .replace("[edge]", "[no-such-gateway]"),
        );
    let path = setup.written(&Ports::reserve());
    let folder = path.parent().expect("a folder");
    let ran = run_gateway(
        folder,
        &["check", "--config", "gateway.toml", "--format", "json"],
    );
    let told: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let all = told["diagnostics"].as_array().expect("a list");
    let cases = [
        ("default/shop", "spec.http[0]", "nowhere"),
        ("default/shop", "spec.http[1]", "ghost"),
        ("default/shop", "spec.http[1]", "spec.http[0]"),
        ("default/stray", "spec.hosts", "stray.test"),
        ("default/lost", "spec.gateways", "no-such-gateway"),
    ];
    for (resource, path, word) in cases {
        let said = all.iter().any(|diagnostic| {
            let field = |name: &str| diagnostic[name].as_str().unwrap_or_default();
            field("resource").ends_with(resource)
                && field("path").starts_with(path)
                && diagnostic.to_string().contains(word)
        });
        assert!(said, "nothing on {resource} {path} {word:?} in {:#}", told);
    }
    assert_eq!(ran.code, 0, "only warnings");
}

/// Promise 2.
#[test]
fn explain_tells_the_rule_and_why_those_before_it_did_not_match() {
    let rules = "\
- match: [{uri: {prefix: /api}, headers: {x-user: {exact: jason}}}]
  route: [{destination: {host: a}}]
- match: [{uri: {prefix: /api}}]
  route: [{destination: {host: b}}]
";
    let setup = shop(rules, &[("a", &[1]), ("b", &[2])]);
    let path = setup.written(&Ports::reserve());
    let folder = path.parent().expect("a folder");
    let url = format!("http://{SHOP}/api/x");
    let arguments = [
        "explain",
        "--config",
        "gateway.toml",
        "-H",
        "x-user: anna",
        &url,
    ];
    let text = run_gateway(folder, &arguments);
    assert_eq!(text.code, 0, "{}{}", text.stdout, text.stderr);
    for word in [
        "shop.yaml:",
        "default/shop",
        "x-user",
        "b.default.svc.cluster.local",
    ] {
        assert!(
            text.stdout.contains(word),
            "{word:?} is not in\n{}",
            text.stdout
        );
    }
    let json = run_gateway(
        folder,
        &[&["explain", "--format", "json"], &arguments[1..]].concat(),
    );
    let told: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(told["outcome"], "forward", "{told:#}");
    assert_eq!(told["resource"], "VirtualService default/shop", "{told:#}");
    assert_eq!(
        told["clusters"][0]["host"], "b.default.svc.cluster.local",
        "{told:#}"
    );
    assert_eq!(told["clusters"][0]["port"], 8000, "{told:#}");
    let failed = told["tried"][0]["failed"].as_str().unwrap_or_default();
    assert!(failed.contains("x-user"), "{told:#}");
}

#[test]
fn explain_says_no_listener_for_a_port_nobody_serves() {
    let setup = shop("- route: [{destination: {host: a}}]\n", &[]);
    let path = setup.written(&Ports::reserve());
    let folder = path.parent().expect("a folder");
    let url = format!("http://{SHOP}/");
    let common = [
        "explain",
        "--config",
        "gateway.toml",
        "--format",
        "json",
        "--port",
        "81",
    ];
    let ran = run_gateway(folder, &[&common[..], &[&url]].concat());
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(told["outcome"], "no_listener");
}

/// A `gateway demo`, stopped on drop.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// The curl lines that it prints are run as they stand.
#[test]
fn the_demo_prints_curl_lines_that_work() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("stdout");
    let _demo = Demo(
        Command::new(gateway_binary())
            .arg("demo")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(&output).expect("the file is made"))
            .stderr(File::create(folder.path().join("stderr")).expect("the file is made"))
            .spawn()
            .expect("the demo starts"),
    );
    let curl_lines = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.trim().trim_start_matches("$ "));
        lines
            .filter(|line| line.starts_with("curl "))
            .map(str::to_owned)
            .collect()
    };
    let lines = poll_for(e2e::PATIENCE, || {
        let text = fs::read_to_string(&output).unwrap_or_default();
        let lines = curl_lines(&text);
        (lines.len() >= 2 && text.ends_with('\n')).then_some(lines)
    });
    let lines = lines.expect("two curl lines");
    let answers: Vec<String> = lines
        .iter()
        .map(|line| {
            let line = line.replacen("curl", "curl --silent --include --max-time 20", 1);
            let ran = run("sh", &["-c", &line]);
            assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
            ran.stdout
        })
        .collect();
    assert!(
        answers
            .iter()
            .any(|answer| answer.starts_with("HTTP/1.1 200")),
        "{answers:?}"
    );
    assert!(
        answers
            .iter()
            .any(|answer| answer.starts_with("HTTP/1.1 404")),
        "{answers:?}"
    );
}
