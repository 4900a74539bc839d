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

#[test]
fn keys_of_conditions_are_corrected() {
    for (key, help) in [
        ("source.ips", "did you mean \"source.ip\"?"),
        ("request.header[x]", "did you mean \"request.headers\"?"),
        ("source.user", "write source.principal"),
        ("destination.labels[app]", "select workloads"),
        ("something", "one of request.headers"),
        ("request.headers", "write request.headers[x-user]"),
    ] {
        let code = match key {
            "request.headers" => "invalid_value",
            _ => "invalid_enum",
        };
        let spec = format!("rules: [{{when: [{{key: '{key}', values: [a]}}]}}]");
        check("AuthorizationPolicy", &spec, code, help);
    }
}

#[test]
fn fields_of_policies_are_corrected() {
    for (wrong, meant) in [
        ("from: [{source: {principal: [a]}}]", "principals"),
        ("from: [{source: {remoteIPBlocks: [a]}}]", "remoteIpBlocks"),
        ("to: [{operation: {path: [/]}}]", "paths"),
        ("form: [{source: {namespaces: [a]}}]", "from"),
    ] {
        let spec = format!("rules: [{{{wrong}}}]");
        let help = format!("did you mean {meant:?}?");
        check("AuthorizationPolicy", &spec, "unknown_field", &help);
    }
    let spec = "selector: {matchLabels: {a: b}}\nportLevelMTLS: {80: {mode: STRICT}}";
    check(
        "PeerAuthentication",
        spec,
        "unknown_field",
        "did you mean \"portLevelMtls\"?",
    );
    check(
        "PeerAuthentication",
        "mtls: {mode: strict}",
        "invalid_enum",
        "one of UNSET, DISABLE, PERMISSIVE, STRICT",
    );
}
