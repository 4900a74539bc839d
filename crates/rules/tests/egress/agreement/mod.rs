//! Whether the compiled registry allows just what a slow reference does.

mod address;
mod generated;
mod nobody;
mod reference;

use generated::Case;
use http::HeaderMap;
use model::{Defaults, Resources};
use nobody::Nobody;
use reference::{AllowList, Asked, Verdict};
use rules::{
    CallerOptions, ClusterTarget, CompileOptions, Compiler, Decision, EgressMode,
    ForwardProxyOptions, HeadFacts, Outbound, OutboundService, Outcome, Reached, Reason,
    RequestHead, Serves, Target,
};
use std::sync::Arc;

/// The port of a request that names none.
const DEFAULT_PORT: u16 = 80;

/// Makes ServiceEntries and texts that ask for hosts of some bytes, and compares the verdicts.
///
/// # Panics
/// When they differ.
pub(crate) fn check(bytes: &[u8]) {
    let case = Case::of(bytes);
    let (outbound, accepted) = compiled(&case);
    let list = AllowList {
        entries: accepted,
        namespace: case.namespace,
    };
    for (target, sni) in &case.asked {
        check_target(&outbound, &list, target, sni);
    }
}

fn check_target(outbound: &Outbound, list: &AllowList<'_>, text: &str, sni: &str) {
    let asked = Asked::parse(text, DEFAULT_PORT);
    let target = Target::parse(text, Some(DEFAULT_PORT)).ok();
    let found = target.as_ref().map(|one| (one.authority(), one.port()));
    let want = asked.as_ref().map(|one| (one.host.to_string(), one.port));
    let want = want.as_ref().map(|(host, port)| (host.as_str(), *port));
    assert_eq!(found, want, "host and port of {text:?}");
    let (Some(target), Some(asked)) = (target, asked) else {
        return;
    };
    let found = reached(outbound, &target);
    assert_eq!(
        found,
        list.connection(&asked),
        "{text:?} reached of {list:?}"
    );
    let found = decided(outbound, &target);
    assert_eq!(found, list.request(&asked), "{text:?} decided of {list:?}");
    assert_eq!(
        target.is_host(sni),
        asked.is_named(sni),
        "{sni:?} is the name of {text:?}"
    );
}

/// What the compiled registry says of a connection.
fn reached(outbound: &Outbound, target: &Target) -> Verdict {
    match outbound.reach(target) {
        Reached::Service(service) => {
            check_dialled(service, target);
            Verdict::Allowed {
                entry: service.origin.resource.name.to_string(),
                host: service.host.to_string(),
            }
        }
        Reached::Refused(denial) => Verdict::Denied(denial),
        Reached::Passed(..) => panic!("{target} is let through unknown"),
    }
}

/// A host that is found on demand is found: the name that was allowed is one that may be dialled.
fn check_dialled(service: &OutboundService, target: &Target) {
    let destinations = service.routes.0.iter().flat_map(|one| &one.destinations);
    for destination in destinations {
        let ClusterTarget::Cluster(cluster) = &destination.cluster else {
            panic!("{target} leads nowhere");
        };
        let Some(on_demand) = &cluster.on_demand else {
            continue;
        };
        let is_found = match target.address() {
            // What is forbidden is told so when it would be dialled.
            Some(address) => on_demand.has(address) || !on_demand.admits(address),
            None => on_demand.resolves(target.authority()) || on_demand.names.is_none(),
        };
        assert!(is_found, "{target} is allowed and not found: {on_demand:?}");
    }
}

/// What the compiled registry says of a request.
fn decided(outbound: &Outbound, target: &Target) -> Verdict {
    let headers = HeaderMap::new();
    let authority = target.to_string();
    let head = RequestHead {
        method: "GET",
        scheme: "http",
        authority: &authority,
        path: "/",
        query: None,
        headers: &headers,
    };
    let dice = &mut |_: u32| 0;
    let (decision, noted) = outbound.decide(target, &head, dice, &HeadFacts(&head), &mut Nobody);
    match &decision.outcome {
        Outcome::Answer(answer) => {
            let Reason::Denied(denial) = answer.reason else {
                panic!("{target} is answered {:?}", answer.reason);
            };
            assert_eq!(noted, Some(denial));
            Verdict::Denied(denial)
        }
        _ => allowed(&decision, target),
    }
}

fn allowed(decision: &Decision<'_>, target: &Target) -> Verdict {
    let (Some(virtual_host), Some(route)) = (decision.virtual_host, decision.route) else {
        panic!("{target} is neither refused nor sent anywhere");
    };
    Verdict::Allowed {
        entry: route.origin.resource.name.to_string(),
        host: virtual_host.domain.to_string(),
    }
}

/// What a client reaches, and the entries that were not refused.
fn compiled(case: &Case) -> (Arc<Outbound>, Vec<&reference::Entry>) {
    let text: String = case.entries.iter().map(generated::yaml).collect();
    let parsed = model::parse(&"case.yaml".into(), &text, &Defaults::default());
    let is_accepted = |name: &str| {
        let mut objects = parsed.objects.iter();
        objects.any(|one| *one.reference.name == *name && one.outcome.resource().is_some())
    };
    let accepted = case.entries.iter().filter(|one| is_accepted(&one.name));
    let objects = parsed.objects.iter();
    let resources: Resources = objects
        .filter_map(|one| one.outcome.resource().cloned())
        .collect();
    let mut compiler = Compiler::new(options(case.namespace));
    // What is kept of another generation makes no difference.
    let mut before = resources.clone();
    let last = before.service_entries.keys().next_back().cloned();
    last.and_then(|last| before.service_entries.remove(&last));
    compiler.compile(&before);
    let (table, _) = compiler.compile(&resources);
    let outbound = table.listeners.values().find_map(|one| match &one.serves {
        Serves::ForwardProxy(proxy) => Some(proxy.others.as_ref()?.outbound.clone()),
        _ => None,
    });
    (
        outbound.expect("the forward proxy was asked for"),
        accepted.collect(),
    )
}

fn options(namespace: &str) -> CompileOptions {
    CompileOptions {
        forward_proxy: Some(ForwardProxyOptions {
            address: ([127, 0, 0, 1], 3128).into(),
            tls: None,
            clients: Vec::new(),
            others: Some(CallerOptions {
                namespace: namespace.into(),
                ..CallerOptions::default()
            }),
            mode: EgressMode::Enforce,
        }),
        ..CompileOptions::default()
    }
}
