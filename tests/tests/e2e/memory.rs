//! Memory follows what is configured and in flight, not time (promise 17).

use crate::{SHOP, plain_shop};
use e2e::{Gateway, Origin, Request, eventually, virtual_service};

/// What allocators keep for themselves, and a table more or less.
const SLACK_KIB: u64 = 8 * 1024;

#[test]
fn reloads_leave_nothing_behind() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    reload(&gateway, 0..40);
    let before = gateway.resident_kib();
    reload(&gateway, 40..160);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < SLACK_KIB, "grew by {grown} KiB over 120 reloads");
}

/// Each round replaces fifty rules by others of the same size, and waits until it is live.
fn reload(gateway: &Gateway, rounds: std::ops::Range<usize>) {
    for round in rounds {
        let mut rules = format!(
            "- match: [{{uri: {{exact: /round}}}}]\n  \
             directResponse: {{status: 200, body: {{string: '{round}'}}}}\n"
        );
        for number in 0..50 {
            rules += &format!(
                "- match: [{{uri: {{regex: '/r{round:05}/{number:03}/[a-z]+'}}}}]\n  \
                 route: [{{destination: {{host: shop}}}}]\n"
            );
        }
        gateway.write("shop.yaml", virtual_service("shop", SHOP, &rules));
        gateway.wait_for(SHOP, "/round", 200, &round.to_string());
    }
}

#[test]
fn connections_and_requests_leave_nothing_behind() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    let churn = |rounds: usize| {
        for round in 0..rounds {
            let mut connection = gateway.connect();
            for number in 0..5 {
                let request = Request::get(SHOP, &format!("/{round}/{number}?q={round}"));
                assert_eq!(connection.send(&request).expect("an answer").status, 200);
            }
        }
    };
    churn(300);
    let before = gateway.resident_kib();
    churn(1500);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(
        grown < SLACK_KIB,
        "grew by {grown} KiB over 1,500 connections"
    );
    eventually("no connection is counted as open", || {
        gateway
            .metrics()
            .sum("tidegate_downstream_connections", &[])
            == 0.0
    });
}
