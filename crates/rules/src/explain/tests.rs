mod connection;

use super::*;
use crate::{CompileOptions, Compiler, Proxy};
use model::{Defaults, Resources};

const RESOURCES: &str = r#"apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: gw }
spec:
  selector: {}
  servers:
  - { port: { number: 80, name: http, protocol: HTTP }, hosts: ["*.test"] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: shop }
spec:
  hosts: [shop.test]
  gateways: [gw]
  http:
  - name: pay
    match: [{ uri: { prefix: /pay } }]
    redirect: { scheme: https }
  - match: [{ uri: { prefix: /cart }, headers: { x-user: { exact: jason } } }]
    directResponse: { status: 418 }
  - name: cart
    match: [{ uri: { prefix: /cart } }]
    timeout: 3s
    rewrite: { uri: /basket, authority: cart.internal }
    route:
    - { destination: { host: cart, subset: v1 }, weight: 90 }
    - { destination: { host: cart, subset: v9 }, weight: 10 }
  - match: [{ uri: { prefix: /broken } }]
    fault: { abort: { httpStatus: 500, percentage: { value: 100 } } }
    route: [{ destination: { host: cart } }]
---
apiVersion: v1
kind: Service
metadata: { name: cart }
spec: { selector: { app: cart }, ports: [{ name: http, port: 80 }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: cart }
spec: { host: cart, subsets: [{ name: v1, labels: { version: v1 } }] }
---
apiVersion: v1
kind: Pod
metadata: { name: one, labels: { app: cart, version: v1 } }
status: { podIP: 10.0.0.1 }
---
apiVersion: v1
kind: Pod
metadata: { name: two, labels: { app: cart, version: v2 } }
status: { podIP: 10.0.0.2 }
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: secure }
spec:
  selector: {}
  servers:
  - { port: { number: 80, name: http, protocol: HTTP }, hosts: [secure.test] }
  - port: { number: 80, name: more, protocol: HTTP }
    hosts: ["*.secure"]
    tls: { httpsRedirect: true }
"#;

fn explained(port: u16, authority: &str, path: &str) -> Explanation {
    explained_of(
        RESOURCES,
        &ExplainRequest {
            port,
            authority: authority.into(),
            path: path.into(),
            ..request()
        },
    )
}

/// `GET http://shop.test/?q=1` on port 80
fn request() -> ExplainRequest {
    ExplainRequest {
        port: 80,
        method: "GET".into(),
        scheme: "http".into(),
        sni: None,
        authority: "shop.test".into(),
        path: "/".into(),
        query: Some("q=1".into()),
        headers: HeaderMap::new(),
        client: None,
        client_names: Vec::new(),
        misdirected: StatusCode::MISDIRECTED_REQUEST,
    }
}

fn explained_of(resources: &str, request: &ExplainRequest) -> Explanation {
    let parsed = model::parse(&"shop.yaml".into(), resources, &Defaults::default());
    let accepted = parsed
        .objects
        .iter()
        .filter_map(|object| object.outcome.resource().cloned());
    let resources: Resources = accepted.collect();
    let proxy = Proxy {
        namespace: "istio-system".into(),
        ..Proxy::default()
    };
    let mut compiler = Compiler::new(CompileOptions {
        proxy,
        ..CompileOptions::default()
    });
    let (table, _) = compiler.compile(&resources);
    let (endpoints, _) = compiler.endpoints(&resources, &Arc::default());
    explain(&table, &endpoints, request)
}

#[test]
fn a_forwarded_request_names_its_rule_and_all_it_can_reach() {
    let explanation = explained(80, "shop.test", "/cart/1");
    assert_eq!(explanation.outcome, ExplainedOutcome::Forward);
    assert_eq!(explanation.status, None);
    assert_eq!(explanation.listener.as_deref(), Some("80"));
    assert_eq!(explanation.virtual_host.as_deref(), Some("shop.test:80"));
    assert_eq!(explanation.route.as_deref(), Some("cart"));
    let place = explanation.place.unwrap();
    assert_eq!(
        (place.resource.as_str(), place.path.as_str()),
        ("VirtualService default/shop", "spec.http[2].match[0]")
    );
    assert_eq!(
        (place.file.as_deref(), place.line),
        (Some("shop.yaml"), Some(22))
    );
    let [v1, v9] = explanation.clusters.as_slice() else {
        panic!("{:?}", explanation.clusters);
    };
    assert_eq!(
        (v1.subset.as_deref(), v1.weight, v1.endpoints.as_slice()),
        (Some("v1"), 90, &["10.0.0.1:80".to_owned()][..])
    );
    assert!(v1.missing.is_none() && v9.missing.as_ref().unwrap().contains("v9"));
    let upstream = explanation.upstream.unwrap();
    assert_eq!(
        (upstream.path.as_str(), upstream.authority.as_str()),
        ("/basket/1?q=1", "cart.internal")
    );
    assert_eq!(
        (upstream.timeout, upstream.retries),
        (Some(Duration::from_secs(3)), 2)
    );
}

/// Promise 2.
#[test]
fn the_rules_before_are_told_with_what_failed() {
    let tried = explained(80, "shop.test", "/cart/1").tried;
    let told: Vec<_> = tried
        .iter()
        .map(|one| (one.rule.as_str(), one.place.line, one.failed.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "pay",
                Some(17),
                r#"uri: wants prefix "/pay", has "/cart/1""#
            ),
            (
                "spec.http[1].match[0]",
                Some(19),
                r#"header x-user: wants exact "jason", has none"#
            ),
        ]
    );
}

#[test]
fn answers_are_told_with_their_status_and_location() {
    let redirect = explained(80, "shop.test", "/pay");
    assert_eq!(
        (redirect.outcome, redirect.status),
        (ExplainedOutcome::Redirect, Some(301))
    );
    assert_eq!(
        redirect.headers,
        [(
            "location".to_owned(),
            "https://shop.test/pay?q=1".to_owned()
        )]
    );
    let abort = explained(80, "shop.test", "/broken");
    assert_eq!(
        (abort.outcome, abort.status),
        (ExplainedOutcome::Abort, Some(500))
    );
}

#[test]
fn a_gateway_server_that_redirects_to_https_is_named() {
    let redirect = explained(80, "a.secure", "/");
    assert_eq!(
        (redirect.outcome, redirect.status),
        (ExplainedOutcome::Redirect, Some(301))
    );
    let place = redirect.place.unwrap();
    assert_eq!(
        (place.resource.as_str(), place.path.as_str()),
        ("Gateway default/secure", "spec.servers[1]")
    );
    assert_eq!(
        (place.file.as_deref(), place.line),
        (Some("shop.yaml"), Some(59))
    );
    assert_eq!(explained(80, "secure.test", "/").place, None);
}

#[test]
fn what_no_rule_takes_is_told_apart() {
    for (port, authority, path, want) in [
        (81, "shop.test", "/", ExplainedOutcome::NoListener),
        (80, "other.test", "/", ExplainedOutcome::NoHost),
        (80, "shop.test", "/other", ExplainedOutcome::NoRoute),
    ] {
        let explanation = explained(port, authority, path);
        assert_eq!(explanation.outcome, want);
        assert!(!want.is_by_a_rule());
        let tried = if want == ExplainedOutcome::NoRoute {
            4
        } else {
            0
        };
        assert_eq!(explanation.tried.len(), tried);
    }
}
