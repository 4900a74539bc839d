//! Failures that a rule injects.

use crate::{SHOP, shop};
use e2e::{GrpcOrigin, Origin, Request, Setup, call_grpc, service_of, virtual_service};
use std::time::{Duration, Instant};

#[test]
fn an_abort_answers_without_asking_the_upstream() {
    let origin = Origin::named("ratings");
    // The example's own rule, with its legacy `percent`, behind a gateway.
    let rules = "\
- match:
  - headers: {cookie: {regex: '^(.*?;)?(user=jason)(;.*)?$'}}
  fault:
    abort: {percent: 100, httpStatus: 500}
  route: [{destination: {host: ratings}}]
- route: [{destination: {host: ratings}}]
";
    let gateway = shop(rules, &[("ratings", &[origin.port()])]).start();
    let jason = Request::get(SHOP, "/jason").header("Cookie", "user=jason");
    let aborted = gateway.send(&jason);
    assert_eq!(
        (aborted.status, aborted.text().as_str()),
        (500, "fault filter abort")
    );
    assert_eq!(origin.hits(), 0);
    assert_eq!(gateway.get(SHOP, "/anna").status, 200);
    let record = gateway.logged("/jason");
    assert_eq!(record["response_flags"], "FI");
    assert_eq!(record["response_code_details"], "fault_filter_abort");
    assert_eq!(record["reason"], "fault_abort");
}

#[test]
fn a_delay_comes_before_the_upstream_and_before_an_abort() {
    let origin = Origin::named("ratings");
    let rules = "\
- match: [{uri: {exact: /both}}]
  fault:
    delay: {percentage: {value: 100}, fixedDelay: 0.7s}
    abort: {percentage: {value: 100}, httpStatus: 418}
  route: [{destination: {host: ratings}}]
- fault:
    delay: {percent: 100, fixedDelay: 0.7s}
  timeout: 0.5s
  route: [{destination: {host: ratings}}]
";
    let gateway = shop(rules, &[("ratings", &[origin.port()])]).start();
    let timed = |target: &str| {
        let asked = Instant::now();
        let response = gateway.get(SHOP, target);
        assert!(
            asked.elapsed() >= Duration::from_millis(700),
            "{:?}",
            asked.elapsed()
        );
        response.status
    };
    assert_eq!(timed("/both"), 418);
    assert_eq!(origin.hits(), 0);
    // The route's timeout does not run during the injected delay.
    assert_eq!(timed("/one"), 200);
    assert_eq!(gateway.logged("/both")["response_flags"], "DI,FI");
    assert_eq!(gateway.logged("/one")["response_flags"], "DI");
}

#[test]
fn a_share_of_requests_is_aborted_within_statistics() {
    let origin = Origin::named("ratings");
    let rules = "\
- fault:
    abort: {percentage: {value: 30}, httpStatus: 503}
  route: [{destination: {host: ratings}}]
";
    let gateway = shop(rules, &[("ratings", &[origin.port()])]).start();
    let mut connection = gateway.connect();
    let request = Request::get(SHOP, "/");
    let statuses = (0..1000).map(|_| connection.send(&request).expect("an answer").status);
    let aborted = statuses.filter(|status| *status == 503).count();
    assert_eq!(aborted + origin.hits(), 1000);
    // Five standard deviations of 14.5.
    assert!((228..=372).contains(&aborted), "{aborted} aborted");
}

#[test]
fn a_grpc_abort_is_trailers_only() {
    let origin = GrpcOrigin::start();
    let rules = "\
- fault:
    abort: {percentage: {value: 100}, grpcStatus: UNAVAILABLE}
  route: [{destination: {host: greeter}}]
";
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("vs.yaml", virtual_service("greeter", SHOP, rules))
        .file(
            "greeter.yaml",
            service_of("greeter", "grpc", 8000, &[origin.port()]),
        )
        .start();
    let reply = call_grpc(gateway.http(), SHOP, "/greeter.Greeter/Hello", b"hi");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.grpc_status(), Some("14"));
    assert_eq!(origin.hits(), 0);
}
