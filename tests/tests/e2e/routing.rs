//! Which destination a request meets.

use crate::{SHOP, shop};
use e2e::{Origin, Request, Setup, service, virtual_service};

#[test]
fn weights_hold_within_statistics() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let rules = "\
- route:
  - destination: {host: v1}
    weight: 75
  - destination: {host: v2}
    weight: 25
";
    let gateway = shop(rules, &[("v1", &[v1.port()]), ("v2", &[v2.port()])]).start();
    let mut connection = gateway.connect();
    let request = Request::get(SHOP, "/");
    for _ in 0..2000 {
        let response = connection.send(&request).expect("an answer");
        assert_eq!(response.status, 200);
    }
    assert_eq!(v1.hits() + v2.hits(), 2000);
    // Five standard deviations of 19.4: once in two million runs by chance.
    assert!((1403..=1597).contains(&v1.hits()), "{} to v1", v1.hits());
}

#[test]
fn subsets_choose_pods_by_label() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let rules = "\
- match:
  - headers: {end-user: {exact: jason}}
  route:
  - destination: {host: reviews, subset: v2}
- match:
  - uri: {prefix: /v3}
  route:
  - destination: {host: reviews, subset: v3}
- route:
  - destination: {host: reviews, subset: v1}
";
    let destination_rule = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";
    let gateway = shop(rules, &[])
        .file("rule.yaml", destination_rule)
        .file("pods.yaml", reviews_in_pods(v1.port(), v2.port()))
        .start();
    let jason = Request::get(SHOP, "/").header("End-User", "jason");
    for _ in 0..10 {
        assert_eq!(gateway.get(SHOP, "/").text(), "v1");
        assert_eq!(gateway.send(&jason).text(), "v2");
    }
    // No DestinationRule defines it: a cluster that does not exist.
    let missing = gateway.get(SHOP, "/v3");
    assert_eq!((missing.status, missing.text().as_str()), (503, ""));
    assert_eq!(gateway.logged("/v3")["response_flags"], "NC");
}

fn reviews_in_pods(v1: u16, v2: u16) -> String {
    let mut text = String::from(
        "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: default}\n\
         spec:\n  ports:\n  - {name: http, port: 8000}\n  selector: {app: reviews}\n",
    );
    for (version, port) in [("v1", v1), ("v2", v2)] {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: reviews-{version}\n  \
             namespace: default\n  labels: {{app: reviews, version: {version}}}\n\
             status: {{podIP: 127.0.0.1}}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
             name: reviews-{version}\n  namespace: default\n  \
             labels: {{kubernetes.io/service-name: reviews}}\naddressType: IPv4\n\
             ports:\n- {{name: http, port: {port}}}\nendpoints:\n- addresses: [127.0.0.1]\n  \
             conditions: {{ready: true}}\n  \
             targetRef: {{kind: Pod, name: reviews-{version}, namespace: default}}\n"
        );
    }
    text
}

#[test]
fn headers_methods_queries_and_expressions_choose_the_rule() {
    let origins = ["jason", "delete", "query", "regex", "without", "rest"].map(Origin::named);
    let ports: Vec<[u16; 1]> = origins.iter().map(|origin| [origin.port()]).collect();
    let names = ["jason", "delete", "query", "regex", "without", "rest"];
    let services: Vec<(&str, &[u16])> = names
        .iter()
        .zip(&ports)
        .map(|(name, port)| (*name, port.as_slice()))
        .collect();
    let rules = "\
- match:
  - headers: {cookie: {regex: '^(.*?;)?(user=jason)(;.*)?$'}}
  route: [{destination: {host: jason}}]
- match:
  - method: {exact: DELETE}
  route: [{destination: {host: delete}}]
- match:
  - queryParams: {beta: {exact: '1'}}
  route: [{destination: {host: query}}]
- match:
  - uri: {regex: '/items/[0-9]+'}
  route: [{destination: {host: regex}}]
- match:
  - uri: {prefix: /w}
    withoutHeaders: {x-internal: {}}
  route: [{destination: {host: without}}]
- route: [{destination: {host: rest}}]
";
    let gateway = shop(rules, &services).start();
    let check = |request: Request, want: &str| {
        assert_eq!(gateway.send(&request).text(), want, "{request:?}");
    };
    check(
        Request::get(SHOP, "/").header("Cookie", "user=jason"),
        "jason",
    );
    check(
        Request::get(SHOP, "/").header("Cookie", "a=1;user=jason;b=2"),
        "jason",
    );
    check(
        Request::get(SHOP, "/").header("Cookie", "user=jasonx"),
        "rest",
    );
    check(Request::new("DELETE", SHOP, "/"), "delete");
    check(Request::get(SHOP, "/?alpha=0&beta=1"), "query");
    check(Request::get(SHOP, "/?beta=2"), "rest");
    check(Request::get(SHOP, "/items/42?x=y"), "regex");
    check(Request::get(SHOP, "/items/42/parts"), "rest");
    check(Request::get(SHOP, "/well"), "without");
    check(
        Request::get(SHOP, "/well").header("X-Internal", "1"),
        "rest",
    );
}

