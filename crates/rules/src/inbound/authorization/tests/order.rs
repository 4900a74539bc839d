//! Which policy decides.

use super::*;
use crate::Refusal;

const ALLOW_GET: &str = "rules: [{to: [{operation: {methods: [GET]}}]}]";
const DENY_ADMIN: &str = "action: DENY\nrules: [{to: [{operation: {paths: ['/admin*']}}]}]";
const CUSTOM_EXT: &str =
    "action: CUSTOM\nprovider: {name: ext}\nrules: [{to: [{operation: {paths: ['/ext*']}}]}]";

fn of(method: &'static str, path: &'static str) -> Call {
    Call {
        method,
        path,
        ..call()
    }
}

/// Which policy denies, and by which rule: `deny 0`; empty when allowed.
fn denied(authorization: &Authorization, call: &Call) -> String {
    match call.decide(authorization).denied {
        None => String::new(),
        Some(Refusal::NotAllowed(policies)) => {
            let names: Vec<_> = policies
                .iter()
                .map(|one| one.resource.name.to_string())
                .collect();
            format!("none of {}", names.join(", "))
        }
        Some(Refusal::Denied(rule)) => format!("{} {}", rule.origin.resource.name, rule.rule),
        Some(Refusal::Custom { rule, provider }) => {
            format!("{} {} {provider}", rule.origin.resource.name, rule.rule)
        }
    }
}

#[track_caller]
fn check_order(policies: &[(&str, &str)], cases: &[(&'static str, &'static str, &str)]) {
    let text: String = policies
        .iter()
        .map(|(name, spec)| policy(name, spec))
        .collect();
    let authorization = compiled(&text);
    for (method, path, want) in cases {
        assert_eq!(
            denied(&authorization, &of(method, path)),
            *want,
            "{method} {path}"
        );
    }
}

#[test]
fn without_policies_everything_is_allowed() {
    let authorization = compiled("");
    assert!(authorization.is_empty());
    assert_eq!(call().decide(&authorization), Verdict::default());
    assert!(call().connect(&authorization).is_allowed());
}

#[test]
fn the_first_that_denies_counts_then_one_must_allow() {
    check_order(
        &[
            ("allow", ALLOW_GET),
            ("custom", CUSTOM_EXT),
            ("deny", DENY_ADMIN),
        ],
        &[
            ("GET", "/", ""),
            ("POST", "/", "none of allow"),
            ("GET", "/admin", "deny 0"),
            ("POST", "/admin", "deny 0"),
            ("GET", "/ext", "custom 0 ext"),
        ],
    );
}

#[test]
fn custom_comes_before_deny() {
    let deny = "action: DENY\nrules: [{}]";
    check_order(
        &[("custom", CUSTOM_EXT), ("deny", deny)],
        &[("GET", "/ext", "custom 0 ext"), ("GET", "/", "deny 0")],
    );
}

#[test]
fn without_a_policy_that_allows_what_is_not_denied_is_allowed() {
    check_order(
        &[("deny", DENY_ADMIN), ("custom", CUSTOM_EXT)],
        &[("POST", "/", ""), ("GET", "/admin/x", "deny 0")],
    );
}

#[test]
fn several_policies_that_allow_are_alternatives() {
    let post = "rules: [{to: [{operation: {methods: [POST], paths: [/data]}}]}]";
    check_order(
        &[("a", ALLOW_GET), ("b", post)],
        &[
            ("GET", "/", ""),
            ("POST", "/data", ""),
            ("POST", "/", "none of a, b"),
        ],
    );
}

#[test]
fn the_rule_that_denies_is_told() {
    let deny = "action: DENY\nrules:\n- to: [{operation: {paths: [/a]}}]\n- to: [{operation: {paths: [/b, /a]}}]";
    check_order(
        &[("deny", deny)],
        &[("GET", "/a", "deny 0"), ("GET", "/b", "deny 1")],
    );
    let authorization = compiled(&policy("deny", deny));
    let refusal = of("GET", "/b").decide(&authorization).denied.unwrap();
    assert_eq!(
        refusal.to_string(),
        "AuthorizationPolicy shop/deny spec.rules[1] (test.yaml:9:5) denies it"
    );
    assert_eq!(refusal.code(), "denied_by_policy");
    assert_eq!(
        refusal.details().to_string(),
        "rbac_access_denied_matched_policy[ns[shop]-policy[deny]-rule[1]]"
    );
}

