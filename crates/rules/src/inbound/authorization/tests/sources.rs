//! Who asks.

use super::*;

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const BAD: &str = "spiffe://cluster.local/ns/shop/sa/bad";
const OTHER: &str = "spiffe://cluster.local/ns/other/sa/web";

fn source(field: &str) -> String {
    format!("{{from: [{{source: {{{field}}}}}]}}")
}

fn when(condition: &str) -> String {
    format!("{{when: [{{{condition}}}]}}")
}

/// Principals, and whether the rule matches.
#[track_caller]
fn check_principals(rule: &str, cases: &[(Option<&'static str>, bool)]) {
    let cases: Vec<_> = cases
        .iter()
        .map(|(principal, want)| (Call::of(*principal), *want))
        .collect();
    check(rule, &cases);
}

#[test]
fn principals() {
    for (values, cases) in [
        (
            "[cluster.local/ns/shop/sa/web]",
            [(Some(WEB), true), (Some(BAD), false), (None, false)],
        ),
        (
            "['cluster.local/ns/shop/*']",
            [(Some(WEB), true), (Some(OTHER), false), (None, false)],
        ),
        (
            "['*/sa/web']",
            [(Some(OTHER), true), (Some(BAD), false), (None, false)],
        ),
        (
            "['*']",
            [(Some(WEB), true), (Some("urn:x"), true), (None, false)],
        ),
        (
            "[x, cluster.local/ns/shop/sa/bad]",
            [(Some(BAD), true), (Some(WEB), false), (None, false)],
        ),
    ] {
        check_principals(&source(&format!("principals: {values}")), &cases);
        check_principals(
            &when(&format!("key: source.principal, values: {values}")),
            &cases,
        );
        let negated = cases.map(|(principal, want)| (principal, !want));
        check_principals(&source(&format!("notPrincipals: {values}")), &negated);
        check_principals(
            &when(&format!("key: source.principal, notValues: {values}")),
            &negated,
        );
    }
}

#[test]
fn namespaces() {
    for (values, cases) in [
        (
            "[shop]",
            [(Some(WEB), true), (Some(OTHER), false), (None, false)],
        ),
        (
            "['sh*', x]",
            [(Some(WEB), true), (Some(OTHER), false), (None, false)],
        ),
        (
            "['*er']",
            [(Some(WEB), false), (Some(OTHER), true), (None, false)],
        ),
        (
            "['o*e*']",
            [(Some(WEB), false), (Some(OTHER), true), (None, false)],
        ),
        (
            "['*']",
            [(Some(WEB), true), (Some("urn:x"), false), (None, false)],
        ),
    ] {
        check_principals(&source(&format!("namespaces: {values}")), &cases);
        check_principals(
            &when(&format!("key: source.namespace, values: {values}")),
            &cases,
        );
        let negated = cases.map(|(principal, want)| (principal, !want));
        check_principals(&source(&format!("notNamespaces: {values}")), &negated);
    }
}

#[test]
fn service_accounts() {
    for (values, cases) in [
        (
            "[shop/web]",
            [
                (Some(WEB), true),
                (Some(OTHER), false),
                (Some(BAD), false),
                (None, false),
            ],
        ),
        (
            "[web]",
            [
                (Some(WEB), true),
                (Some(OTHER), false),
                (Some(BAD), false),
                (None, false),
            ],
        ),
        (
            "[other/web, bad]",
            [
                (Some(WEB), false),
                (Some(OTHER), true),
                (Some(BAD), true),
                (None, false),
            ],
        ),
    ] {
        check_principals(&source(&format!("serviceAccounts: {values}")), &cases);
        check_principals(
            &when(&format!("key: source.serviceAccount, values: {values}")),
            &cases,
        );
        let negated = cases.map(|(principal, want)| (principal, !want));
        check_principals(&source(&format!("notServiceAccounts: {values}")), &negated);
    }
}

#[test]
fn trust_domains() {
    let old = "spiffe://old/ns/shop/sa/web";
    for (values, cases) in [
        (
            "[cluster.local]",
            [(Some(WEB), true), (Some(old), false), (None, false)],
        ),
        (
            "['o*']",
            [(Some(WEB), false), (Some(old), true), (None, false)],
        ),
        (
            "['*']",
            [(Some(WEB), true), (Some(old), true), (None, false)],
        ),
    ] {
        check_principals(&source(&format!("trustDomains: {values}")), &cases);
        check_principals(
            &when(&format!("key: source.trustDomain, values: {values}")),
            &cases,
        );
        let negated = cases.map(|(principal, want)| (principal, !want));
        check_principals(&source(&format!("notTrustDomains: {values}")), &negated);
    }
}

#[test]
fn aliases_of_the_trust_domain_are_the_mesh_too() {
    let mut options = options();
    options.mesh.trust_domain = "new".into();
    options.mesh.trust_domain_aliases = vec!["old".into()];
    let calls = ["new", "old", "cluster.local", "other"].map(|domain| match domain {
        "new" => "spiffe://new/ns/shop/sa/web",
        "old" => "spiffe://old/ns/shop/sa/web",
        "other" => "spiffe://other/ns/shop/sa/web",
        _ => WEB,
    });
    for (field, want) in [
        (
            "principals: [new/ns/shop/sa/web]",
            [true, true, false, false],
        ),
        (
            "principals: [old/ns/shop/sa/web]",
            [true, true, false, false],
        ),
        (
            "principals: [cluster.local/ns/shop/sa/web]",
            [true, true, false, false],
        ),
        (
            "principals: [other/ns/shop/sa/web]",
            [false, false, false, true],
        ),
        ("principals: ['*/ns/shop/sa/web']", [true, true, true, true]),
        (
            "notPrincipals: [old/ns/shop/sa/web]",
            [false, false, true, true],
        ),
        ("trustDomains: [old]", [true, true, false, false]),
        ("trustDomains: [other]", [false, false, false, true]),
        ("namespaces: [shop]", [true, true, true, true]),
    ] {
        let text = policy("a", &format!("rules: [{}]", source(field)));
        let (authorization, _) = compiled_for(&options, &text);
        let got = calls.map(|principal| {
            Call::of(Some(principal))
                .decide(&authorization)
                .is_allowed()
        });
        assert_eq!(got, want, "{field}");
    }
}

#[test]
fn addresses() {
    for (values, cases) in [
        (
            "[10.0.0.1]",
            [
                ("10.0.0.1", true),
                ("10.0.0.2", false),
                ("::1", false),
                ("::ffff:10.0.0.1", true),
            ],
        ),
        (
            "[10.0.0.0/8, '2001:db8::/32']",
            [
                ("10.9.9.9", true),
                ("11.0.0.1", false),
                ("2001:db8::1", true),
                ("::ffff:11.0.0.1", false),
            ],
        ),
        (
            "['::ffff:10.0.0.0/104']",
            [
                ("10.9.9.9", true),
                ("11.0.0.1", false),
                ("::1", false),
                ("::ffff:10.0.0.1", true),
            ],
        ),
    ] {
        let of =
            |make: fn(&'static str) -> Call| cases.map(|(address, want)| (make(address), want));
        let sources = of(Call::from);
        let remotes = of(|remote| Call { remote, ..call() });
        let destinations = of(|address| Call {
            destination: match address.contains(':') {
                true => Box::leak(format!("[{address}]:80").into_boxed_str()),
                false => Box::leak(format!("{address}:80").into_boxed_str()),
            },
            ..call()
        });
        let not = |cases: &[(Call, bool)]| -> Vec<_> {
            cases
                .iter()
                .map(|(call, want)| (call.clone(), !want))
                .collect()
        };
        check(&source(&format!("ipBlocks: {values}")), &sources);
        check(&source(&format!("notIpBlocks: {values}")), &not(&sources));
        check(
            &when(&format!("key: source.ip, values: {values}")),
            &sources,
        );
        check(&source(&format!("remoteIpBlocks: {values}")), &remotes);
        check(
            &source(&format!("notRemoteIpBlocks: {values}")),
            &not(&remotes),
        );
        check(
            &when(&format!("key: remote.ip, values: {values}")),
            &remotes,
        );
        check(
            &when(&format!("key: destination.ip, values: {values}")),
            &destinations,
        );
        check(
            &when(&format!("key: destination.ip, notValues: {values}")),
            &not(&destinations),
        );
    }
}

#[test]
fn fields_of_a_source_must_all_hold_and_sources_are_alternatives() {
    check_principals(
        "{from: [{source: {namespaces: [shop], notPrincipals: [cluster.local/ns/shop/sa/bad]}}, {source: {namespaces: [other]}}]}",
        &[
            (Some(WEB), true),
            (Some(BAD), false),
            (Some(OTHER), true),
            (None, false),
        ],
    );
    check(
        &source("principals: [cluster.local/ns/shop/sa/web], ipBlocks: [10.0.0.0/8]"),
        &[
            (call(), true),
            (Call::from("11.0.0.1"), false),
            (Call::of(Some(BAD)), false),
        ],
    );
}

#[test]
fn values_must_match_and_others_must_not() {
    check_principals(
        &source("principals: ['*'], notPrincipals: ['*/sa/bad']"),
        &[(Some(WEB), true), (Some(BAD), false), (None, false)],
    );
    check_principals(
        &when("key: source.principal, values: ['*'], notValues: ['*/sa/bad']"),
        &[(Some(WEB), true), (Some(BAD), false), (None, false)],
    );
}

#[test]
fn nobody_has_a_token() {
    for field in [
        "requestPrincipals: ['*']",
        "requestPrincipals: ['*'], notRequestPrincipals: [a]",
    ] {
        check(&source(field), &[(call(), false)]);
    }
    check(&source("notRequestPrincipals: ['*']"), &[(call(), true)]);
    for key in [
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "'request.auth.claims[a][b]'",
    ] {
        check(
            &when(&format!("key: {key}, values: ['*']")),
            &[(call(), false)],
        );
        check(
            &when(&format!("key: {key}, notValues: ['*']")),
            &[(call(), true)],
        );
    }
    let claimed =
        Call::with_headers(&[("request.auth.claims", "x"), ("authorization", "Bearer x")]);
    check(
        &when("key: 'request.auth.claims[a]', values: ['*']"),
        &[(claimed, false)],
    );
}
