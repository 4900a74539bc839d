//! The gateway from outside: real binary, real sockets, real clients.
//!
//! One binary, so that linking is cheap; a module for each thing a user would ask about. "Promise
//! N" in a comment is the numbered list of what Tidegate promises its users.

mod acme;
mod acme_replicas;
mod admission;
mod backends;
mod bad_hellos;
mod bad_input;
mod certificates;
mod churn;
mod circuit_breaking;
mod commands;
mod dns;
mod egress;
mod egress_gateway;
mod egress_policies;
mod egress_protocols;
mod ejection;
mod faults;
mod forwarding;
mod health_checks;
mod https;
mod kubernetes;
mod kubernetes_status;
mod layers;
mod lifecycle;
mod listeners;
mod localities;
mod memory;
mod mesh_addresses;
mod mesh_authorization;
mod mesh_bookinfo;
mod mesh_capture;
mod mesh_certificates;
mod mesh_changes;
mod mesh_dns;
mod mesh_egress;

mod mesh_gateway;
mod mesh_inbound;
mod mesh_lifecycle;
mod mesh_limits;
mod mesh_metrics;
mod mesh_mirroring;
mod mesh_programs;
mod mesh_tcp;
mod mesh_tls;
mod mesh_unredirected;
mod mirroring;
mod mutual_tls;
mod observing;
mod origination;
mod page;
mod passthrough;
mod proxied;
mod proxy_protocol;
mod reload;
mod retries;
mod routing;
mod sessions;
mod sni;
mod sticky;
mod streaming;
mod tcp;
mod timeouts;
mod tls_settings;
mod upstreams;
mod worlds;

use e2e::{
    Authority, Gateway, Setup, destination_rule, gateway_of, https_server, l4_virtual_service,
    server, service, service_of, virtual_service,
};

/// The host that most tests serve.
const SHOP: &str = "shop.test";

/// A gateway for `shop.test` with these `http` rules and these services on port 8000.
fn shop(http: &str, services: &[(&str, &[u16])]) -> Setup {
    let setup = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("shop.yaml", virtual_service("shop", SHOP, http));
    services.iter().fold(setup, |setup, (name, endpoints)| {
        setup.file(
            &format!("{name}-service.yaml"),
            service(name, 8000, endpoints),
        )
    })
}

/// `shop.test`, all of it to one service with these endpoints.
fn plain_shop(endpoints: &[u16]) -> Gateway {
    shop(TO_SHOP, &[("shop", endpoints)]).start()
}

/// The rule of [`plain_shop`].
const TO_SHOP: &str = "- route:\n  - destination: {host: shop}\n";

/// `shop.test` on port 443 with a certificate of `authority`, all of it to one service.
fn secure_shop(authority: &Authority, endpoints: &[u16]) -> Setup {
    let server = https_server("https", &[SHOP], "mode: SIMPLE, credentialName: shop-cert");
    shop(TO_SHOP, &[("shop", endpoints)])
        .file("gateway.yaml", gateway_of("edge", &server))
        .port(443)
        .certificate("shop-cert", &authority.issue(&[SHOP]))
}

/// [`plain_shop`] with a DestinationRule for its service: the fields of its `spec`.
fn shop_with(policy: &str, endpoints: &[u16]) -> Setup {
    shop(TO_SHOP, &[("shop", endpoints)]).file("policy.yaml", destination_rule("shop", policy))
}

/// [`plain_tcp`] with a DestinationRule for its service: the fields of its `spec`.
fn tcp_with(policy: &str, endpoints: &[u16]) -> Setup {
    plain_tcp(endpoints).file("policy.yaml", destination_rule("shop", policy))
}

/// A TCP server on port 9000, all of it to the service `shop` with these endpoints, on port 7000.
fn plain_tcp(endpoints: &[u16]) -> Setup {
    let rules = "- route: [{destination: {host: shop, port: {number: 7000}}}]\n";
    Setup::new()
        .file(
            "gateway.yaml",
            gateway_of("edge", &server(9000, "tcp", "TCP", &["*"], "")),
        )
        .file("tcp.yaml", l4_virtual_service("tcp", &["*"], "tcp", rules))
        .file(
            "shop-service.yaml",
            service_of("shop", "tcp", 7000, endpoints),
        )
        .port(9000)
}
