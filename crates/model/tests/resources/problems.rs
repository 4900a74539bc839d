//! What is told of specs that have something wrong, kind by kind.

use crate::support::{istio, told};

/// Each case is `====`, a spec, `---->`, and the lines that are told.
#[track_caller]
fn check(kind: &str, cases: &str) {
    let wrong: Vec<String> = cases
        .split("====\n")
        .skip(1)
        .filter_map(|case| {
            let (spec, want) = case.split_once("---->\n").expect("every case has an arrow");
            let got: String = told(&istio(kind, spec))
                .into_iter()
                .map(|line| line + "\n")
                .collect();
            (got != want).then(|| format!("{spec}---->\n{got}instead of\n{want}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn of_virtual_services() {
    check(
        "VirtualService",
        include_str!("problems/virtual_service.txt"),
    );
}

#[test]
fn of_gateways() {
    check("Gateway", include_str!("problems/gateway.txt"));
}

#[test]
fn of_destination_rules() {
    check(
        "DestinationRule",
        include_str!("problems/destination_rule.txt"),
    );
}

#[test]
fn of_service_entries() {
    check("ServiceEntry", include_str!("problems/service_entry.txt"));
}

#[test]
fn of_workload_entries() {
    check("WorkloadEntry", include_str!("problems/workload_entry.txt"));
}

#[test]
fn of_sidecars() {
    check("Sidecar", include_str!("problems/sidecar.txt"));
}

#[test]
fn of_peer_authentications() {
    check(
        "PeerAuthentication",
        include_str!("problems/peer_authentication.txt"),
    );
}

#[test]
fn of_authorization_policies() {
    check(
        "AuthorizationPolicy",
        include_str!("problems/authorization_policy.txt"),
    );
}