#[test]
fn the_first_rule_wins_and_a_host_does_not_fall_back_to_a_wider_one() {
    let (narrow, wide) = (Origin::named("narrow"), Origin::named("wide"));
    let rules = "\
- match: [{uri: {prefix: /a}}]
  route: [{destination: {host: narrow}}]
- match: [{uri: {exact: /abc}}]
  route: [{destination: {host: wide}}]
";
    let gateway = shop(
        rules,
        &[("narrow", &[narrow.port()]), ("wide", &[wide.port()])],
    )
    .file(
        "wide-host.yaml",
        virtual_service("wide", "*.test", "- route: [{destination: {host: wide}}]\n"),
    )
    .start();
    assert_eq!(gateway.get(SHOP, "/abc").text(), "narrow");
    assert_eq!(gateway.get("other.test", "/abc").text(), "wide");
    let unmatched = gateway.get(SHOP, "/b");
    assert_eq!((unmatched.status, unmatched.text().as_str()), (404, ""));
    assert_eq!(gateway.get("SHOP.Test:8080", "/a").text(), "narrow");
}

#[test]
fn several_virtual_services_share_a_host_with_catch_alls_last() {
    let (rest, users) = (Origin::named("rest"), Origin::named("users"));
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &[SHOP]))
        .file(
            "a.yaml",
            virtual_service("a", SHOP, "- route: [{destination: {host: rest}}]\n"),
        )
        .file(
            "b.yaml",
            virtual_service(
                "b",
                SHOP,
                "- match: [{uri: {prefix: /users}}]\n  route: [{destination: {host: users}}]\n",
            ),
        )
        .file("rest.yaml", service("rest", 8000, &[rest.port()]))
        .file("users.yaml", service("users", 8000, &[users.port()]))
        .start();
    assert_eq!(gateway.get(SHOP, "/users/1").text(), "users");
    assert_eq!(gateway.get(SHOP, "/").text(), "rest");
}

#[test]
fn a_delegate_fills_in_the_rules_of_its_root() {
    let (carts, rest) = (Origin::echo(), Origin::named("rest"));
    let root = "\
- match: [{uri: {prefix: /carts}}]
  delegate: {name: carts, namespace: team}
- route: [{destination: {host: rest}}]
";
    let delegate = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: carts, namespace: team}
spec:
  http:
  - match: [{uri: {prefix: /carts/v2}}]
    rewrite: {uri: /two}
    route: [{destination: {host: carts.default.svc.cluster.local}}]
  - match: [{uri: {prefix: /elsewhere}}]
    route: [{destination: {host: carts.default.svc.cluster.local}}]
";
    let gateway = shop(
        root,
        &[("carts", &[carts.port()]), ("rest", &[rest.port()])],
    )
    .file("team.yaml", delegate)
    .start();
    assert_eq!(gateway.get(SHOP, "/carts/v2/7").status, 200);
    assert_eq!(carts.last_request().target(), "/two/7");
    assert_eq!(gateway.get(SHOP, "/elsewhere").text(), "rest");
}

#[test]
fn a_rule_is_used_only_where_it_is_exported_to() {
    let origin = Origin::named("seen");
    let private = |namespace: &str, host: &str, export: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
             metadata: {{name: {namespace}, namespace: {namespace}}}\nspec:\n  \
             hosts: [{host}]\n  gateways: [default/edge]\n  exportTo: ['{export}']\n  http:\n  \
             - route: [{{destination: {{host: shop.default.svc.cluster.local}}}}]\n"
        )
    };
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("own.yaml", private("own", "own.test", "."))
        .file("named.yaml", private("named", "named.test", "istio-system"))
        .file("all.yaml", private("all", "all.test", "*"))
        .file("shop.yaml", service("shop", 8000, &[origin.port()]))
        .start();
    assert_eq!(gateway.get("all.test", "/").status, 200);
    assert_eq!(gateway.get("named.test", "/").status, 200);
    assert_eq!(gateway.get("own.test", "/").status, 404);
}

#[test]
fn a_gateway_s_server_takes_rules_only_from_the_namespace_it_names() {
    let origin = Origin::named("seen");
    let vs = |namespace: &str, host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
             metadata: {{name: vs, namespace: {namespace}}}\nspec:\n  hosts: [{host}]\n  \
             gateways: [default/edge]\n  http:\n  \
             - route: [{{destination: {{host: shop.default.svc.cluster.local}}}}]\n"
        )
    };
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["blue/*.test"]))
        .file("blue.yaml", vs("blue", "blue.test"))
        .file("red.yaml", vs("red", "red.test"))
        .file("shop.yaml", service("shop", 8000, &[origin.port()]))
        .start();
    assert_eq!(gateway.get("blue.test", "/").status, 200);
    assert_eq!(gateway.get("red.test", "/").status, 404);
}
