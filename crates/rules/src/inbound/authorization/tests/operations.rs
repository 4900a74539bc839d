//! What is asked for.

use super::*;

fn operation(field: &str) -> String {
    format!("{{to: [{{operation: {{{field}}}}}]}}")
}

fn when(condition: &str) -> String {
    format!("{{when: [{{{condition}}}]}}")
}

/// As written, and with its `not` form.
#[track_caller]
fn check_both(field: &str, not_field: &str, values: &str, cases: &[(Call, bool)]) {
    check(&operation(&format!("{field}: {values}")), cases);
    let negated: Vec<_> = cases
        .iter()
        .map(|(call, want)| (call.clone(), !want))
        .collect();
    check(&operation(&format!("{not_field}: {values}")), &negated);
}

#[test]
fn hosts_are_compared_with_their_port_and_without_regard_to_case() {
    for (values, cases) in [
        (
            "[Reviews.shop]",
            vec![
                ("reviews.SHOP", true),
                ("reviews.shop:80", false),
                ("x.reviews.shop", false),
            ],
        ),
        (
            "['reviews.shop:*']",
            vec![("reviews.shop:80", true), ("reviews.shop", false)],
        ),
        (
            "[reviews.shop, 'reviews.shop:*']",
            vec![
                ("reviews.shop:80", true),
                ("reviews.shop", true),
                ("reviews.shopx", false),
            ],
        ),
        (
            "['*.Shop']",
            vec![
                ("a.shop", true),
                ("a.b.SHOP", true),
                ("shop", false),
                ("a.shop:80", false),
            ],
        ),
        (
            "['reviews.*']",
            vec![("REVIEWS.shop", true), ("reviews", false)],
        ),
        ("['*']", vec![("a", true), ("[::1]:80", true)]),
        ("['[::1]']", vec![("[::1]", true), ("[::1]:80", false)]),
    ] {
        let cases: Vec<_> = cases
            .into_iter()
            .map(|(host, want)| (Call::to(host), want))
            .collect();
        check_both("hosts", "notHosts", values, &cases);
    }
}

#[test]
fn ports_are_those_connected_to() {
    let to = |destination| Call {
        destination,
        ..call()
    };
    let cases = [
        (to("10.0.9.9:8080"), true),
        (to("10.0.9.9:8081"), false),
        (to("[::1]:8080"), true),
    ];
    check_both("ports", "notPorts", "['80', '8080']", &cases);
    check(&when("key: destination.port, values: ['8080']"), &cases);
    // The port of the request is not looked at.
    let host = Call {
        destination: "10.0.9.9:80",
        ..Call::to("reviews:8080")
    };
    check(&operation("ports: ['8080']"), &[(host, false)]);
}

#[test]
fn methods_are_compared_with_their_case() {
    let of = |method| Call { method, ..call() };
    check_both(
        "methods",
        "notMethods",
        "[GET]",
        &[(of("GET"), true), (of("get"), false), (of("GETS"), false)],
    );
    check_both(
        "methods",
        "notMethods",
        "['P*', '*D']",
        &[(of("POST"), true), (of("HEAD"), true), (of("GET"), false)],
    );
    check_both("methods", "notMethods", "['*']", &[(of("X"), true)]);
}

#[test]
fn paths_are_compared_without_their_query() {
    let of = |path| Call {
        path,
        query: Some("x=/b"),
        ..call()
    };
    check_both(
        "paths",
        "notPaths",
        "[/a]",
        &[
            (of("/a"), true),
            (of("/a/"), false),
            (of("/A"), false),
            (of("/ab"), false),
        ],
    );
    check_both(
        "paths",
        "notPaths",
        "['/a*']",
        &[(of("/a"), true), (of("/ab"), true), (of("/b"), false)],
    );
    check_both(
        "paths",
        "notPaths",
        "['*.html', '*/b']",
        &[
            (of("/x.html"), true),
            (of("/x/b"), true),
            (of("/b/x"), false),
        ],
    );
    check_both("paths", "notPaths", "['*']", &[(of("/"), true)]);
    check_both(
        "paths",
        "notPaths",
        "['/{*}/c', '/d/{**}']",
        &[
            (of("/a/c"), true),
            (of("/a/b/c"), false),
            (of("/d/a/b"), true),
            (of("/d"), false),
        ],
    );
}

