use super::*;
use crate::tests::{balancing, members, moment, set_of};
use crate::{Algorithm, Choice};
use std::time::Duration;

/// One cluster whose time moves by hand.
struct Cluster {
    set: EndpointSet<()>,
    outlier: Outlier,
    now: Instant,
}

impl Cluster {
    fn new(endpoints: usize, policy: OutlierPolicy) -> Self {
        let now = moment();
        Self {
            set: set_of(members(&vec![1; endpoints]), balancing(Algorithm::Random)),
            outlier: Outlier::new(policy, now),
            now,
        }
    }

    fn record(&self, index: usize, observed: Observed) -> Option<Ejection> {
        let endpoint = &self.set.members()[index].state;
        let cause = self.outlier.record(endpoint, observed)?;
        self.outlier.eject(&self.set, endpoint, cause, self.now)
    }

    fn fail(&self, index: usize, times: u32) -> Option<Ejection> {
        (0..times)
            .filter_map(|_| self.record(index, Observed::Status(503)))
            .last()
    }

    fn pass(&mut self, seconds: u64) -> Vec<usize> {
        self.now += Duration::from_secs(seconds);
        let returned = self.outlier.sweep(&self.set, self.now);
        returned.iter().map(|returned| returned.index).collect()
    }

    fn out(&self) -> Vec<usize> {
        let members = self.set.members().iter().enumerate();
        let out = members.filter(|(_, member)| member.state.is_ejected());
        out.map(|(index, _)| index).collect()
    }
}

fn policy() -> OutlierPolicy {
    OutlierPolicy {
        consecutive_5xx: 3,
        consecutive_gateway: 0,
        split_local_origin: false,
        consecutive_local_origin: 5,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_percent: 100,
        error_codes: Vec::new(),
    }
}

#[test]
fn the_last_of_so_many_failures_in_a_row_ejects_at_once() {
    let cluster = Cluster::new(2, policy());
    assert_eq!(cluster.fail(0, 2), None);
    let ejection = cluster.fail(0, 1).unwrap();
    assert_eq!(
        (ejection.index, ejection.cause, ejection.times),
        (0, Cause::Consecutive5xx, 1)
    );
    assert_eq!(ejection.until, cluster.now + Duration::from_secs(30));
    assert!(!cluster.set.in_rotation(0));
    let any = cluster.set.select(Choice::default(), &mut |_| 0);
    assert_eq!(any, Some(1));
}

#[test]
fn a_success_in_between_starts_the_count_anew() {
    let cluster = Cluster::new(2, policy());
    cluster.fail(0, 2);
    cluster.record(0, Observed::Status(404));
    assert_eq!(cluster.fail(0, 2), None);
}

#[test]
fn missing_answers_count_as_5xx_unless_they_are_counted_apart() {
    for observed in [Observed::ConnectFailure, Observed::Timeout, Observed::Reset] {
        let cluster = Cluster::new(2, policy());
        cluster.fail(0, 2);
        // That a connection came about says nothing of what is answered on it.
        cluster.record(0, Observed::Connected);
        assert!(cluster.record(0, observed).is_some(), "{observed:?}");
    }
    let apart = OutlierPolicy {
        split_local_origin: true,
        consecutive_local_origin: 2,
        ..policy()
    };
    let cluster = Cluster::new(2, apart);
    cluster.fail(0, 2);
    assert_eq!(cluster.record(0, Observed::Reset), None);
    cluster.record(0, Observed::Connected);
    assert_eq!(cluster.record(0, Observed::Timeout), None);
    let ejection = cluster.record(0, Observed::ConnectFailure).unwrap();
    assert_eq!(ejection.cause, Cause::ConsecutiveLocalOriginFailure);
}

#[test]
fn gateway_failures_can_eject_earlier() {
    let policy = OutlierPolicy {
        consecutive_gateway: 2,
        consecutive_5xx: 5,
        ..policy()
    };
    let cluster = Cluster::new(2, policy);
    cluster.record(0, Observed::Status(503));
    cluster.record(0, Observed::Status(500)); // 5xx, and not of a gateway
    assert_eq!(cluster.record(0, Observed::Status(502)), None);
    let ejection = cluster.record(0, Observed::Status(504)).unwrap();
    assert_eq!(ejection.cause, Cause::ConsecutiveGatewayFailure);
}

#[test]
fn a_limit_of_zero_ejects_nobody() {
    let policy = OutlierPolicy {
        consecutive_5xx: 0,
        ..policy()
    };
    assert_eq!(Cluster::new(2, policy).fail(0, 100), None);
}

#[test]
fn error_codes_replace_5xx() {
    let policy = OutlierPolicy {
        error_codes: vec![429],
        ..policy()
    };
    let cluster = Cluster::new(2, policy);
    assert_eq!(cluster.fail(0, 10), None);
    let limited = (0..3).filter_map(|_| cluster.record(0, Observed::Status(429)));
    assert_eq!(limited.count(), 1);
}