#[test]
fn nothing_that_allows_is_told() {
    let authorization = compiled(&[policy("a", ALLOW_GET), policy("b", "{}")].concat());
    let refusal = of("POST", "/").decide(&authorization).denied.unwrap();
    assert_eq!(
        refusal.to_string(),
        "no rule allows it of AuthorizationPolicy shop/a, AuthorizationPolicy shop/b"
    );
    assert_eq!(refusal.code(), "not_allowed_by_policy");
    assert_eq!(refusal.rule(), None);
    assert_eq!(
        refusal.details().to_string(),
        "rbac_access_denied_matched_policy[none]"
    );
}

#[test]
fn an_external_authorizer_is_told() {
    let authorization = compiled(&policy("custom", CUSTOM_EXT));
    let refusal = of("POST", "/ext").decide(&authorization).denied.unwrap();
    assert_eq!(
        refusal.to_string(),
        "AuthorizationPolicy shop/custom spec.rules[0] (test.yaml:8:11) asks for the external authorizer \"ext\", which is not supported"
    );
    assert_eq!(refusal.code(), "custom_not_supported");
    assert_eq!(
        refusal.details().to_string(),
        "rbac_access_denied_matched_policy[istio-ext-authz-ext-ns[shop]-policy[custom]-rule[0]-deny-due-to-bad-CUSTOM-action]"
    );
}

#[test]
fn an_empty_spec_denies_everything_and_an_empty_rule_matches_everything() {
    check_order(&[("nothing", "{}")], &[("GET", "/", "none of nothing")]);
    check_order(&[("all", "rules: [{}]")], &[("GET", "/", "")]);
    check_order(
        &[("nothing", "{}"), ("all", "rules: [{}]")],
        &[("GET", "/", "")],
    );
    check_order(
        &[
            ("none", "action: DENY\nrules: [{}]"),
            ("all", "rules: [{}]"),
        ],
        &[("GET", "/", "none 0")],
    );
    for spec in ["{}", "rules: []"] {
        assert!(!call().connect(&compiled(&policy("a", spec))).is_allowed());
    }
}

#[test]
fn audits_are_told_and_change_nothing() {
    let audit = "action: AUDIT\nrules:\n- to: [{operation: {methods: [POST]}}]\n- to: [{operation: {paths: [/a]}}]";
    let text = [
        policy("audit", audit),
        policy("other", audit),
        policy("deny", DENY_ADMIN),
    ]
    .concat();
    let authorization = compiled(&text);
    let audited = |call: Call| {
        let verdict = call.decide(&authorization);
        let rules: Vec<_> = verdict
            .audited
            .iter()
            .map(|one| format!("{} {}", one.origin.resource.name, one.rule))
            .collect();
        (verdict.is_allowed(), rules.join(", "))
    };
    assert_eq!(audited(of("GET", "/")), (true, String::new()));
    assert_eq!(
        audited(of("POST", "/a")),
        (true, "audit 0, other 0".to_owned())
    );
    assert_eq!(
        audited(of("GET", "/a")),
        (true, "audit 1, other 1".to_owned())
    );
    assert_eq!(
        audited(of("POST", "/admin")),
        (false, "audit 0, other 0".to_owned())
    );
}

#[test]
fn policies_in_dry_run_are_told_and_change_nothing() {
    let dry = |name: &str, spec: &str| annotated("shop", name, "istio.io/dry-run: 'true'", spec);
    let text = [
        dry("allow", ALLOW_GET),
        dry("deny", DENY_ADMIN),
        dry("custom", CUSTOM_EXT),
    ]
    .concat();
    let authorization = compiled(&text);
    for (method, path, code) in [
        ("GET", "/", None),
        ("POST", "/", Some("not_allowed_by_policy")),
        ("GET", "/admin", Some("denied_by_policy")),
        ("GET", "/ext", Some("custom_not_supported")),
    ] {
        let verdict = of(method, path).decide(&authorization);
        assert!(verdict.is_allowed());
        assert_eq!(
            verdict.would_deny.as_ref().map(Refusal::code),
            code,
            "{method} {path}"
        );
    }
    let with_others =
        compiled(&[dry("deny", "action: DENY\nrules: [{}]"), policy("a", "{}")].concat());
    let verdict = call().decide(&with_others);
    assert_eq!(
        verdict.denied.as_ref().map(Refusal::code),
        Some("not_allowed_by_policy")
    );
    assert_eq!(
        verdict.would_deny.as_ref().map(Refusal::code),
        Some("denied_by_policy")
    );
}