#[test]
fn headers_are_found_by_name_and_joined() {
    let of = Call::with_headers;
    let header = |values: &str| when(&format!("key: 'request.headers[X-User]', {values}"));
    check(
        &header("values: [jason]"),
        &[
            (of(&[("x-user", "jason")]), true),
            (of(&[("x-user", "Jason")]), false),
            (of(&[("x-user", "jason"), ("x-user", "bob")]), false),
            (of(&[]), false),
        ],
    );
    check(
        &header("values: ['jason,*']"),
        &[(of(&[("x-user", "jason"), ("x-user", "bob")]), true)],
    );
    check(
        &header("values: ['*']"),
        &[(of(&[("x-user", "")]), true), (of(&[]), false)],
    );
    check(
        &header("notValues: ['*']"),
        &[(of(&[("x-user", "")]), false), (of(&[]), true)],
    );
    check(
        &header("notValues: [jason]"),
        &[
            (of(&[("x-user", "jason")]), false),
            (of(&[("x-user", "bob")]), true),
            (of(&[]), true),
        ],
    );
    check(
        &header("values: ['j*'], notValues: ['*n']"),
        &[
            (of(&[("x-user", "jim")]), true),
            (of(&[("x-user", "jason")]), false),
            (of(&[]), false),
        ],
    );
}

#[test]
fn pseudo_headers_are_headers_of_conditions() {
    let query = Call {
        query: Some("b=c"),
        ..call()
    };
    for (key, value) in [
        (":path", "/a?b=c"),
        (":Method", "GET"),
        (":authority", "reviews.shop"),
        ("host", "reviews.shop"),
        (":scheme", "http"),
    ] {
        check(
            &when(&format!(
                "key: 'request.headers[{key}]', values: ['{value}']"
            )),
            &[(query.clone(), true)],
        );
    }
}

#[test]
fn names_asked_for_in_tls() {
    let of = |sni| Call { sni, ..call() };
    let sni = |values: &str| when(&format!("key: connection.sni, {values}"));
    check(
        &sni("values: [a.Test]"),
        &[
            (of(Some("A.test")), true),
            (of(Some("b.test")), false),
            (of(None), false),
        ],
    );
    check(
        &sni("values: ['*.test']"),
        &[(of(Some("a.test")), true), (of(Some("a.test.x")), false)],
    );
    check(
        &sni("values: ['*']"),
        &[
            (of(Some("a")), true),
            (of(Some("")), false),
            (of(None), false),
        ],
    );
    check(
        &sni("notValues: [a]"),
        &[
            (of(Some("a")), false),
            (of(Some("b")), true),
            (of(None), true),
        ],
    );
}

#[test]
fn fields_of_an_operation_must_all_hold_and_operations_are_alternatives() {
    let of = |method, path| Call {
        method,
        path,
        ..call()
    };
    check(
        "{to: [{operation: {methods: [GET], paths: ['/info*']}}, {operation: {methods: [POST], paths: [/data]}}]}",
        &[
            (of("GET", "/info/1"), true),
            (of("POST", "/data"), true),
            (of("POST", "/info/1"), false),
            (of("GET", "/data"), false),
        ],
    );
}

#[test]
fn source_operation_and_conditions_must_all_hold() {
    let rule = "{from: [{source: {namespaces: [shop]}}], to: [{operation: {methods: [GET]}}], when: [{key: source.ip, values: [10.0.0.1]}, {key: destination.port, values: ['8080']}]}";
    check(
        rule,
        &[
            (call(), true),
            (Call::of(None), false),
            (
                Call {
                    method: "POST",
                    ..call()
                },
                false,
            ),
            (Call::from("10.0.0.2"), false),
            (
                Call {
                    destination: "10.0.9.9:1",
                    ..call()
                },
                false,
            ),
        ],
    );
}

#[test]
fn metadata_of_envoy_is_nowhere() {
    let spec = |action: &str, values: &str| {
        format!(
            "action: {action}\nrules: [{{to: [{{operation: {{methods: [GET]}}}}], when: [{{key: 'experimental.envoy.filters.a.b[c]', {values}: ['*']}}]}}]"
        )
    };
    for values in ["values", "notValues"] {
        let allow = compiled(&policy("a", &spec("ALLOW", values)));
        assert!(!call().decide(&allow).is_allowed(), "{values}");
        let deny = compiled(&policy("a", &spec("DENY", values)));
        assert!(!call().decide(&deny).is_allowed(), "{values}");
        let other = Call {
            method: "POST",
            ..call()
        };
        assert!(other.decide(&deny).is_allowed(), "{values}");
    }
}
