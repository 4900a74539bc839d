//! Endpoints that come and go all the time, as in a cluster that is being scaled.

use crate::SHOP;
use e2e::{
    Gateway, Load, LoadReport, Origin, Request, Setup, endpoint_slice, eventually, service,
    virtual_service,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

const SERVICES: usize = 100;
const ENDPOINTS: usize = 10;

/// How often an EndpointSlice is rewritten, and for how long.
const PERIOD: Duration = Duration::from_millis(20);
const CHANGES: usize = 250;

/// What allocators keep for themselves, and endpoints that were there at one time or another.
const SLACK_KIB: u64 = 24 * 1024;

fn name_of(number: usize) -> String {
    format!("s{number:02}")
}

/// Endpoint by endpoint another address; all of them reach the one origin.
fn address(service: usize, endpoint: usize) -> Ipv4Addr {
    let service = u8::try_from(service).expect("not many services");
    let endpoint = u8::try_from(endpoint).expect("not many endpoints");
    Ipv4Addr::new(127, 7, service, endpoint + 1)
}

/// Its endpoints after as many changes: one or two of ten are away, others each time.
fn slice(service: usize, change: usize, port: u16) -> String {
    let all = (0..ENDPOINTS).map(|endpoint| address(service, endpoint));
    let away = [change + change / SERVICES, change / 7].map(|number| number % ENDPOINTS);
    let there: Vec<_> = all
        .enumerate()
        .filter(|(endpoint, _)| change == 0 || !away.contains(endpoint))
        .map(|(_, address)| address)
        .collect();
    endpoint_slice(&name_of(service), &there, port)
}

/// A hundred services, each behind its own path.
fn city(origin: &Origin) -> Gateway {
    let mut rules = String::new();
    let mut services = String::new();
    let mut setup = Setup::new().file("gateway.yaml", e2e::gateway("edge", &["*"]));
    for number in 0..SERVICES {
        let name = name_of(number);
        let _ = write!(
            rules,
            "- match: [{{uri: {{prefix: /{name}}}}}]\n  route: [{{destination: {{host: {name}}}}}]\n"
        );
        services += &format!("---\n{}", service(&name, 8000, &[]));
        setup = setup.file(
            &format!("{name}-slice.yaml"),
            slice(number, 0, origin.port()),
        );
    }
    setup
        .file("services.yaml", services)
        .file("rules.yaml", virtual_service("city", SHOP, &rules))
        .start()
}

/// An EndpointSlice rewritten fifty times a second, the services in turn.
fn rewrite(gateway: &Gateway, origin: &Origin, changes: Range<usize>) {
    let started = Instant::now();
    for (done, change) in (1..).zip(changes) {
        let service = change % SERVICES;
        let name = format!("{}-slice.yaml", name_of(service));
        gateway.write(&name, slice(service, change + 1, origin.port()));
        // The pace is what is tested, not waited for.
        thread::sleep((PERIOD * done).saturating_sub(started.elapsed()));
    }
}

fn generation(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("tidegate_config_generation", &[])
}

fn endpoints(gateway: &Gateway, service: usize) -> BTreeSet<String> {
    let name = format!(
        "outbound|8000||{}.default.svc.cluster.local",
        name_of(service)
    );
    let cluster = gateway.cluster(&name);
    let endpoints = cluster["endpoints"].as_array().cloned();
    endpoints
        .unwrap_or_default()
        .iter()
        .filter_map(|endpoint| endpoint["address"].as_str())
        .map(str::to_owned)
        .collect()
}

/// Promises 6, 7 and 17.
#[test]
fn a_thousand_endpoints_that_change_fifty_times_a_second_cost_no_request() {
    let origin = Origin::everywhere();
    let gateway = city(&origin);
    assert_eq!(endpoints(&gateway, 0).len(), ENDPOINTS);
    // What is compiled and allocated once is.
    rewrite(&gateway, &origin, 0..CHANGES);
    let (before, memory) = (generation(&gateway), gateway.resident_kib());

    let loads: Vec<Load> = [0, 17, 42, 99]
        .into_iter()
        .map(|number| {
            let request = Request::get(SHOP, &format!("/{}/", name_of(number)));
            let own = format!("127.7.{number}.");
            Load::start(gateway.http(), 2, &request, move |response| {
                response.status == 200 && response.text().starts_with(&own)
            })
        })
        .collect();
    rewrite(&gateway, &origin, CHANGES..2 * CHANGES);
    let reports: Vec<LoadReport> = loads.into_iter().map(Load::stop).collect();
    for report in &reports {
        assert_eq!(report.failed, 0, "{:?}", report.failures);
        assert!(report.served > 500, "{report:?}");
    }

    // The last version of each service is in force.
    for number in [0, 17, 42, 99] {
        let last = (0..2 * CHANGES)
            .rev()
            .find(|change| change % SERVICES == number);
        let text = slice(number, last.expect("it was changed") + 1, origin.port());
        eventually("the last change is live", || {
            let known = endpoints(&gateway, number);
            let want = (0..ENDPOINTS).map(|endpoint| address(number, endpoint));
            let want = want.filter(|address| text.contains(&format!("[{address}]")));
            known
                == want
                    .map(|address| format!("{address}:{}", origin.port()))
                    .collect()
        });
    }
    // Nothing that decides about requests was compiled anew.
    assert_eq!(generation(&gateway), before);
    only_endpoints_changed(&gateway);
    let grown = gateway.resident_kib().saturating_sub(memory);
    eprintln!(
        "{} requests during {CHANGES} changes, {grown} KiB more",
        reports.iter().map(|report| report.served).sum::<usize>()
    );
    assert!(grown < SLACK_KIB, "grew by {grown} KiB");
}

/// The receipts that are kept, all of them of this time, tell of nothing but EndpointSlices, and of no failure.
#[track_caller]
fn only_endpoints_changed(gateway: &Gateway) {
    let page = gateway.admin_json("/receipts");
    let receipts = page["receipts"].as_array().expect("a list of receipts");
    assert!(receipts.len() > 10, "{page}");
    for receipt in receipts {
        assert_eq!(receipt["result"], "success", "{receipt}");
        let changed = receipt["changed"].as_array().expect("a list of changes");
        let all = changed.iter().filter_map(Value::as_str);
        let mut others = all.filter(|change| !change.starts_with("EndpointSlice "));
        assert_eq!(others.next(), None, "{receipt}");
    }
}

/// Every endpoint is another one each time: none of the old ones may be kept.
#[test]
fn endpoints_that_are_gone_leave_nothing_behind() {
    let origin = Origin::everywhere();
    let gateway = crate::shop(crate::TO_SHOP, &[("shop", &[])]).start();
    let replace = |rounds: Range<u8>| {
        for round in rounds {
            let fresh: Vec<_> = (1..=100)
                .map(|number| Ipv4Addr::new(127, 9, round, number))
                .collect();
            gateway.write("slice.yaml", endpoint_slice("shop", &fresh, origin.port()));
            eventually("the new ones are used", || {
                let own = format!("127.9.{round}.");
                gateway.get(SHOP, "/").text().starts_with(&own)
            });
        }
    };
    replace(0..40);
    let before = gateway.resident_kib();
    replace(40..160);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(
        grown < 8 * 1024,
        "grew by {grown} KiB over 12,000 endpoints"
    );
    // The connections to those that are gone are given up as well.
    eventually("connections to the old ones are closed", || {
        origin.open_connections() <= 8
    });
}
