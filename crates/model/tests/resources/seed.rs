//! The examples that must work as written.

use crate::support::{accepted, check_told, line, parse, silently};
use model::{HttpAction, Outcome, OutlierDetection, Percent, Resource, StringMatch};
use std::time::Duration;

macro_rules! seed {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/seed/", $name, ".yaml"))
    };
}

#[test]
fn examples_that_are_current_are_accepted_without_a_word() {
    for text in [
        seed!("04-default-route-v1"),
        seed!("05-canary-weights"),
        seed!("07-all-v2"),
        seed!("08-subset-connection-limit"),
        seed!("09-gateway-http"),
        seed!("10-virtualservice-httpbin"),
        seed!("12-serviceentry-egress"),
        seed!("13-egress-timeout"),
        seed!("14-mirror"),
    ] {
        silently(text);
    }
}

#[test]
fn an_abort_percent_of_old_is_a_percentage() {
    let text = seed!("01-fault-abort-jason");
    check_told(
        text,
        &[
            "warning legacy_form 15:18 spec.http[0].fault.abort.percent: deprecated, read as percentage.value",
        ],
    );
    let Resource::VirtualService(service) = accepted(text) else {
        panic!()
    };
    let abort = service.http[0]
        .fault
        .as_ref()
        .unwrap()
        .abort
        .as_ref()
        .unwrap();
    assert_eq!(abort.percentage, Percent::FULL);
    let StringMatch::Regex(cookie) = &service.http[0].matches[0].headers["cookie"] else {
        panic!()
    };
    assert_eq!(cookie.as_str(), "^(.*?;)?(user=jason)(;.*)?$");
}

#[test]
fn a_delay_percent_of_old_is_a_percentage() {
    let text = seed!("03-fault-delay");
    check_told(
        text,
        &[
            "warning legacy_form 11:18 spec.http[0].fault.delay.percent: deprecated, read as percentage.value",
        ],
    );
    let Resource::VirtualService(service) = accepted(text) else {
        panic!()
    };
    let delay = service.http[0]
        .fault
        .as_ref()
        .unwrap()
        .delay
        .as_ref()
        .unwrap();
    assert_eq!(
        (delay.percentage, delay.fixed_delay),
        (Percent::FULL, Duration::from_secs(2))
    );
}

#[test]
fn outlier_detection_of_0_8_is_flattened() {
    let text = seed!("02-circuit-breaker");
    let told: Vec<String> = parse(text).all_diagnostics().map(line).collect();
    assert!(
        told.iter()
            .any(|line| line.starts_with("warning legacy_form 15:7 ")),
        "{told:#?}"
    );
    assert!(
        told.iter().all(|line| line.starts_with("warning ")),
        "{told:#?}"
    );
    let Resource::DestinationRule(rule) = accepted(text) else {
        panic!()
    };
    let outlier = rule
        .traffic_policy
        .as_ref()
        .unwrap()
        .outlier_detection
        .clone()
        .unwrap();
    let want = OutlierDetection {
        at: outlier.at,
        consecutive_5xx_errors: 1,
        interval: Duration::from_secs(1),
        base_ejection_time: Duration::from_secs(180),
        max_ejection_percent: 100,
        ..OutlierDetection::default()
    };
    assert_eq!(outlier, want);
}

/// Promise 4: the message names the object, the rule and the line.
#[test]
fn a_rule_without_a_route_is_refused_with_its_place() {
    let parsed = parse(seed!("06-match-source-and-user"));
    let object = &parsed.objects[0];
    assert_eq!(object.outcome, Outcome::Refused);
    assert_eq!(
        object.reference.to_string(),
        "VirtualService default/ratings"
    );
    let [diagnostic] = &object.diagnostics[..] else {
        panic!("{:#?}", object.diagnostics)
    };
    assert_eq!(
        line(diagnostic),
        "error missing_route 9:5 spec.http[0]: HTTP route, redirect or direct_response is required",
    );
    assert!(
        diagnostic
            .help
            .as_deref()
            .unwrap()
            .contains("not where they go")
    );
    assert_eq!(
        diagnostic.position.as_ref().unwrap().to_string(),
        "test.yaml:9:5"
    );
}

#[test]
fn the_mirror_is_full_without_a_percentage() {
    let Resource::VirtualService(service) = silently(seed!("14-mirror")) else {
        panic!()
    };
    let [mirror] = &service.http[0].mirrors[..] else {
        panic!()
    };
    assert_eq!(
        (mirror.percentage, mirror.path.as_str()),
        (Percent::FULL, "mirror")
    );
    assert_eq!(mirror.destination.subset.as_deref(), Some("v2"));
}

#[test]
fn weights_are_as_written() {
    let Resource::VirtualService(service) = silently(seed!("05-canary-weights")) else {
        panic!()
    };
    let HttpAction::Route(route) = &service.http[0].action else {
        panic!()
    };
    let weights: Vec<_> = route.iter().map(|one| one.weight).collect();
    assert_eq!(weights, [Some(75), Some(25)]);
}

#[test]
fn all_examples_in_one_file_are_read() {
    let text = [
        seed!("01-fault-abort-jason"),
        seed!("06-match-source-and-user"),
        seed!("09-gateway-http"),
        seed!("10-virtualservice-httpbin"),
    ]
    .join("---\n");
    let parsed = parse(&text);
    let accepted: Vec<bool> = parsed
        .objects
        .iter()
        .map(|object| object.outcome.resource().is_some())
        .collect();
    assert_eq!(accepted, [true, false, true, true]);
    assert!(!parsed.unidentified);
}
