//! Why policies did or did not match.

use super::*;
use crate::TriedPolicy;

/// `DENY shop/a: spec.rules[0]; spec.rules[1] failed because …`
fn told(tried: &[TriedPolicy]) -> Vec<String> {
    let mut lines = Vec::new();
    for policy in tried {
        let dry_run = if policy.dry_run { " in dry run" } else { "" };
        let matched = policy
            .matched
            .as_ref()
            .map_or("nothing", |place| place.path.as_str());
        let (action, resource) = (policy.action, &policy.policy.resource);
        lines.push(format!("{action} {resource}{dry_run}: {matched}"));
        let tried = policy.tried.iter();
        lines.extend(tried.map(|rule| format!("  {}: {}", rule.rule, rule.failed)));
    }
    lines
}

#[track_caller]
fn check_request(text: &str, call: &Call, want: &[&str]) {
    let tried = compiled(text).explain_request(&call.peer(), &call.head());
    assert_eq!(told(&tried), want);
}

#[test]
fn policies_are_told_in_the_order_they_are_asked() {
    let text = [
        policy(
            "allow",
            "rules: [{to: [{operation: {methods: [POST]}}]}, {}]",
        ),
        policy(
            "deny",
            "action: DENY\nrules: [{to: [{operation: {methods: [PUT]}}]}]",
        ),
        policy(
            "custom",
            "action: CUSTOM\nprovider: {name: a}\nrules: [{to: [{operation: {paths: [/x]}}]}]",
        ),
        policy(
            "audit",
            "action: AUDIT\nrules: [{to: [{operation: {paths: [/y]}}]}]",
        ),
        annotated("shop", "dry", "istio.io/dry-run: 'true'", "{}"),
    ]
    .concat();
    check_request(
        &text,
        &call(),
        &[
            "AUDIT AuthorizationPolicy shop/audit: nothing",
            "  spec.rules[0]: to[0] paths: wants \"/y\", has \"/a\"",
            "CUSTOM AuthorizationPolicy shop/custom: nothing",
            "  spec.rules[0]: to[0] paths: wants \"/x\", has \"/a\"",
            "DENY AuthorizationPolicy shop/deny: nothing",
            "  spec.rules[0]: to[0] methods: wants \"PUT\", has \"GET\"",
            "ALLOW AuthorizationPolicy shop/allow: spec.rules[1]",
            "  spec.rules[0]: to[0] methods: wants \"POST\", has \"GET\"",
            "ALLOW AuthorizationPolicy shop/dry in dry run: nothing",
        ],
    );
}

#[test]
fn what_decides_ends_the_search() {
    let text = [
        policy("deny", "action: DENY\nrules: [{}]"),
        policy("allow", "rules: [{}]"),
    ]
    .concat();
    check_request(
        &text,
        &call(),
        &["DENY AuthorizationPolicy shop/deny: spec.rules[0]"],
    );
}

#[test]
fn every_alternative_is_told() {
    check_request(
        &policy(
            "a",
            "rules: [{from: [{source: {principals: [x, y]}}, {source: {namespaces: [shop], notIpBlocks: [10.0.0.0/8]}}]}]",
        ),
        &call(),
        &[
            "ALLOW AuthorizationPolicy shop/a: nothing",
            "  spec.rules[0]: from[0] principals: wants \"x\" or \"y\", has \"spiffe://cluster.local/ns/shop/sa/web\"; from[1] notIpBlocks: rules out \"10.0.0.0/8\", has \"10.0.0.1\"",
        ],
    );
}

#[test]
fn what_is_not_there_is_told() {
    let call = Call::of(None);
    for (rule, why) in [
        (
            "from: [{source: {namespaces: [a]}}]",
            "from[0] namespaces: wants \"a\", has none",
        ),
        (
            "from: [{source: {serviceAccounts: [a]}}]",
            "from[0] serviceAccounts: wants \"shop/a\", has none",
        ),
        (
            "from: [{source: {requestPrincipals: ['*']}}]",
            "from[0] requestPrincipals: wants \"*\", but no token is validated here",
        ),
        (
            "when: [{key: 'request.headers[x]', values: [a]}]",
            "request.headers[x]: wants \"a\", has none",
        ),
        (
            "when: [{key: connection.sni, values: [a]}]",
            "connection.sni: wants \"a\", has none",
        ),
        (
            "when: [{key: destination.port, notValues: ['8080']}]",
            "destination.port: rules out \"8080\", has \"8080\"",
        ),
        (
            "when: [{key: remote.ip, values: [10.0.0.1]}]",
            "remote.ip: wants \"10.0.0.1/32\", has \"192.0.2.7\"",
        ),
        (
            "when: [{key: destination.ip, values: [10.0.0.1]}]",
            "destination.ip: wants \"10.0.0.1/32\", has \"10.0.9.9\"",
        ),
        (
            "when: [{key: 'experimental.envoy.filters.a[b]', values: [c]}]",
            "asks for metadata of Envoy, which is not here",
        ),
        (
            "to: [{operation: {hosts: [a]}}]",
            "to[0] hosts: wants \"a\", has \"reviews.shop\"",
        ),
        (
            "to: [{operation: {ports: ['1', '2', '3', '4', '5', '6', '7']}}]",
            "to[0] ports: wants \"1\", \"2\", \"3\", \"4\", \"5\" or 2 others, has \"8080\"",
        ),
    ] {
        let want = [
            "ALLOW AuthorizationPolicy shop/a: nothing".to_owned(),
            format!("  spec.rules[0]: {why}"),
        ];
        let text = policy("a", &format!("rules: [{{{rule}}}]"));
        let tried = compiled(&text).explain_request(&call.peer(), &call.head());
        assert_eq!(told(&tried), want);
    }
}

#[test]
fn what_only_requests_have_is_told_of_connections() {
    let text = policy(
        "a",
        "rules: [{to: [{operation: {ports: ['1']}}, {operation: {methods: [GET]}}]}]",
    );
    let tried = compiled(&text).explain_connection(&call().peer());
    assert_eq!(
        told(&tried),
        [
            "ALLOW AuthorizationPolicy shop/a: nothing",
            "  spec.rules[0]: methods: only requests have it, and this is a connection that is not HTTP",
        ]
    );
}

#[test]
fn places_are_told() {
    let text = policy(
        "a",
        "action: DENY\nrules:\n- to: [{operation: {methods: [PUT]}}]\n- {}",
    );
    let tried = compiled(&text).explain_request(&call().peer(), &call().head());
    let [policy] = &tried[..] else {
        panic!("{tried:?}")
    };
    assert_eq!(
        (policy.policy.file.as_deref(), policy.policy.line),
        (Some("test.yaml"), Some(2))
    );
    assert_eq!(policy.tried[0].place.line, Some(8));
    assert_eq!(
        policy.matched.as_ref().and_then(|place| place.line),
        Some(9)
    );
}

#[test]
fn what_is_told_is_bounded() {
    let rules: String = (0..1500)
        .map(|at| format!("- to: [{{operation: {{paths: ['/x{at}']}}}}]\n"))
        .collect();
    let text = policy("a", &format!("rules:\n{rules}"));
    let long = format!("/{}", "a".repeat(5000));
    let head = RequestHead {
        path: &long,
        ..request()
    };
    let tried = compiled(&text).explain_request(&call().peer(), &head);
    assert_eq!(tried[0].tried.len(), 1000);
    assert!(tried[0].tried[0].failed.len() < 300);
}
