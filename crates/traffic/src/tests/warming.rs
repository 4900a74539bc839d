use super::{balancing, check_shares, counts, members, moment};
use crate::{Algorithm, Balancing, EndpointSet, EndpointState, Warmup};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn after(seconds: u64) -> (EndpointSet<()>, Instant) {
    let start = moment();
    let mut members = members(&[1, 1, 1]);
    members[2].state = Arc::new(EndpointState::new(start));
    let warmup = Warmup {
        duration: Duration::from_secs(100),
        minimum_percent: 10.0,
        aggression: 1.0,
    };
    let balancing = Balancing {
        warmup: Some(warmup),
        ..balancing(Algorithm::RoundRobin)
    };
    let set = EndpointSet::new(members, balancing, Arc::default(), start);
    let now = start + Duration::from_secs(seconds);
    set.refresh(now);
    (set, now)
}

#[test]
fn a_new_endpoint_gets_its_share_little_by_little() {
    for (seconds, weights) in [(0, [10, 10, 1]), (50, [2, 2, 1]), (100, [1, 1, 1])] {
        let (set, _) = after(seconds);
        check_shares(&counts(&set, 21_000), &weights);
    }
}

#[test]
fn a_set_is_warming_until_everybody_is_warm() {
    assert!(after(99).0.is_warming());
    assert!(!after(100).0.is_warming());
}

#[test]
fn without_a_warm_up_new_endpoints_have_their_share_at_once() {
    let mut members = members(&[1, 1]);
    members[1].state = Arc::new(EndpointState::new(moment()));
    let set = super::set_of(members, balancing(Algorithm::RoundRobin));
    assert!(!set.is_warming());
    assert_eq!(counts(&set, 100), [50, 50]);
}
