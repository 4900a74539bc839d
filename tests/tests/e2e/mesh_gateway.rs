//! A gateway at the edge of a mesh, whose sidecars know it by its identity.

use crate::mesh_bookinfo::versions_of;
use crate::mesh_tls::peers;
use e2e::{Authority, Bookinfo, Mesh, Origin, ServiceSpec, seed};
use std::net::{Ipv4Addr, SocketAddr};

const PORT: u16 = 9080;

/// A server that lets nobody in but the gateway, which is a client of the mesh like any other.
#[test]
fn a_gateway_is_a_client_of_the_mesh() {
    let mesh = Mesh::new();
    let authority = Authority::new("mesh");
    mesh.service(ServiceSpec::new("server").port("http", PORT));
    mesh.write(
        "policies.yaml",
        format!(
            "{}---\n\
             apiVersion: security.istio.io/v1\n\
             kind: AuthorizationPolicy\n\
             metadata: {{name: server, namespace: default}}\n\
             spec:\n  \
               selector: {{matchLabels: {{app: server}}}}\n  \
               rules: [{{from: [{{source: {{principals: [cluster.local/ns/istio-system/sa/gateway]}}}}]}}]\n",
            peers("STRICT")
        ),
    );
    mesh.write("gateway.yaml", e2e::gateway("edge", &["shop.test"]));
    let rules = "- route: [{destination: {host: server}}]\n";
    mesh.write(
        "shop.yaml",
        e2e::virtual_service("shop", "shop.test", rules),
    );
    let server = mesh
        .pod("server-v1")
        .account("server")
        .identity(&authority)
        .start();
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let origin = server.enter(|| Origin::echo_at(at));
    let client = mesh.pod("client-v1").identity(&authority).start();
    let edge = mesh.pod("edge").alone();
    let gateway = mesh.gateway(&edge, &authority, "gateway").start();
    let outside = mesh.pod("outside").alone();
    let mut connection = outside.connect((edge.address(), 80));
    let request = e2e::Request::get("shop.test", "/").header("x-request-id", "forged");
    let answer = connection.send(&request).expect("an answer");
    assert_eq!(
        (answer.status, answer.header("server")),
        (200, Some("istio-envoy"))
    );
    let request = origin.last_request();
    let told = request
        .header("x-forwarded-client-cert")
        .unwrap_or_default();
    let id = "URI=spiffe://cluster.local/ns/istio-system/sa/gateway";
    assert!(told.contains(id), "{told}");
    // The sidecar adds nobody to those who forwarded it.
    let from = outside.address().to_string();
    assert_eq!(request.header("x-forwarded-for"), Some(&*from));
    let record = gateway.logged("/");
    let upstream = format!("{}:{PORT}", server.address());
    assert_eq!(record["upstream_host"], *upstream, "{record}");
    // Another client of the mesh is not let in.
    assert_eq!(client.get("server:9080/").status, 403);
}

/// The whole application under mutual TLS, and each of its parts lets in only whom it needs to.
#[test]
fn an_application_lets_in_whom_it_needs_to() {
    let authority = Authority::new("mesh");
    let only = |app: &str, account: &str| {
        format!(
            "---\n\
             apiVersion: security.istio.io/v1\n\
             kind: AuthorizationPolicy\n\
             metadata: {{name: {app}, namespace: default}}\n\
             spec:\n  \
               selector: {{matchLabels: {{app: {app}}}}}\n  \
               rules: [{{from: [{{source: {{principals: [cluster.local/ns/default/sa/bookinfo-{account}]}}}}]}}]\n"
        )
    };
    let policies = peers("STRICT") + &only("reviews", "productpage") + &only("ratings", "reviews");
    let versions = versions_of("reviews", &["v1", "v2", "v3"]);
    let book = Bookinfo::start_with(
        &[
            ("policies.yaml", &policies),
            ("versions.yaml", &versions),
            ("reviews.yaml", &seed("07-all-v2.yaml")),
        ],
        |setup| setup.identity(&authority),
    );
    let page = book.productpage.get("reviews:9080/reviews/0");
    let page: serde_json::Value = serde_json::from_slice(&page.body).expect("reviews");
    assert_eq!(
        (&page["version"], &page["ratings"]),
        (&"v2".into(), &200.into())
    );
    assert_eq!(book.productpage.get("ratings:9080/ratings/0").status, 403);
    assert_eq!(book.ratings.get("reviews:9080/reviews/0").status, 403);
    let url = format!("{}:9080/productpage", book.productpage.address());
    assert!(book.client.try_get(&url, &[]).is_err(), "in clear");
    // Ratings were asked once, by reviews.
    assert_eq!(book.ratings_app.hits(), 1);
}
