//! Endpoints nearby first, and those far away when nobody near is left.

use crate::{SHOP, shop};
use e2e::{
    Gateway, Place, Setup, Switch, destination_rule, eventually, service_entry, virtual_service,
};
use std::collections::BTreeMap;

const HOST: &str = "zones.test";
const PORT: &str = "number: 8000, name: http, protocol: HTTP";

/// Without it there is no failover.
const DETECTION: &str = "  outlierDetection:
    {consecutive5xxErrors: 1, interval: 200ms, baseEjectionTime: 400ms, maxEjectionPercent: 100}
";

/// A gateway at `eu/a/1` before these endpoints.
fn at_eu_a_1(places: &[Place], policy: &str) -> Setup {
    let rules = format!("- route: [{{destination: {{host: {HOST}}}}}]\n");
    Setup::new()
        .locality("eu/a/1")
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("rules.yaml", virtual_service("zones", SHOP, &rules))
        .file("zones.yaml", service_entry(HOST, PORT, places))
        .file("policy.yaml", destination_rule(HOST, policy))
}

/// As [`at_eu_a_1`], with these fields of the policy beside the outlier detection.
fn failing_over(places: &[Place], settings: &str) -> Gateway {
    let policy = format!("trafficPolicy:\n{DETECTION}{settings}");
    at_eu_a_1(places, &policy).start()
}

/// Who answered how many of as many requests.
fn shares(gateway: &Gateway, count: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        *shares.entry(gateway.get(SHOP, "/").text()).or_default() += 1;
    }
    shares
}

#[track_caller]
fn all_to(gateway: &Gateway, name: &str) {
    let shares = shares(gateway, 30);
    assert_eq!(shares, BTreeMap::from([(name.to_owned(), 30)]));
}

/// Sends requests until one of this name answers.
#[track_caller]
fn until_from(gateway: &Gateway, name: &str) {
    eventually(&format!("{name} answers"), || {
        gateway.get(SHOP, "/").text() == name
    });
}

/// Here, next door, in the region, and elsewhere.
fn four() -> [Switch; 4] {
    ["here", "zone", "region", "elsewhere"].map(Switch::new)
}

fn places_of(four: &[Switch; 4]) -> [Place; 4] {
    let at = |index: usize, locality| Place::new(four[index].port(), locality);
    [
        at(0, "eu/a/1"),
        at(1, "eu/a/2"),
        at(2, "eu/b/1"),
        at(3, "us/c/1"),
    ]
}

#[test]
fn the_nearest_get_all_and_each_farther_place_takes_over_and_gives_back() {
    let four = four();
    let gateway = failing_over(&places_of(&four), "");
    let names = ["here", "zone", "region", "elsewhere"];
    for (near, far) in four.iter().zip(&names[1..]) {
        near.set(500);
        until_from(&gateway, far);
    }
    // In the other order: whoever is back takes all again, as long as nobody nearer is.
    for (origin, name) in four.iter().zip(names).rev().skip(1) {
        origin.set(200);
        until_from(&gateway, name);
    }
    all_to(&gateway, "here");
}

#[test]
fn while_all_are_well_only_the_nearest_are_used() {
    let four = four();
    let gateway = failing_over(&places_of(&four), "");
    all_to(&gateway, "here");
    assert_eq!(four.each_ref().map(Switch::hits), [30, 0, 0, 0]);
    let cluster = gateway.cluster("outbound|8000||zones.test");
    let endpoints = cluster["endpoints"].as_array().expect("a list");
    let seen: BTreeMap<_, _> = endpoints
        .iter()
        .map(|endpoint| (endpoint["priority"].as_u64(), endpoint["locality"].as_str()))
        .collect();
    let order: Vec<_> = seen.into_values().flatten().collect();
    assert_eq!(order, ["eu/a/1", "eu/a/2", "eu/b/1", "us/c/1"]);
}

/// Half of those that are near are not enough for all: what they cannot carry goes farther.
#[test]
fn a_place_that_lost_too_many_gives_a_part_away() {
    let near = ["n1", "n2", "n3", "n4"].map(Switch::new);
    let far = Switch::new("far");
    let mut places: Vec<_> = near
        .iter()
        .map(|origin| Place::new(origin.port(), "eu/a/1"))
        .collect();
    places.push(Place::new(far.port(), "us/c/1"));
    let policy = "\
trafficPolicy:
  outlierDetection:
    {consecutive5xxErrors: 1, interval: 10s, baseEjectionTime: 300s, maxEjectionPercent: 100}
";
    let gateway = at_eu_a_1(&places, policy).start();
    assert!(!shares(&gateway, 100).contains_key("far"));
    near[0].set(500);
    near[1].set(500);
    let labels = [("cluster", "outbound|8000||zones.test")];
    eventually("both are ejected", || {
        gateway.get(SHOP, "/");
        let metrics = gateway.metrics();
        metrics.sum("tidegate_ejected_endpoints", &labels) == 2.0
    });
    // Half are left, of which 1.4 times as much is expected: 70 %, and 30 % for the others.
    let far = shares(&gateway, 1000)["far"];
    assert!((200..=400).contains(&far), "{far} of 1000");
}

#[test]
fn without_outlier_detection_all_places_are_alike() {
    let four = four();
    let policy = "trafficPolicy: {loadBalancer: {simple: RANDOM}}\n";
    let gateway = at_eu_a_1(&places_of(&four), policy).start();
    let shares = shares(&gateway, 400);
    assert_eq!(shares.len(), 4, "{shares:?}");
    assert!(shares.values().all(|count| *count >= 40), "{shares:?}");
}

