//! Whether compiled policies decide as the reference does.

use crate::generated::{Call, Policy, call, policies, yaml};
use crate::reference::{self, TRUST_DOMAINS, Verdict};
use http::{HeaderMap, HeaderValue};
use model::{Defaults, Origin, Resources};
use proptest::prelude::*;
use rules::{
    Authorization, AuthorizationCompiler, CompileOptions, MatchedRule, Mesh, Peer, Proxy, Refusal,
    RequestHead, TriedPolicy,
};
use std::net::IpAddr;
use std::sync::Arc;

fn compiled(policies: &[Policy]) -> Arc<Authorization> {
    let text = yaml(policies);
    let parsed = model::parse(&"generated.yaml".into(), &text, &Defaults::default());
    let resources: Resources = parsed
        .objects
        .iter()
        .map(|object| match object.outcome.resource() {
            Some(resource) => resource.clone(),
            None => panic!("{:#?} of\n{text}", object.diagnostics),
        })
        .collect();
    let options = CompileOptions {
        proxy: Proxy {
            namespace: "shop".into(),
            ..Proxy::default()
        },
        mesh: Mesh {
            trust_domain: TRUST_DOMAINS[0].into(),
            trust_domain_aliases: TRUST_DOMAINS[1..].iter().map(|one| (*one).into()).collect(),
            ..Mesh::default()
        },
        ..CompileOptions::default()
    };
    AuthorizationCompiler::default().compile(&options, &resources)
}

fn peer(call: &Call) -> Peer<'static> {
    Peer {
        source: call.source.parse().unwrap(),
        remote: call.remote.parse().unwrap(),
        principal: call.principal,
        destination: (in_v6(call.destination.parse().unwrap()), call.port).into(),
        sni: call.sni,
    }
}

/// In the form of IPv6, as a socket for both families may tell it.
fn in_v6(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(_) => address,
    }
}

fn asked<T>(
    call: &Call,
    of_request: impl Fn(&Peer<'_>, &RequestHead<'_>) -> T,
    of_connection: impl Fn(&Peer<'_>) -> T,
) -> T {
    let Some(request) = &call.request else {
        return of_connection(&peer(call));
    };
    let mut headers = HeaderMap::new();
    for user in &request.users {
        headers.append("x-user", HeaderValue::from_static(user));
    }
    let head = RequestHead {
        method: request.method,
        scheme: "http",
        authority: request.authority,
        path: request.path,
        query: Some("/a"),
        headers: &headers,
    };
    of_request(&peer(call), &head)
}

fn place(origin: &Origin) -> usize {
    origin.resource.name[1..].parse().unwrap()
}

fn rule(rule: &MatchedRule) -> (usize, usize) {
    assert_eq!(rule.origin.path, format!("spec.rules[{}]", rule.rule));
    (place(&rule.origin), rule.rule)
}

fn simple(refusal: Option<&Refusal>) -> Verdict {
    match refusal {
        None => Verdict::Allowed,
        Some(Refusal::NotAllowed(_)) => Verdict::Denied(None),
        Some(Refusal::Denied(by) | Refusal::Custom { rule: by, .. }) => {
            Verdict::Denied(Some(rule(by)))
        }
    }
}

/// What an explanation tells of the outcome.
fn explained(tried: &[TriedPolicy]) -> bool {
    let matched = |action: &str| {
        let mut of_action = tried.iter().filter(|policy| policy.action == action);
        of_action.any(|policy| policy.matched.is_some())
    };
    let is_asked = tried.iter().any(|policy| policy.action == "ALLOW");
    !matched("CUSTOM") && !matched("DENY") && (!is_asked || matched("ALLOW"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn policies_decide_as_the_reference_does(
        policies in policies(),
        calls in proptest::collection::vec(call(), 1..12),
    ) {
        let authorization = compiled(&policies);
        for call in &calls {
            let verdict = asked(
                call,
                |peer, head| authorization.decide_request(peer, head),
                |peer| authorization.decide_connection(peer),
            );
            let want = reference::verdict(&policies, call);
            prop_assert_eq!(simple(verdict.denied.as_ref()), want, "{:?} of\n{}", call, yaml(&policies));
            let audited: Vec<_> = verdict.audited.iter().map(rule).collect();
            prop_assert_eq!(audited, reference::audited(&policies, call), "{:?}", call);
            let tried = asked(
                call,
                |peer, head| authorization.explain_request(peer, head),
                |peer| authorization.explain_connection(peer),
            );
            prop_assert_eq!(explained(&tried), verdict.is_allowed(), "{:?}", tried);
        }
    }
}
