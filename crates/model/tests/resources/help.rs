//! What is said about what to do.

use crate::support::{istio, parse};

#[track_caller]
fn check(kind: &str, spec: &str, code: &str, help: &str) {
    let parsed = parse(&istio(kind, spec));
    let found = parsed
        .all_diagnostics()
        .find(|diagnostic| diagnostic.code == code);
    let told = found
        .and_then(|diagnostic| diagnostic.help.clone())
        .unwrap_or_default();
    assert!(
        told.contains(help),
        "{told:?} does not say {help:?}, of\n{spec}"
    );
}

#[test]
fn slips_are_corrected() {
    for (wrong, meant) in [
        ("retrys", "retries"),
        ("time_out", "timeout"),
        ("Match", "match"),
        ("mirrorPercentag", "mirrorPercentage"),
    ] {
        let spec = format!("hosts: [a.test]\nhttp:\n- redirect: {{uri: /}}\n  {wrong}: 1");
        check(
            "VirtualService",
            &spec,
            "unknown_field",
            &format!("did you mean {meant:?}?"),
        );
    }
}

#[test]
fn choices_are_listed() {
    check(
        "DestinationRule",
        "host: a\ntrafficPolicy: {loadBalancer: {simple: X}}",
        "invalid_enum",
        "one of UNSPECIFIED, LEAST_REQUEST",
    );
    check(
        "Gateway",
        "servers: [{port: {number: 1, name: a, protocol: X}, hosts: ['*']}]",
        "invalid_enum",
        "HTTP, HTTPS, GRPC",
    );
    check(
        "VirtualService",
        "hosts: [a.b]\nhttp: [{redirect: {uri: /}, retries: {attempts: 1, retryOn: x}}]",
        "invalid_enum",
        "gateway-error",
    );
}

#[test]
fn quotes_and_units_are_asked_for() {
    check(
        "DestinationRule",
        "host: a\nsubsets: [{name: a, labels: {version: 1.10}}]",
        "wrong_type",
        "put it in quotes",
    );
    check(
        "VirtualService",
        "hosts: [a.b]\nhttp: [{redirect: {uri: /}, timeout: 5}]",
        "wrong_type",
        "3s or 100ms",
    );
}
