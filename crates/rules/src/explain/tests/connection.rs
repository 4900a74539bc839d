//! Explanations over TLS, and of connections.

use super::{explained_of, request};
use crate::{ExplainRequest, ExplainedOutcome, Explanation};
use http::StatusCode;

const RESOURCES: &str = r#"apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: gw }
spec:
  selector: {}
  servers:
  - port: { number: 443, name: https, protocol: HTTPS }
    hosts: [shop.test, more.test]
    tls: { mode: MUTUAL, credentialName: cert }
  - port: { number: 443, name: other, protocol: HTTPS }
    hosts: [other.test]
    tls: { mode: SIMPLE, credentialName: cert }
  - port: { number: 443, name: through, protocol: TLS }
    hosts: ["*.through.test"]
    tls: { mode: PASSTHROUGH }
  - port: { number: 15443, name: auto, protocol: TLS }
    hosts: ["*"]
    tls: { mode: AUTO_PASSTHROUGH }
  - port: { number: 3306, name: mysql, protocol: MYSQL }
    hosts: ["*"]
  - port: { number: 80, name: http, protocol: HTTP }
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: shop }
spec:
  hosts: [shop.test]
  gateways: [gw]
  http:
  - name: shop
    route: [{ destination: { host: db, port: { number: 80 } } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: through }
spec:
  hosts: ["*.through.test"]
  gateways: [gw]
  tls:
  - match: [{ sniHosts: [a.through.test] }]
    route:
    - { destination: { host: db, port: { number: 443 } }, weight: 90 }
    - { destination: { host: db, port: { number: 444 } }, weight: 10 }
  - match: [{ sniHosts: [b.through.test], destinationSubnets: [10.0.0.0/8] }]
    route: [{ destination: { host: db, port: { number: 443 } } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: mysql }
spec:
  hosts: [mysql.test]
  gateways: [gw]
  tcp:
  - match: [{ sourceSubnet: 10.0.0.0/8, destinationSubnets: [192.0.2.1] }]
    route: [{ destination: { host: nowhere.test, port: { number: 1 } } }]
  - route: [{ destination: { host: db, port: { number: 3306 } } }]
---
apiVersion: v1
kind: Service
metadata: { name: db }
spec:
  selector: { app: db }
  ports: [{ name: http, port: 80 }, { name: https, port: 443 }, { name: mysql, port: 3306 }]
---
apiVersion: v1
kind: Pod
metadata: { name: one, labels: { app: db } }
status: { podIP: 10.0.0.1 }
"#;

/// A request to the port 443 for `authority`, on a connection for `sni`.
fn over_tls(sni: Option<&str>, authority: &str) -> Explanation {
    let request = ExplainRequest {
        port: 443,
        scheme: "https".into(),
        sni: sni.map(Into::into),
        authority: authority.into(),
        ..request()
    };
    explained_of(RESOURCES, &request)
}

fn connection(scheme: &str, port: u16, sni: Option<&str>) -> Explanation {
    let request = ExplainRequest {
        port,
        scheme: scheme.into(),
        sni: sni.map(Into::into),
        authority: String::new(),
        ..request()
    };
    explained_of(RESOURCES, &request)
}

/// Host, port and weight of each cluster.
fn clusters(explanation: &Explanation) -> Vec<(&str, u16, u32)> {
    let clusters = explanation.clusters.iter();
    clusters
        .map(|one| (one.host.as_str(), one.port, one.weight))
        .collect()
}

const DB: &str = "db.default.svc.cluster.local";

/// Promise 2.
#[test]
fn a_request_over_tls_names_its_server_and_its_rule() {
    let explanation = over_tls(Some("Shop.test"), "shop.test");
    assert_eq!(explanation.outcome, ExplainedOutcome::Forward);
    let server = explanation.server.as_ref().unwrap();
    assert_eq!(
        (server.name.as_str(), server.mode),
        ("default/gw/https", "MUTUAL")
    );
    assert_eq!(
        (
            server.place.resource.as_str(),
            server.place.path.as_str(),
            server.place.line
        ),
        ("Gateway default/gw", "spec.servers[0]", Some(7))
    );
    assert_eq!(explanation.listener.as_deref(), Some("443"));
    assert_eq!(explanation.virtual_host.as_deref(), Some("shop.test:443"));
    assert_eq!(explanation.route.as_deref(), Some("shop"));
    assert_eq!(clusters(&explanation), [(DB, 80, 1)]);
}

#[test]
fn a_host_of_the_server_without_a_virtual_service_is_told_from_one_of_another_server() {
    let unbound = over_tls(Some("shop.test"), "more.test");
    assert_eq!(
        (unbound.outcome, unbound.status, unbound.reason),
        (ExplainedOutcome::NoHost, Some(404), None)
    );
    // Promise 13.
    let misdirected = over_tls(Some("shop.test"), "other.test");
    assert_eq!(
        (misdirected.outcome, misdirected.status),
        (ExplainedOutcome::NoHost, Some(421))
    );
    assert!(misdirected.server.is_some() && misdirected.reason.unwrap().contains("other.test"));
    let as_istio = ExplainRequest {
        port: 443,
        scheme: "https".into(),
        sni: Some("shop.test".into()),
        authority: "other.test".into(),
        misdirected: StatusCode::NOT_FOUND,
        ..request()
    };
    assert_eq!(explained_of(RESOURCES, &as_istio).status, Some(404));
}

#[test]
fn a_name_that_no_server_has_ends_the_handshake() {
    for (sni, told) in [(Some("unknown.test"), "unknown.test"), (None, "no name")] {
        let explanation = over_tls(sni, "shop.test");
        assert_eq!(
            (explanation.outcome, explanation.status),
            (ExplainedOutcome::NoHost, None)
        );
        assert!(explanation.server.is_none());
        assert!(explanation.reason.unwrap().contains(told));
    }
}

#[test]
fn what_is_spoken_must_be_what_the_port_speaks() {
    for (scheme, port, status) in [
        ("http", 443, Some(400)),
        ("tcp", 443, Some(400)),
        ("tls", 80, None),
    ] {
        let explanation = connection(scheme, port, Some("shop.test"));
        assert_eq!(
            (explanation.outcome, explanation.status),
            (ExplainedOutcome::NoHost, status),
            "{scheme} on {port}"
        );
        assert!(explanation.reason.is_some());
    }
}

#[test]
fn tls_that_goes_through_leads_to_its_clusters_by_weight() {
    let explanation = connection("tls", 443, Some("a.through.test"));
    assert_eq!(explanation.outcome, ExplainedOutcome::Forward);
    assert_eq!(explanation.server.as_ref().unwrap().mode, "PASSTHROUGH");
    assert_eq!(clusters(&explanation), [(DB, 443, 90), (DB, 444, 10)]);
    assert_eq!(explanation.clusters[0].endpoints, ["10.0.0.1:443"]);
    assert!(explanation.clusters[1].missing.is_some());
    let place = explanation.place.as_ref().unwrap();
    assert_eq!(
        (place.resource.as_str(), place.path.as_str()),
        ("VirtualService default/through", "spec.tls[0].match[0]")
    );
    assert!(explanation.virtual_host.is_none() && explanation.upstream.is_none());
}

#[test]
fn rules_about_addresses_are_told_and_not_guessed() {
    let explanation = connection("tls", 443, Some("b.through.test"));
    assert_eq!(explanation.outcome, ExplainedOutcome::NoRoute);
    assert_eq!(
        explanation.tried[0].failed,
        "it takes only who connects to 10.0.0.0/8"
    );
    assert!(explanation.reason.is_some());

    let explanation = connection("tcp", 3306, None);
    assert_eq!(explanation.outcome, ExplainedOutcome::Forward);
    assert_eq!(clusters(&explanation), [(DB, 3306, 1)]);
    assert_eq!(
        explanation.tried[0].failed,
        "it takes only who is of 10.0.0.0/8 and connects to 192.0.2.1/32"
    );
    assert_eq!(explanation.place.unwrap().path, "spec.tcp[1]");
}

#[test]
fn a_spelled_cluster_needs_no_rule() {
    let explanation = connection("tls", 15443, Some(&format!("outbound_.80_._.{DB}")));
    assert_eq!(explanation.outcome, ExplainedOutcome::Forward);
    assert_eq!(
        explanation.server.as_ref().unwrap().mode,
        "AUTO_PASSTHROUGH"
    );
    assert_eq!(clusters(&explanation), [(DB, 80, 1)]);
    assert!(explanation.place.is_none());
}
