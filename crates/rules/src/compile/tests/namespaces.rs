//! Whose objects a proxy has to know.

use super::parsed;
use crate::{
    CallerOptions, CompileOptions, EgressMode, ForwardProxyOptions, Namespaces, Proxy,
    SidecarOptions, namespaces,
};
use model::Resources;

/// Those of a workload `app: web` in namespace `shop`.
fn options() -> CompileOptions {
    CompileOptions {
        proxy: Proxy {
            namespace: "shop".into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ..Proxy::default()
        },
        sidecar: Some(SidecarOptions::default()),
        ..CompileOptions::default()
    }
}

fn sidecar(namespace: &str, name: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\n\
         metadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n{rest}\n"
    )
}

fn hosts(hosts: &str) -> String {
    format!("  egress: [{{ hosts: [{hosts}] }}]")
}

fn rules(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{ name: {name}, namespace: {namespace} }}\nspec: {{ {spec} }}\n"
    )
}

#[track_caller]
fn check(options: &CompileOptions, text: &str, want: &[&str]) {
    let resources: Resources = parsed(text).into_iter().collect();
    let want = want.iter().map(|name| (*name).into()).collect();
    assert_eq!(namespaces(options, &resources), Namespaces::Named(want));
}

#[track_caller]
fn check_all(options: &CompileOptions, text: &str) {
    let resources: Resources = parsed(text).into_iter().collect();
    assert_eq!(namespaces(options, &resources), Namespaces::All);
}

#[test]
fn a_gateway_has_to_know_all() {
    let gateway = CompileOptions {
        sidecar: None,
        ..options()
    };
    check_all(
        &gateway,
        &sidecar("shop", "default", &hosts("'./*', 'bank/*'")),
    );
}

#[test]
fn a_sidecar_knows_what_its_sidecar_names() {
    let of_root = sidecar("istio-system", "default", &hosts("'istio-system/*'"));
    let of_namespace = sidecar("shop", "default", &hosts("'./*', 'bank/*', '~/*'"));
    let selecting = "  workloadSelector: { labels: { app: web } }\n".to_owned();
    let selecting = sidecar("shop", "web", &(selecting + &hosts("'bank/api.test'")));
    let of_others = "  workloadSelector: { labels: { app: db } }\n".to_owned();
    let of_others = sidecar("shop", "db", &(of_others + &hosts("'*/*'")));
    check_all(&options(), "");
    check_all(&options(), &of_others);
    check(&options(), &of_root, &["istio-system"]);
    let all = of_root + &of_namespace + &of_others;
    check(&options(), &all, &["bank", "shop"]);
    check(&options(), &(all + &selecting), &["bank"]);
}

#[test]
fn any_namespace_is_all_of_them() {
    check_all(
        &options(),
        &sidecar("shop", "default", &hosts("'./*', '*/api.test'")),
    );
    // One that names none has the mesh's view.
    let no_egress = "  outboundTrafficPolicy: { mode: ALLOW_ANY }";
    check_all(&options(), &sidecar("shop", "default", no_egress));
}

#[test]
fn rules_that_are_seen_lead_to_namespaces_that_are_not() {
    let own = sidecar("shop", "default", &hosts("'./*'"));
    let route = |host: &str| format!("route: [{{ destination: {{ host: {host} }} }}]");
    let seen = format!(
        "hosts: [a.test], http: [{{ {}, mirrors: [{{ destination: {{ host: m.mirrors.svc.cluster.local }} }}] }}]",
        route("b.bank.svc.cluster.local")
    );
    let seen = rules("shop", "seen", &seen);
    check(
        &options(),
        &(own.clone() + &seen),
        &["bank", "mirrors", "shop"],
    );
    let hidden = rules(
        "other",
        "hidden",
        &format!(
            "hosts: [a.test], http: [{{ {} }}]",
            route("far.far.svc.cluster.local")
        ),
    );
    check(&options(), &(own.clone() + &hidden), &["shop"]);
    let elsewhere = rules(
        "shop",
        "elsewhere",
        &format!(
            "hosts: [a.test], http: [{{ {} }}]",
            route("api.example.com")
        ),
    );
    check(&options(), &(own + &elsewhere), &["shop"]);
}

#[test]
fn a_delegate_leads_on() {
    let own = sidecar("shop", "default", &hosts("'./*'"));
    let root = rules(
        "shop",
        "root",
        "hosts: [a.test], http: [{ delegate: { name: more, namespace: team } }]",
    );
    check(&options(), &(own.clone() + &root), &["shop", "team"]);
    let more = rules(
        "team",
        "more",
        "http: [{ route: [{ destination: { host: b.bank.svc.cluster.local } }] }]",
    );
    check(
        &options(),
        &(own + &root + &more),
        &["bank", "shop", "team"],
    );
}

#[test]
fn what_is_unknown_may_be_sent_to_a_namespace() {
    let text = "  egress: [{ hosts: ['./*'] }]\n  outboundTrafficPolicy:\n    mode: ALLOW_ANY\n    \
                egressProxy: { host: out.egress.svc.cluster.local, port: { number: 80 } }";
    check(
        &options(),
        &sidecar("shop", "default", text),
        &["egress", "shop"],
    );
}

#[test]
fn workloads_that_others_are_taken_for_see_as_well() {
    let others = CallerOptions {
        namespace: "guests".into(),
        ..CallerOptions::default()
    };
    let options = CompileOptions {
        forward_proxy: Some(ForwardProxyOptions {
            address: ([127, 0, 0, 1], 15080).into(),
            tls: None,
            clients: Vec::new(),
            others: Some(others),
            mode: EgressMode::Enforce,
        }),
        ..options()
    };
    let own = sidecar("shop", "default", &hosts("'./*'"));
    check_all(&options, &own);
    let theirs = sidecar("guests", "default", &hosts("'bank/*'"));
    check(&options, &(own + &theirs), &["bank", "shop"]);
}
