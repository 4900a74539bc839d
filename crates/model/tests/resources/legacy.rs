//! Forms of earlier versions are read as the current ones.

use crate::support::{accepted, istio, told};
use model::*;
use std::time::Duration;

/// Both specs make the same resource, the first with a `legacy_form` warning.
#[track_caller]
fn check_same(kind: &str, legacy: &str, current: &str) {
    let (legacy, current) = (istio(kind, legacy), istio(kind, current));
    assert!(
        told(&legacy)
            .iter()
            .any(|line| line.contains("legacy_form")),
        "{legacy}"
    );
    assert!(
        told(&current)
            .iter()
            .all(|line| !line.contains("legacy_form")),
        "{current}"
    );
    assert_eq!(
        without_places(&accepted(&legacy)),
        without_places(&accepted(&current))
    );
}

/// The text of a resource with all its places at zero.
fn without_places(resource: &Resource) -> String {
    let text = format!("{resource:?}");
    let mut parts = text.split("At { line: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('}').map_or(part, |(_, rest)| rest)
    })
}

fn http(rule: &str) -> String {
    format!("hosts: [a.test]\nhttp:\n- route: [{{destination: {{host: a}}}}]\n  {rule}")
}

#[test]
fn of_http_rules() {
    for (legacy, current) in [
        (
            "fault: {abort: {percent: 30, httpStatus: 500}}",
            "fault: {abort: {percentage: {value: 30}, httpStatus: 500}}",
        ),
        (
            "fault: {delay: {percent: 30, fixedDelay: 1s}}",
            "fault: {delay: {percentage: {value: 30}, fixedDelay: 1s}}",
        ),
        (
            "fault: {abort: {percent: 30, percentage: {value: 5}, httpStatus: 500}}",
            "fault: {abort: {percentage: {value: 5}, httpStatus: 500}}",
        ),
        (
            "mirror: {host: b}\n  mirrorPercent: 7",
            "mirror: {host: b}\n  mirrorPercentage: {value: 7}",
        ),
        (
            "mirror: {host: b}\n  mirror_percent: 0",
            "mirror: {host: b}\n  mirrorPercentage: {value: 0}",
        ),
        (
            "corsPolicy: {allowOrigin: [a, '*']}",
            "corsPolicy: {allowOrigins: [{exact: a}, {exact: '*'}]}",
        ),
        ("appendHeaders: {x: y}", "headers: {request: {add: {x: y}}}"),
        (
            "appendResponseHeaders: {x: y}",
            "headers: {response: {add: {x: y}}}",
        ),
        (
            "removeResponseHeaders: [x]",
            "headers: {response: {remove: [x]}}",
        ),
        (
            "removeRequestHeaders: [x]",
            "headers: {request: {remove: [x]}}",
        ),
        ("websocketUpgrade: true", ""),
    ] {
        check_same("VirtualService", &http(legacy), &http(current));
    }
}

#[test]
fn of_references_and_subnets() {
    let rule = "http: [{redirect: {uri: /}}]";
    check_same(
        "VirtualService",
        &format!("hosts: [a.b]\ngateways: [gw.infra.svc.cluster.local]\n{rule}"),
        &format!("hosts: [a.b]\ngateways: [infra/gw]\n{rule}"),
    );
    let tcp = |subnet: &str| {
        format!(
            "hosts: [a.b]\ntcp: [{{match: [{{{subnet}}}], route: [{{destination: {{host: a}}}}]}}]"
        )
    };
    check_same(
        "VirtualService",
        &tcp("destinationSubnet: 10.0.0.1/8"),
        &tcp("destinationSubnets: [10.0.0.0/8]"),
    );
}

#[test]
fn of_load_balancing() {
    let rule = |balancer: &str| format!("host: a\ntrafficPolicy: {{loadBalancer: {{{balancer}}}}}");
    for (legacy, current) in [
        ("simple: LEAST_CONN", "simple: LEAST_REQUEST"),
        (
            "consistentHash: {httpHeader: x}",
            "consistentHash: {httpHeaderName: x}",
        ),
        (
            "consistentHash: {httpHeaderName: x, minimumRingSize: 7}",
            "consistentHash: {httpHeaderName: x, ringHash: {minimumRingSize: 7}}",
        ),
        ("warmupDurationSecs: 5s", "warmup: {duration: 5s}"),
    ] {
        check_same("DestinationRule", &rule(legacy), &rule(current));
    }
}

#[test]
fn of_outlier_detection() {
    let rule =
        |outlier: &str| format!("host: a\ntrafficPolicy: {{outlierDetection: {{{outlier}}}}}");
    for (legacy, current) in [
        ("consecutiveErrors: 3", "consecutive5xxErrors: 3"),
        (
            "consecutiveErrors: 3, consecutive5xxErrors: 0",
            "consecutive5xxErrors: 0",
        ),
        (
            "consecutiveErrors: 3, consecutiveGatewayErrors: 2",
            "consecutiveGatewayErrors: 2",
        ),
        (
            "http: {consecutiveErrors: 1, interval: 1s}",
            "consecutive5xxErrors: 1, interval: 1s",
        ),
        (
            "http: {consecutiveErrors: 1}, consecutive5xxErrors: 9",
            "consecutive5xxErrors: 9",
        ),
    ] {
        check_same("DestinationRule", &rule(legacy), &rule(current));
    }
}

#[test]
fn an_empty_outlier_block_is_not_an_absent_one() {
    let policy = |spec: &str| match accepted(&istio("DestinationRule", spec)) {
        Resource::DestinationRule(rule) => rule.traffic_policy.clone().unwrap(),
        other => panic!("{other:?}"),
    };
    let empty = policy("host: a\ntrafficPolicy: {outlierDetection: {}}")
        .outlier_detection
        .unwrap();
    assert_eq!(
        (empty.consecutive_5xx_errors, empty.max_ejection_percent),
        (5, 10)
    );
    assert_eq!(empty.interval, Duration::from_secs(10));
    assert_eq!(
        policy("host: a\ntrafficPolicy: {tls: {}}").outlier_detection,
        None
    );
}
