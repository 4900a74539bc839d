use super::{balancing, check_shares, counts, dice, members, moment, set_of};
use crate::{Algorithm, Choice, EndpointSet, LocalityShare, Place};

/// Endpoints of equal weight with these priorities.
fn of_priorities(priorities: &[u32], panic_threshold: u8) -> EndpointSet<()> {
    let mut members = members(&vec![1; priorities.len()]);
    for (member, priority) in members.iter_mut().zip(priorities) {
        member.place = Place {
            priority: *priority,
            locality: None,
        };
    }
    let balancing = crate::Balancing {
        panic_threshold,
        ..balancing(Algorithm::Random)
    };
    set_of(members, balancing)
}

fn sicken(set: &EndpointSet<()>, sick: &[usize]) {
    for (index, member) in set.members().iter().enumerate() {
        member.state.set_unhealthy(sick.contains(&index));
    }
    set.refresh(moment());
}

#[test]
fn the_nearest_take_everything_as_long_as_they_can() {
    let set = of_priorities(&[0, 0, 0, 0, 7], 0);
    assert_eq!(counts(&set, 1000)[4], 0);
    sicken(&set, &[0]);
    assert_eq!(counts(&set, 1000)[4], 0); // 75 % healthy times 1.4
    sicken(&set, &[0, 1]);
    // Half of them can take 70 %.
    check_shares(&counts(&set, 20_000), &[0, 0, 35, 35, 30]);
    sicken(&set, &[0, 1, 2, 3]);
    assert_eq!(counts(&set, 1000)[4], 1000);
    sicken(&set, &[]);
    assert_eq!(counts(&set, 1000)[4], 0);
}

#[test]
fn the_last_one_of_many_is_selected() {
    let set = of_priorities(&[0; 1000], 0);
    let sick: Vec<_> = (0..999).collect();
    sicken(&set, &sick);
    assert_eq!(counts(&set, 100)[999], 100);
}

#[test]
fn a_priority_without_weight_is_passed_over() {
    let mut members = members(&[0, 1]);
    members[1].place.priority = 1;
    let set = set_of(members, balancing(Algorithm::LeastRequest));
    assert_eq!(counts(&set, 100), [0, 100]);
}

/// Source: Istio `HTTPRetry.retry_remote_localities`.
#[test]
fn a_retry_may_leave_the_priority_that_failed() {
    let set = of_priorities(&[0, 0, 1, 2], 0);
    let away = |tried: &[usize]| {
        let choice = Choice {
            tried,
            leave_priority: true,
            hash: None,
        };
        set.select(choice, &mut dice(2))
    };
    assert!(matches!(away(&[]), Some(0 | 1)));
    assert_eq!(away(&[0]), Some(2));
    assert_eq!(away(&[0, 2]), Some(3));
    assert!(matches!(away(&[0, 2, 3]), Some(1)));
}

/// Two near ones take turns at first attempts, although each is followed by a retry further away.
#[test]
fn retries_elsewhere_use_up_nobodys_turn() {
    let mut near = [0, 0];
    let members = of_priorities(&[0, 0, 1], 0).members().to_vec();
    let set = set_of(members, balancing(Algorithm::RoundRobin));
    for _ in 0..10 {
        let first = set.select(Choice::default(), &mut dice(1)).unwrap();
        near[first] += 1;
        let retry = Choice {
            tried: &[first],
            leave_priority: true,
            hash: None,
        };
        assert_eq!(set.select(retry, &mut dice(1)), Some(2));
    }
    assert_eq!(near, [5, 5]);
}

/// Source: Istio `OutlierDetection.min_health_percent`.
#[test]
fn when_too_few_are_healthy_all_take_part() {
    let set = of_priorities(&[0, 0, 0, 0], 50);
    sicken(&set, &[0, 1]);
    assert!(!set.is_panicking());
    assert_eq!(counts(&set, 1000)[0], 0);
    sicken(&set, &[0, 1, 2]);
    assert!(set.is_panicking() && set.in_rotation(0));
    check_shares(&counts(&set, 20_000), &[1, 1, 1, 1]);
    sicken(&set, &[]);
    assert!(!set.is_panicking());
}

/// Endpoints in places with shares.
fn distributed(places: &[(u32, u32)]) -> EndpointSet<()> {
    let mut members = members(&vec![1; places.len()]);
    for (member, (id, weight)) in members.iter_mut().zip(places) {
        let share = LocalityShare {
            id: *id,
            weight: *weight,
        };
        member.place.locality = Some(share);
    }
    set_of(members, balancing(Algorithm::LeastRequest))
}

#[test]
fn places_have_their_shares_however_many_endpoints_they_have() {
    let set = distributed(&[(0, 80), (1, 20), (1, 20), (1, 20), (1, 20)]);
    check_shares(&counts(&set, 20_000), &[80, 5, 5, 5, 5]);
}

#[test]
fn a_place_that_fails_gives_its_share_to_the_others() {
    let set = distributed(&[(0, 80), (0, 80), (1, 20)]);
    sicken(&set, &[0]);
    // Half of the first place can take 70 % of its share of 80: 56 to 20.
    check_shares(&counts(&set, 20_000), &[0, 56, 20]);
    sicken(&set, &[0, 1]);
    assert_eq!(counts(&set, 100), [0, 0, 100]);
}
