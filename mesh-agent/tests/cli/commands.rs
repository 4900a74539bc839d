//! Commands that serve nothing.

use crate::agent::{Setup, check_exit, mesh_agent};
use crate::app::App;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_and_version_are_no_errors() {
    for words in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["wait", "--help"],
        &["request", "--help"],
        &["check", "--help"],
        &["explain", "--help"],
    ] {
        check_exit(&mesh_agent(repository(), words), 0);
    }
}

#[test]
fn wrong_usage_exits_2() {
    for words in [
        &[][..],
        &["serve"],
        &["run", "--colour"],
        &["wait", "--timeout", "5"],
        &["request", "POST"],
        &["request", "PUT", "drain"],
        &["check", "--format", "xml"],
        &["explain", "--outbound", "--inbound", "http://a/"],
    ] {
        check_exit(&mesh_agent(repository(), words), 2);
    }
}

#[test]
fn what_comes_with_the_sidecar_is_clean() {
    for words in [
        &["check"][..],
        &["check", "--config", "conf/mesh-agent.toml"],
    ] {
        let output = mesh_agent(repository(), &[words, &["--format", "json"]].concat());
        check_exit(&output, 0);
        let told = json(&output);
        let errors = told["diagnostics"].as_array().expect("a list");
        let is_error = |one: &&Value| one["severity"] == "error";
        assert_eq!(errors.iter().find(is_error), None);
    }
}

#[test]
fn a_broken_bootstrap_file_exits_1_and_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.toml"), "[capture]\nmode = 'TPROXY'\n").unwrap();
    let output = mesh_agent(folder.path(), &["run", "--config", "a.toml"]);
    check_exit(&output, 1);
    let told = stderr(&output);
    assert!(
        told.contains("a.toml:2:8: unknown variant `TPROXY`"),
        "{told}"
    );
}

/// What the pod says is as bad as what a file says.
#[test]
fn an_environment_that_cannot_be_exits_1() {
    for (name, value, want) in [
        (
            "ISTIO_KUBE_APP_PROBERS",
            r#"{"/livez": {"tcpSocket": {"port": 1}}}"#,
            "ISTIO_KUBE_APP_PROBERS: `/livez` is no path of a probe",
        ),
        (
            "ISTIO_PROMETHEUS_ANNOTATIONS",
            r#"{"port": "15020"}"#,
            "ISTIO_PROMETHEUS_ANNOTATIONS: port: 15020 is the sidecar's own",
        ),
        ("INSTANCE_IP", "pod", "INSTANCE_IP: `pod` is no IP address"),
        ("PROXY_CONFIG", "x", "PROXY_CONFIG: expected value"),
    ] {
        let output = Setup::new("").env(name, value).refused();
        check_exit(&output, 1);
        let told = stderr(&output);
        assert!(told.contains(want), "{told}");
    }
}

/// Two versions of reviews, and a rule for them.
fn reviews() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let yaml = "\
apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}\n\
---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
metadata: {name: reviews-1, labels: {kubernetes.io/service-name: reviews}}\naddressType: IPv4\n\
ports: [{name: http, port: 9080}]\nendpoints: [{addresses: [10.0.0.7]}]\n\
---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n  hosts: [reviews]\n  \
http: [{match: [{headers: {end-user: {exact: jason}}}], fault: {abort: {percentage: {value: 100}, httpStatus: 418}}, \
route: [{destination: {host: reviews}}]}, {route: [{destination: {host: reviews}}]}]\n";
    fs::write(folder.path().join("reviews.yaml"), yaml).expect("the folder can be written");
    let toml = "[proxy]\nlabels = { app = 'reviews' }\n[resources]\nfiles = ['reviews.yaml']\n";
    fs::write(folder.path().join("agent.toml"), toml).expect("the folder can be written");
    folder
}

/// Promise 2.
#[test]
fn what_the_workload_sends_and_receives_is_explained() {
    let folder = reviews();
    let explain = |words: &[&str]| {
        let fixed = ["explain", "--config", "agent.toml", "--format", "json"];
        mesh_agent(folder.path(), &[&fixed, words].concat())
    };
    for (words, exit, outcome) in [
        (&["http://reviews:9080/"][..], 0, "forward"),
        (&["--outbound", "http://reviews:9080/"], 0, "forward"),
        (
            &["-H", "end-user: jason", "http://reviews:9080/"],
            0,
            "abort",
        ),
        (&["--outbound", "http://nowhere.test/"], 3, "denied"),
        (&["--inbound", "http://10.0.0.7:9080/"], 0, "forward"),
    ] {
        let output = explain(words);
        check_exit(&output, exit);
        assert_eq!(json(&output)["outcome"], outcome, "{words:?}");
    }
}

#[test]
fn waiting_has_an_end() {
    let nobody = Setup::new("").at(15021);
    let url = format!("http://{nobody}/healthz/ready");
    let output = mesh_agent(
        repository(),
        &[
            "wait",
            "--url",
            &url,
            "--timeout",
            "10ms",
            "--period",
            "1ms",
        ],
    );
    check_exit(&output, 1);
    let told = stderr(&output);
    assert!(told.contains("was not ready within 10ms"), "{told}");
}

/// As Istio's `pilot-agent request`, which hooks of pods call.
#[test]
fn a_page_is_asked_from_beside_it() {
    for (status, exit) in [("200 OK", 0), ("403 Forbidden", 1)] {
        let page = App::answering(status, "", "the answer");
        let port = page.port.to_string();
        let words = ["request", "--debug-port", &port, "POST", "drain?now"];
        let output = mesh_agent(repository(), &words);
        check_exit(&output, exit);
        assert_eq!(output.stdout, b"the answer");
        assert_eq!(stderr(&output).contains(status), exit == 1);
        assert!(page.asked().starts_with("POST /drain?now HTTP/1.0\r\n"));
    }
}