#[test]
fn an_endpoint_comes_back_at_the_first_sweep_after_its_time() {
    let mut cluster = Cluster::new(2, policy());
    cluster.pass(5); // sweeps are due at 10, 20, 30 …
    cluster.fail(0, 3);
    assert_eq!(cluster.pass(24), [] as [usize; 0]); // 29: swept, and not due before 35
    assert_eq!(cluster.pass(8), [] as [usize; 0]); // 37: due, and no sweep
    assert_eq!(cluster.pass(3), [0]); // 40
    assert!(cluster.set.in_rotation(0));
    // What it did before is forgotten.
    assert_eq!(cluster.fail(0, 2), None);
}

#[test]
fn ejections_in_a_row_last_longer_each_time_up_to_the_longest() {
    let mut cluster = Cluster::new(2, policy());
    let mut lasted = Vec::new();
    for _ in 0..13 {
        let ejection = cluster.fail(0, 3).unwrap();
        lasted.push(ejection.until.duration_since(cluster.now).as_secs());
        cluster.pass(lasted[lasted.len() - 1] + 10);
        assert_eq!(cluster.out(), [] as [usize; 0]);
    }
    assert_eq!(lasted[..4], [30, 60, 90, 120]);
    assert_eq!(lasted[9..], [300; 4]);
}

#[test]
fn each_interval_without_an_ejection_forgives_one() {
    let mut cluster = Cluster::new(2, policy());
    cluster.fail(0, 3);
    cluster.pass(40);
    cluster.fail(0, 3);
    cluster.pass(70);
    assert_eq!(cluster.set.members()[0].state.ejections(), 2);
    cluster.pass(10);
    cluster.pass(10);
    cluster.pass(10);
    assert_eq!(cluster.set.members()[0].state.ejections(), 0);
    assert_eq!(cluster.fail(0, 3).unwrap().times, 1);
}

/// Istio's default of 10 % never ejects one of fewer than ten.
#[test]
fn no_more_are_ejected_than_the_share_allows() {
    for (endpoints, percent, ejected) in [
        (9, 10, 0),
        (10, 10, 1),
        (3, 33, 0),
        (3, 34, 1),
        (4, 50, 2),
        (2, 100, 2),
        (20, 10, 2),
    ] {
        let policy = OutlierPolicy {
            max_ejection_percent: percent,
            ..policy()
        };
        let cluster = Cluster::new(endpoints, policy);
        for index in 0..endpoints {
            cluster.fail(index, 3);
        }
        assert_eq!(cluster.out().len(), ejected, "{percent} % of {endpoints}");
    }
}

#[test]
fn without_a_policy_who_is_ejected_comes_back_at_once() {
    let mut cluster = Cluster::new(2, policy());
    cluster.fail(0, 3);
    cluster.outlier.set_policy(OutlierPolicy::off());
    assert_eq!(cluster.pass(0), [0]);
    assert_eq!(cluster.fail(0, 100), None);
}

#[test]
fn a_shorter_interval_counts_from_the_last_sweep() {
    let hourly = OutlierPolicy {
        interval: Duration::from_secs(3600),
        ..policy()
    };
    let mut cluster = Cluster::new(2, hourly);
    cluster.fail(0, 3);
    assert_eq!(cluster.pass(100), []);
    cluster.outlier.set_policy(policy());
    assert_eq!(cluster.pass(0), [0]);
}

#[test]
fn ejections_outlive_a_change_of_the_endpoints() {
    let cluster = Cluster::new(2, policy());
    cluster.fail(0, 3);
    let mut more = members(&[1, 1, 1]);
    more[2].state = cluster.set.members()[0].state.clone();
    let next = set_of(more, balancing(Algorithm::Random));
    assert!(!next.in_rotation(2));
}

/// Its last requests may end when it has gone already.
#[test]
fn an_endpoint_that_is_gone_is_not_ejected() {
    let cluster = Cluster::new(2, policy());
    let gone = Arc::new(EndpointState::default());
    let cause = Cause::Consecutive5xx;
    assert_eq!(
        cluster
            .outlier
            .eject(&cluster.set, &gone, cause, cluster.now),
        None
    );
}

/// Many threads report failures at once; the share holds.
#[test]
fn the_share_holds_for_many_threads() {
    let policy = OutlierPolicy {
        consecutive_5xx: 1,
        max_ejection_percent: 30,
        ..policy()
    };
    let cluster = Cluster::new(10, policy);
    let ejected: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|index| {
                scope.spawn({
                    let cluster = &cluster;
                    move || usize::from(cluster.fail(index, 50).is_some())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!((ejected, cluster.out().len()), (3, 3));
}
