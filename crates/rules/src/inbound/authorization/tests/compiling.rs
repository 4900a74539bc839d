//! Which policies are for a workload, what is told of them, and what is compiled anew.

use super::*;
use crate::Refusal;
use model::{AuthorizationPolicy, ObjectKey, Resource};

const DENY: &str = "action: DENY\nrules: [{}]";

fn denies(text: &str) -> bool {
    !call().decide(&compiled(text)).is_allowed()
}

#[test]
fn policies_are_selected_by_namespace_and_labels() {
    let selecting = |labels: &str| format!("selector: {{matchLabels: {{{labels}}}}}\n{DENY}");
    for (namespace, spec, want) in [
        ("shop", DENY.to_owned(), true),
        ("shop", selecting("app: reviews"), true),
        ("shop", selecting("app: other"), false),
        ("shop", selecting("app: reviews, version: v1"), false),
        (
            "shop",
            "selector: {}\naction: DENY\nrules: [{}]".to_owned(),
            true,
        ),
        ("other", DENY.to_owned(), false),
        ("other", selecting("app: reviews"), false),
        ("istio-system", DENY.to_owned(), true),
        ("istio-system", selecting("app: reviews"), true),
        ("istio-system", selecting("app: other"), false),
    ] {
        assert_eq!(
            denies(&policy_of(namespace, "a", &spec)),
            want,
            "{namespace} {spec}"
        );
    }
}

#[test]
fn policies_of_all_levels_count_together() {
    let text = [
        policy_of(
            "istio-system",
            "mesh",
            "rules: [{from: [{source: {namespaces: [shop]}}]}]",
        ),
        policy(
            "own",
            "action: DENY\nrules: [{to: [{operation: {methods: [POST]}}]}]",
        ),
    ]
    .concat();
    assert!(!denies(&text));
    let post = Call {
        method: "POST",
        ..call()
    };
    let authorization = compiled(&text);
    assert_eq!(
        post.decide(&authorization)
            .denied
            .as_ref()
            .map(Refusal::code),
        Some("denied_by_policy")
    );
    let other = Call::of(None);
    assert_eq!(
        other
            .decide(&authorization)
            .denied
            .as_ref()
            .map(Refusal::code),
        Some("not_allowed_by_policy")
    );
}

#[test]
fn a_workload_of_the_root_namespace_has_its_policies_once() {
    let mut options = options();
    options.proxy.namespace = "istio-system".into();
    let (authorization, _) = compiled_for(&options, &policy_of("istio-system", "a", "{}"));
    let Some(Refusal::NotAllowed(policies)) = call().decide(&authorization).denied else {
        panic!("nothing is allowed")
    };
    assert_eq!(policies.len(), 1);
}

#[track_caller]
fn check_told(text: &str, want: &[&str]) {
    let (_, diagnostics) = compiled_for(&options(), text);
    assert_eq!(diagnostics.iter().map(line).collect::<Vec<_>>(), want);
}

#[test]
fn attached_policies_are_told_and_not_selected() {
    let text = policy(
        "a",
        "targetRefs: [{kind: Service, name: reviews}]\naction: DENY\nrules: [{}]",
    );
    assert!(!denies(&text));
    check_told(
        &text,
        &[
            "warning not_selected 6:16 AuthorizationPolicy shop/a: spec.targetRefs: a policy that is attached to a Service is not for sidecars, as in Istio",
        ],
    );
}

#[test]
fn external_authorizers_are_an_error() {
    check_told(
        &policy("a", "action: CUSTOM\nprovider: {name: b}\nrules: [{}]"),
        &[
            "error unsupported_action 6:11 AuthorizationPolicy shop/a: spec.action: external authorizers are not supported: what matches a rule is denied",
        ],
    );
}

#[test]
fn foreign_trust_domains_are_told() {
    check_told(
        &policy(
            "a",
            "rules:\n- from: [{source: {principals: [td/ns/a/sa/b, cluster.local/ns/a/sa/b, '*/ns/a/sa/b']}}]\n  when: [{key: source.principal, notValues: [td2/ns/a/sa/b]}]",
        ),
        &[
            "warning foreign_trust_domain 7:13 AuthorizationPolicy shop/a: spec.rules[0].from[0].source.principals: trust domain \"td\" of \"td/ns/a/sa/b\" is neither the mesh's nor an alias of it",
            "warning foreign_trust_domain 8:12 AuthorizationPolicy shop/a: spec.rules[0].when[0]: trust domain \"td2\" of \"td2/ns/a/sa/b\" is neither the mesh's nor an alias of it",
        ],
    );
}

#[test]
fn an_audit_in_dry_run_is_told() {
    let spec = "action: AUDIT\nrules: [{}]";
    check_told(
        &annotated("shop", "a", "istio.io/dry-run: 'true'", spec),
        &[
            "warning no_effect 6:11 AuthorizationPolicy shop/a: spec.action: an AUDIT policy in dry run has no effect",
        ],
    );
}

