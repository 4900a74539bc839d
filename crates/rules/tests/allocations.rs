//! A decision to forward allocates nothing, however much is configured.

use http::{HeaderMap, HeaderName, HeaderValue};
use model::{Defaults, Origin, ResourceRef};
use rules::{
    Action, AuthorizationCompiler, ClusterKey, ClusterTarget, CompileOptions, ForwardAction,
    HeaderKey, HeaderMatch, HostMap, MissingCluster, Outcome, PathMatch, Pattern, Peer, Predicate,
    QueryMatch, RequestHead, Route, RouteSet, TcpDestination, TcpRoute, TcpRoutes, TextMatch,
    TlsAction, TlsServer, VirtualHost, VirtualHosts, WeightedDestination,
};
use std::sync::Arc;

fn origin() -> Arc<Origin> {
    let resource = ResourceRef {
        kind: "VirtualService".into(),
        namespace: "a".into(),
        name: "b".into(),
    };
    Arc::new(Origin {
        resource,
        path: String::new(),
        position: None,
    })
}

fn destination() -> WeightedDestination {
    let key = ClusterKey {
        view: None,
        host: "a.test".into(),
        subset: None,
        port: 80,
    };
    let cluster = ClusterTarget::Missing(MissingCluster {
        key,
        reason: "".into(),
    });
    WeightedDestination::to(cluster, origin())
}

fn forward() -> Action {
    let destinations = vec![destination(), destination()];
    Action::Forward(Box::new(ForwardAction::to(destinations)))
}

/// Routes of every kind, so that each part of the index is walked.
fn predicate(at: usize) -> Predicate {
    let uri = match at % 5 {
        0 => PathMatch::Exact(format!("/r{at}")),
        1 => PathMatch::Prefix(format!("/r{at}/")),
        2 => PathMatch::PrefixIgnoreCase(format!("/R{at}/")),
        3 => {
            PathMatch::Regex(Pattern::parse(&format!("/r{at}/[a-z]+")).expect("a valid expression"))
        }
        _ => PathMatch::Prefix("/".into()),
    };
    let tenant = HeaderKey::Header(HeaderName::from_static("x-tenant"));
    let tenant = HeaderMatch::required(tenant, TextMatch::Exact(format!("t{at}")));
    let user = QueryMatch {
        name: "user".into(),
        value: TextMatch::Prefix("a".into()),
    };
    Predicate {
        uri: Some(uri),
        headers: vec![tenant],
        query: vec![user],
        ..Predicate::default()
    }
}

fn listener() -> VirtualHosts {
    let route = |predicate| {
        let (action, origin) = (forward(), origin());
        Arc::new(Route {
            name: "".into(),
            predicate,
            action,
            origin,
        })
    };
    let routes = (0..500).map(predicate).map(route).collect();
    let host = VirtualHost {
        name: "".into(),
        domain: "*.shop.test".into(),
        https_redirect: None,
        routes: Arc::new(RouteSet::new(routes)),
    };
    VirtualHosts::new([Arc::new(host)])
}

#[test]
fn forwarding_allocates_nothing() {
    let boxed = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(boxed.count_total, 1, "the counter counts");
    let listener = listener();
    for (path, tenant) in [
        ("/r490", "t490"),
        ("/r491/x", "t491"),
        ("/r492/x", "t492"),
        ("/r493/x", "t493"),
        ("/", "t494"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-tenant", HeaderValue::from_static(tenant));
        let authority = "A.Shop.test:80";
        let head = RequestHead {
            method: "GET",
            scheme: "http",
            authority,
            path,
            query: Some("user=ab"),
            headers: &headers,
        };
        let decide = || {
            matches!(
                listener.decide(&head, &mut |_: u32| 1).outcome,
                Outcome::Forward(_)
            )
        };
        // The first time, a regular expression sets up its cache.
        assert!(decide(), "{path}");
        let counted = allocation_counter::measure(|| assert!(decide()));
        assert_eq!(counted.count_total, 0, "{path}");
    }
}

#[test]
fn choosing_a_tls_server_and_the_route_of_a_connection_allocates_nothing() {
    let cluster = ClusterTarget::Missing(MissingCluster {
        key: ClusterKey {
            view: None,
            host: "".into(),
            subset: None,
            port: 80,
        },
        reason: "".into(),
    });
    let destination = TcpDestination {
        weight: 1,
        cluster,
        origin: origin(),
    };
    let route = TcpRoute {
        matches: Vec::new(),
        destinations: vec![destination.clone(), destination],
        total_weight: 2,
        origin: origin(),
    };
    let server = TlsServer {
        name: "".into(),
        action: TlsAction::Passthrough(TcpRoutes(vec![Arc::new(route)])),
        origin: origin(),
    };
    let mut servers = HostMap::default();
    servers.add("*.shop.test", Arc::new(server));
    let counted = allocation_counter::measure(|| {
        let server = servers.lookup("A.Shop.test").expect("it has this name");
        let TlsAction::Passthrough(routes) = &server.action else {
            panic!("TLS goes through");
        };
        let address = [127, 0, 0, 1].into();
        let route = routes.route(address, address).expect("it takes everything");
        route.draw(&mut |_: u32| 1);
    });
    assert_eq!(counted.count_total, 0);
}

/// Rules that look at everything, and match in their last condition or not at all.
const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: istio-system}
spec:
  action: DENY
  rules:
  - from: [{source: {principals: [x, '*y'], notNamespaces: ['a*b']}}, {source: {serviceAccounts: [shop/bad]}}]
  - from: [{source: {trustDomains: ['x*']}}, {source: {ipBlocks: [10.1.0.0/16], remoteIpBlocks: ['::1']}}]
  - to: [{operation: {hosts: ['*.bad.test'], ports: ['80']}}, {operation: {methods: [PUT], paths: ['/{*}/x'], ports: ['80']}}]
  - when: [{key: 'request.headers[x-user]', values: ['j*']}, {key: connection.sni, values: [a]}, {key: destination.ip, values: [10.0.0.1]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: istio-system}
spec:
  rules:
  - to: [{operation: {paths: ['/a/{**}/c', /b*]}}]
    when: [{key: source.namespace, values: [shop]}]
";

#[test]
fn policies_decide_without_allocating() {
    let parsed = model::parse(&"a.yaml".into(), POLICIES, &Defaults::default());
    let objects = parsed.objects.iter();
    let resources = objects
        .filter_map(|object| object.outcome.resource().cloned())
        .collect();
    let options = CompileOptions::default();
    let authorization = AuthorizationCompiler::default().compile(&options, &resources);
    let mut headers = HeaderMap::new();
    headers.insert("x-user", HeaderValue::from_static("jason"));
    let peer = Peer {
        source: [10, 0, 0, 1].into(),
        remote: [192, 0, 2, 1].into(),
        principal: Some("spiffe://cluster.local/ns/shop/sa/web"),
        destination: ([10, 0, 0, 2], 80).into(),
        sni: Some("a"),
    };
    for (path, allowed) in [("/a/b/c", true), ("/b", true), ("/c", false)] {
        let head = RequestHead {
            method: "GET",
            scheme: "http",
            authority: "shop.test:80",
            path,
            query: None,
            headers: &headers,
        };
        let counted = allocation_counter::measure(|| {
            let verdict = authorization.decide_request(&peer, &head);
            assert_eq!(verdict.is_allowed(), allowed, "{path}");
        });
        assert_eq!(counted.count_total, 0, "{path}");
    }
    let counted = allocation_counter::measure(|| {
        assert!(!authorization.decide_connection(&peer).is_allowed());
    });
    assert_eq!(counted.count_total, 0);
}
