//! Endpoints that are asked whether they are well.

use crate::{TO_SHOP, shop};
use e2e::{After, Gateway, Origin, eventually, service};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

const HOST: &str = "shop.default.svc.cluster.local";

const CHECKS: &str = r#"
[health-checks."*.default.svc.cluster.local"]
protocol = "http"
path = "/healthz"
expected-statuses = ["200-299"]
interval = "20ms"
unhealthy-threshold = 2
"#;

/// An origin that answers every request with the status of the moment.
fn moody(status: &Arc<AtomicU16>) -> Origin {
    let status = Arc::clone(status);
    Origin::serving(move |exchange| {
        exchange.reply(status.load(Relaxed), &[], b"")?;
        Ok(After::Keep)
    })
}

/// Waits until so many endpoints are unhealthy.
#[track_caller]
fn wait_for_unhealthy(gateway: &Gateway, want: f64) {
    eventually("the number of unhealthy endpoints", || {
        let metrics = gateway.metrics();
        let labels = [("host", HOST)];
        let name = "tidegate_unhealthy_endpoints";
        metrics.count(name, &labels) == 1 && metrics.sum(name, &labels) == want
    });
}

fn probes(gateway: &Gateway, result: &str) -> f64 {
    let labels = [("host", HOST), ("result", result)];
    gateway
        .metrics()
        .sum("tidegate_health_checks_total", &labels)
}

#[test]
fn an_endpoint_that_falls_ill_and_recovers_is_told() {
    let status = Arc::new(AtomicU16::new(204));
    let (well, origin) = (Origin::named("well"), moody(&status));
    let services: [(&str, &[u16]); 1] = [("shop", &[well.port(), origin.port()])];
    let gateway = shop(TO_SHOP, &services).section(CHECKS).start();
    wait_for_unhealthy(&gateway, 0.0);
    eventually("a success", || probes(&gateway, "success") > 1.0);
    let request = origin.last_request();
    assert!(request.start.starts_with("GET /healthz "), "{request:?}");
    status.store(503, Relaxed);
    wait_for_unhealthy(&gateway, 1.0);
    assert!(probes(&gateway, "unexpected_status") >= 2.0);
    status.store(200, Relaxed);
    wait_for_unhealthy(&gateway, 0.0);
}

#[test]
fn endpoints_are_asked_as_long_as_they_are_configured() {
    let (first, second) = (Origin::named("first"), Origin::named("second"));
    let services: [(&str, &[u16]); 1] = [("shop", &[first.port()])];
    let gateway = shop(TO_SHOP, &services).section(CHECKS).start();
    eventually("a probe of the first", || first.hits() > 1);
    gateway.write("shop-service.yaml", service("shop", 8000, &[second.port()]));
    eventually("a probe of the second", || second.hits() > 0);
    let hits = first.hits();
    let probes_so_far = second.hits();
    eventually("more probes", || second.hits() > probes_so_far + 2);
    // One may have been on its way.
    assert!(first.hits() <= hits + 1);
    gateway.write("shop-service.yaml", service("shop", 8000, &[]));
    eventually("the end of the series", || {
        let metrics = gateway.metrics();
        metrics.count("tidegate_unhealthy_endpoints", &[]) == 0
            && metrics.count("tidegate_health_checks_total", &[]) == 0
    });
}