fn replace(resources: &mut Resources, text: &str) {
    for object in super::resources(text).iter() {
        resources.insert(object);
    }
}

#[test]
fn what_did_not_change_is_the_same() {
    let mut compiler = AuthorizationCompiler::default();
    let mut all = resources(&[policy("a", DENY), policy_of("other", "b", DENY)].concat());
    let first = compiler.compile(&options(), &all);
    assert!(Arc::ptr_eq(&first, &compiler.compile(&options(), &all)));
    replace(&mut all, &policy_of("other", "b", "{}"));
    assert!(Arc::ptr_eq(&first, &compiler.compile(&options(), &all)));
    replace(&mut all, &policy("c", "{}"));
    let second = compiler.compile(&options(), &all);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(
        &first.enforced.deny[0],
        &second.enforced.deny[0]
    ));
    assert_eq!(second.enforced.allow.len(), 1);
    let key = ObjectKey {
        namespace: "shop".into(),
        name: "a".into(),
    };
    let removed = all.authorization_policies.remove(&key).unwrap();
    let third = compiler.compile(&options(), &all);
    assert!(third.enforced.deny.is_empty());
    assert_eq!(Arc::strong_count(&removed), 1);
}

#[test]
fn another_mesh_or_workload_is_compiled_anew() {
    let mut compiler = AuthorizationCompiler::default();
    let text = policy(
        "a",
        "selector: {matchLabels: {app: reviews}}\nrules: [{from: [{source: {principals: [new/ns/shop/sa/web]}}]}]",
    );
    let all = resources(&text);
    let mut options = options();
    let of_new = Call::of(Some("spiffe://old/ns/shop/sa/web"));
    assert!(
        !of_new
            .decide(&compiler.compile(&options, &all))
            .is_allowed()
    );
    assert_eq!(compiler.diagnostics().count(), 1);
    options.mesh.trust_domain = "new".into();
    options.mesh.trust_domain_aliases = vec!["old".into()];
    assert!(
        of_new
            .decide(&compiler.compile(&options, &all))
            .is_allowed()
    );
    assert_eq!(compiler.diagnostics().count(), 0);
    options.proxy.labels.clear();
    assert!(compiler.compile(&options, &all).is_empty());
}

#[test]
fn diagnostics_of_policies_that_did_not_change_stay() {
    let mut compiler = AuthorizationCompiler::default();
    let mut all = resources(&policy(
        "a",
        "action: CUSTOM\nprovider: {name: b}\nrules: [{}]",
    ));
    compiler.compile(&options(), &all);
    replace(&mut all, &policy("b", "{}"));
    compiler.compile(&options(), &all);
    assert_eq!(compiler.diagnostics().count(), 1);
}

#[test]
fn a_proxy_that_enforces_nothing_says_so() {
    let text = [
        policy("a", DENY),
        policy("attached", "targetRefs: [{kind: Service, name: a}]"),
        policy_of("other", "b", DENY),
        policy_of("istio-system", "c", "selector: {matchLabels: {app: other}}"),
        policy_of("istio-system", "d", "{}"),
    ]
    .concat();
    let resources = resources(&text);
    let told = |options: &CompileOptions| -> Vec<String> {
        let told = crate::inbound::unenforced(options, &resources);
        told.iter().map(line).collect()
    };
    let message = "is for this proxy, which does not enforce it yet: nobody is kept out by it";
    let gateway = options();
    assert_eq!(
        told(&gateway),
        [
            format!("warning not_honoured 28:1 AuthorizationPolicy istio-system/d: {message}"),
            format!("warning not_honoured 2:1 AuthorizationPolicy shop/a: {message}"),
        ]
    );
    let mut sidecar = options();
    sidecar.sidecar = Some(crate::SidecarOptions::default());
    assert_eq!(told(&sidecar).len(), 2);
    sidecar.sidecar = Some(crate::SidecarOptions {
        inbound: Some(([127, 0, 0, 1], 15006).into()),
        ..crate::SidecarOptions::default()
    });
    assert_eq!(told(&sidecar), Vec::<String>::new());
}

/// An object that was never read from text, as one of an API server.
#[test]
fn policies_without_positions_are_compiled() {
    let parsed = resources(&policy(
        "a",
        "action: CUSTOM\nprovider: {name: b}\nrules: [{}]",
    ));
    let Some(object) = parsed.authorization_policies.values().next() else {
        panic!("it is there")
    };
    let mut object = AuthorizationPolicy::clone(object);
    object.meta.position = None;
    let all: Resources = [Resource::from(object)].into_iter().collect();
    let mut compiler = AuthorizationCompiler::default();
    let refusal = call()
        .decide(&compiler.compile(&options(), &all))
        .denied
        .unwrap();
    assert!(
        refusal
            .to_string()
            .starts_with("AuthorizationPolicy shop/a spec.rules[0] asks")
    );
}