#[test]
fn a_gateway_that_does_not_know_its_place_prefers_nobody() {
    let four = four();
    let policy = format!("trafficPolicy:\n  loadBalancer: {{simple: RANDOM}}\n{DETECTION}");
    let rules = format!("- route: [{{destination: {{host: {HOST}}}}}]\n");
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("rules.yaml", virtual_service("zones", SHOP, &rules))
        .file("zones.yaml", service_entry(HOST, PORT, &places_of(&four)))
        .file("policy.yaml", destination_rule(HOST, &policy))
        .start();
    let shares = shares(&gateway, 400);
    assert_eq!(shares.len(), 4, "{shares:?}");
}

#[test]
fn traffic_is_distributed_as_the_rule_says() {
    let four = four();
    let policy = "\
trafficPolicy:
  loadBalancer:
    simple: RANDOM
    localityLbSetting:
      distribute:
      - from: 'eu/a/*'
        to: {'eu/a/*': 70, 'us/*': 30}
";
    let gateway = at_eu_a_1(&places_of(&four), policy).start();
    let shares = shares(&gateway, 1000);
    assert!(!shares.contains_key("region"), "{shares:?}");
    let elsewhere = shares["elsewhere"];
    assert!((200..=400).contains(&elsewhere), "{shares:?}");
    // Both zones of `eu/a` have a part of its share.
    assert!(shares["here"] >= 200 && shares["zone"] >= 200, "{shares:?}");
}

#[test]
fn the_rule_says_which_region_comes_next() {
    let (here, asia, america) = (Switch::new("eu"), Switch::new("asia"), Switch::new("us"));
    let places = [
        Place::new(here.port(), "eu/b/1"),
        Place::new(asia.port(), "asia/x/1"),
        Place::new(america.port(), "us/c/1"),
    ];
    let settings = "  loadBalancer: {localityLbSetting: {failover: [{from: eu, to: us}]}}\n";
    let gateway = failing_over(&places, settings);
    all_to(&gateway, "eu");
    here.set(500);
    until_from(&gateway, "us");
    america.set(500);
    until_from(&gateway, "asia");
    here.set(200);
    until_from(&gateway, "eu");
}

#[test]
fn labels_can_come_before_places() {
    let (gold, silver) = (Switch::new("gold"), Switch::new("silver"));
    let places = [
        Place::new(silver.port(), "eu/a/1").labels("tier: silver"),
        Place::new(gold.port(), "us/c/1").labels("tier: gold"),
    ];
    let settings = "  loadBalancer: {localityLbSetting: {failoverPriority: ['tier=gold']}}\n";
    let gateway = failing_over(&places, settings);
    all_to(&gateway, "gold");
    gold.set(500);
    until_from(&gateway, "silver");
    gold.set(200);
    until_from(&gateway, "gold");
}

/// Those that are near answer nothing but 503. The outlier detection, which ejects nobody, is there for places to
/// count at all.
#[test]
fn a_retry_leaves_the_place_that_failed_only_if_the_rule_says_so() {
    let cases = [
        ("", 503, [40, 0]),
        (", retryRemoteLocalities: false", 503, [40, 0]),
        (", retryRemoteLocalities: true", 200, [20, 20]),
    ];
    let policy = "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 0}}\n";
    for (remote, status, hits) in cases {
        let near = ["one", "other"].map(|name| Switch::answering(name, 503));
        let far = Switch::new("far");
        let places = [
            Place::new(near[0].port(), "eu/a/1"),
            Place::new(near[1].port(), "eu/a/1"),
            Place::new(far.port(), "us/c/1"),
        ];
        let rules = format!(
            "- retries: {{attempts: 1, retryOn: 5xx, backoff: 1ms{remote}}}\n  \
               route: [{{destination: {{host: {HOST}}}}}]\n"
        );
        let gateway = at_eu_a_1(&places, policy)
            .file("rules.yaml", virtual_service("zones", SHOP, &rules))
            .start();
        (0..20).for_each(|_| assert_eq!(gateway.get(SHOP, "/").status, status, "{remote}"));
        let seen = [near[0].hits() + near[1].hits(), far.hits()];
        assert_eq!(seen, hits, "{remote}");
    }
}

/// As in a cluster whose Pods say where they are.
#[test]
fn pods_are_at_the_place_of_their_label() {
    let (near, far) = (Switch::new("near"), Switch::new("far"));
    let pod = |name: &str, place: &str, port: u16| {
        format!(
            "---\n\
             apiVersion: v1\n\
             kind: Pod\n\
             metadata: {{name: {name}, namespace: default, labels: {{app: shop, istio-locality: {place}}}}}\n\
             spec: {{containers: [{{name: main, ports: [{{name: web, containerPort: {port}}}]}}]}}\n\
             status: {{podIP: 127.0.0.1}}\n"
        )
    };
    let service = "\
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 8000, targetPort: web, protocol: TCP}]
";
    let pods = pod("one", "us.c.1", far.port()) + &pod("two", "eu.a.1", near.port());
    let rule = format!("trafficPolicy:\n{DETECTION}");
    let gateway = shop(crate::TO_SHOP, &[])
        .locality("eu/a/1")
        .file("shop-service.yaml", format!("{service}{pods}"))
        .file("policy.yaml", destination_rule("shop", &rule))
        .start();
    all_to(&gateway, "near");
    near.set(500);
    until_from(&gateway, "far");
}
