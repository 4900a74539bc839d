//! Connections that are not HTTP.

use super::*;
use crate::Refusal;

fn is_allowed(spec: &str) -> bool {
    call().connect(&compiled(&policy("a", spec))).is_allowed()
}

const FOR_REQUESTS: &[&str] = &[
    "to: [{operation: {methods: [GET]}}]",
    "to: [{operation: {notMethods: [GET]}}]",
    "to: [{operation: {paths: [/a]}}]",
    "to: [{operation: {hosts: [a]}}]",
    "to: [{operation: {notHosts: [a]}}]",
    "from: [{source: {requestPrincipals: ['*']}}]",
    "from: [{source: {notRequestPrincipals: ['*']}}]",
    "when: [{key: 'request.headers[a]', values: [b]}]",
    "when: [{key: 'request.headers[a]', notValues: [b]}]",
    "when: [{key: request.auth.audiences, notValues: [b]}]",
];

#[test]
fn a_rule_for_requests_never_allows_them() {
    for rule in FOR_REQUESTS {
        assert!(!is_allowed(&format!("rules: [{{{rule}}}]")), "{rule}");
    }
    // Not even by an alternative that does not ask for what requests have.
    assert!(!is_allowed(
        "rules: [{to: [{operation: {methods: [GET]}}, {operation: {ports: ['8080']}}]}]"
    ));
    assert!(is_allowed(
        "rules: [{to: [{operation: {methods: [GET]}}]}, {to: [{operation: {ports: ['8080']}}]}]"
    ));
}

#[test]
fn a_rule_for_requests_denies_them_by_what_else_it_says() {
    for rule in FOR_REQUESTS {
        assert!(
            !is_allowed(&format!("action: DENY\nrules: [{{{rule}}}]")),
            "{rule}"
        );
        let custom = format!("action: CUSTOM\nprovider: {{name: a}}\nrules: [{{{rule}}}]");
        assert!(!is_allowed(&custom), "{rule}");
    }
    for (rule, allowed) in [
        (
            "to: [{operation: {methods: [GET], ports: ['8080']}}]",
            false,
        ),
        ("to: [{operation: {methods: [GET], ports: ['80']}}]", true),
        (
            "to: [{operation: {methods: [GET], notPorts: ['8080']}}]",
            true,
        ),
        (
            "to: [{operation: {ports: ['80']}}, {operation: {paths: [/a]}}]",
            false,
        ),
        (
            "from: [{source: {namespaces: [other]}}], to: [{operation: {methods: [GET]}}]",
            true,
        ),
        (
            "from: [{source: {namespaces: [shop], requestPrincipals: ['*']}}]",
            false,
        ),
        (
            "from: [{source: {namespaces: [other], requestPrincipals: ['*']}}]",
            true,
        ),
    ] {
        assert_eq!(
            is_allowed(&format!("action: DENY\nrules: [{{{rule}}}]")),
            allowed,
            "{rule}"
        );
    }
}

#[test]
fn a_rule_for_requests_audits_them() {
    let spec = "action: AUDIT\nrules: [{to: [{operation: {methods: [GET]}}]}]";
    let verdict = call().connect(&compiled(&policy("a", spec)));
    assert!(verdict.is_allowed() && verdict.audited.len() == 1);
}

#[test]
fn what_connections_have_is_asked_for() {
    for (rule, allowed) in [
        (
            "from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]",
            true,
        ),
        (
            "from: [{source: {principals: [cluster.local/ns/shop/sa/bad]}}]",
            false,
        ),
        (
            "from: [{source: {namespaces: [shop], ipBlocks: [10.0.0.0/8]}}]",
            true,
        ),
        ("from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]", false),
        ("to: [{operation: {ports: ['8080']}}]", true),
        ("to: [{operation: {notPorts: ['8080']}}]", false),
        ("when: [{key: destination.ip, values: [10.0.9.0/24]}]", true),
        ("when: [{key: connection.sni, values: ['*']}]", false),
        (
            "when: [{key: source.trustDomain, values: [cluster.local]}]",
            true,
        ),
        ("when: [{key: source.serviceAccount, values: [web]}]", true),
    ] {
        assert_eq!(
            is_allowed(&format!("rules: [{{{rule}}}]")),
            allowed,
            "{rule}"
        );
        assert_eq!(
            is_allowed(&format!("action: DENY\nrules: [{{{rule}}}]")),
            !allowed,
            "{rule}"
        );
    }
}

#[test]
fn the_policy_is_told() {
    let text = policy(
        "a",
        "action: DENY\nrules: [{to: [{operation: {ports: ['8080']}}]}]",
    );
    let verdict = call().connect(&compiled(&text));
    assert!(matches!(verdict.denied, Some(Refusal::Denied(rule)) if rule.rule == 0));
}
