//! Who of those that are there serves.

use super::*;

/// Endpoints 10.1.0.1, 10.1.0.2… with these `conditions`.
#[track_caller]
fn check_slice(service: &str, conditions: &[&str], want: &[&str]) {
    let mut slice = SLICE[..SLICE.find("endpoints:").unwrap()].to_owned() + "endpoints:\n";
    for (index, conditions) in conditions.iter().enumerate() {
        let number = index + 1;
        slice += &format!("- {{ addresses: [10.1.0.{number}], conditions: {{ {conditions} }} }}\n");
    }
    check(&[service, &slice].concat(), WEB, 80, want);
}

const READY: &str = "ready: true";
const UNREADY: &str = "ready: false";
const LEAVING: &str = "ready: false, serving: true, terminating: true";
const GONE: &str = "ready: false, serving: false, terminating: true";

#[test]
fn ready_is_what_does_not_say_otherwise() {
    check_slice(
        SERVICE,
        &[
            "",
            READY,
            UNREADY,
            "serving: true",
            "ready: false, serving: true",
        ],
        &["10.1.0.1:8081 1", "10.1.0.2:8081 1", "10.1.0.4:8081 1"],
    );
}

/// As kube-proxy does.
#[test]
fn what_terminates_and_still_serves_is_used_when_nothing_is_ready() {
    check_slice(SERVICE, &[LEAVING, READY], &["10.1.0.2:8081 1"]);
    check_slice(
        SERVICE,
        &[LEAVING, UNREADY, GONE, LEAVING],
        &["10.1.0.1:8081 1", "10.1.0.4:8081 1"],
    );
    check_slice(SERVICE, &[GONE, UNREADY], &[]);
}

#[test]
fn a_service_that_publishes_the_unready_has_all_of_them() {
    let publishing = SERVICE.replace("spec:\n", "spec:\n  publishNotReadyAddresses: true\n");
    check_slice(
        &publishing,
        &[GONE, UNREADY],
        &["10.1.0.1:8081 1", "10.1.0.2:8081 1"],
    );
}

fn terminating(name: &str, address: &str, ready: &str) -> String {
    let status = format!(
        "status: {{ podIP: {address}, phase: Running, conditions: [{{ type: Ready, status: '{ready}' }}] }}"
    );
    pod(name, &status).replace(
        "metadata: {",
        "metadata: { deletionTimestamp: '2026-01-01T00:00:00Z',",
    )
}

#[test]
fn a_pod_that_terminates_is_used_when_no_other_is_ready() {
    let leaving = terminating("leaving", "10.0.0.1", "True");
    let gone = terminating("gone", "10.0.0.2", "False");
    let ready = pod("ready", "status: { podIP: 10.0.0.3 }");
    check(
        &[SERVICE, &leaving, &gone].concat(),
        WEB,
        80,
        &["10.0.0.1:8080 1"],
    );
    check(
        &[SERVICE, &leaving, &gone, &ready].concat(),
        WEB,
        80,
        &["10.0.0.3:8080 1"],
    );
    // Any other endpoint will do.
    check(
        &[SERVICE, &leaving, ENTRY].concat(),
        WEB,
        80,
        &["10.2.0.1:7000 3"],
    );
}
