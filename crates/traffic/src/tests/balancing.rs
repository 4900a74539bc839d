use super::{ALL, balancing, check_shares, counts, dice, members, moment, set, set_of};
use crate::{Algorithm, Choice, EndpointSet, EndpointState, Turn};
use proptest::prelude::*;
use std::sync::Arc;

fn select(set: &EndpointSet<()>, tried: &[usize], seed: u64) -> Option<usize> {
    let choice = Choice {
        tried,
        ..Choice::default()
    };
    set.select(choice, &mut dice(seed))
}

#[test]
fn an_empty_set_selects_nothing() {
    for algorithm in ALL {
        assert_eq!(select(&set(algorithm, &[]), &[], 1), None);
        assert_eq!(select(&set(algorithm, &[0, 0]), &[], 1), None);
    }
}

#[test]
fn shares_follow_the_weights_when_idle() {
    for weights in [&[1, 1, 1][..], &[3, 1], &[75, 25], &[1, 0, 9, 5]] {
        for algorithm in ALL {
            check_shares(&counts(&set(algorithm, weights), 20_000), weights);
        }
    }
}

#[test]
fn round_robin_is_exact_over_each_round() {
    for (weights, want) in [
        (&[5, 1, 1][..], &[5, 1, 1][..]),
        (&[2, 2, 2], &[1, 1, 1]),
        (&[7, 3], &[7, 3]),
        (&[1], &[1]),
    ] {
        let round = want.iter().sum();
        assert_eq!(counts(&set(Algorithm::RoundRobin, weights), round), want);
    }
}

#[test]
fn round_robin_of_equals_goes_in_order() {
    let turn = Arc::new(Turn::starting_at(4));
    let balancing = balancing(Algorithm::RoundRobin);
    let set = EndpointSet::new(members(&[1, 1, 1]), balancing, turn, moment());
    let picks: Vec<_> = (0..4).filter_map(|_| select(&set, &[], 1)).collect();
    assert_eq!(picks, [1, 2, 0, 1]);
}

#[test]
fn least_request_leaves_the_busy_one_alone() {
    let set = set(Algorithm::LeastRequest, &[1, 1]);
    let _busy = set.members()[0].state.begin();
    assert_eq!(counts(&set, 100), [0, 100]);
}

#[test]
fn least_request_measures_load_against_weight() {
    let set = set(Algorithm::LeastRequest, &[4, 1]);
    let _held: Vec<_> = (0..3).map(|_| set.members()[0].state.begin()).collect();
    let _one = set.members()[1].state.begin();
    assert_eq!(counts(&set, 100), [100, 0]); // 3/4 < 1/1
}

/// A light endpoint that is idle does not take every request that comes while others have one.
#[test]
fn least_request_keeps_to_the_weights_whatever_the_load() {
    for clients in [1, 2, 3, 8, 32] {
        let set = set(Algorithm::LeastRequest, &[10, 1]);
        let mut dice = dice(7);
        let mut in_flight = std::collections::VecDeque::new();
        let mut of_light = 0;
        for _ in 0..11_000 {
            let chosen = set.select(Choice::default(), &mut dice).unwrap();
            of_light += usize::from(chosen == 1);
            in_flight.push_back(set.members()[chosen].state.begin());
            if in_flight.len() == clients {
                in_flight.pop_front();
            }
        }
        // About a thousand, less where a request that it has keeps the next one away.
        let expected = 500..1200;
        assert!(expected.contains(&of_light), "{clients}: {of_light}");
    }
}

/// The busiest is spared however many others there are: of two drawn the less busy one is taken.
#[test]
fn least_request_never_takes_the_only_busy_one() {
    let set = set(Algorithm::LeastRequest, &[1; 10]);
    let _busy = set.members()[3].state.begin();
    let counts = counts(&set, 10_000);
    assert_eq!(counts[3], 0);
    assert!(
        counts
            .iter()
            .enumerate()
            .all(|(index, count)| index == 3 || *count > 800)
    );
}

#[test]
fn a_request_in_flight_is_counted_until_its_guard_goes() {
    let state = Arc::new(EndpointState::default());
    let (one, two) = (state.begin(), state.begin());
    assert_eq!((state.active(), state.total()), (2, 2));
    drop(one);
    two.endpoint().record_failure();
    drop(two);
    assert_eq!((state.active(), state.total(), state.failed()), (0, 2, 1));
}

#[test]
fn an_untried_endpoint_is_found_even_when_it_is_rarely_drawn() {
    for algorithm in ALL {
        assert_eq!(
            select(&set(algorithm, &[1_000_000, 1, 0]), &[0], 3),
            Some(1)
        );
    }
}

#[test]
fn when_all_were_tried_any_will_do() {
    for algorithm in ALL {
        assert!(select(&set(algorithm, &[1, 1]), &[0, 1], 3).is_some());
    }
}

#[test]
fn who_is_unhealthy_takes_no_part_until_it_is_healthy_again() {
    for algorithm in ALL {
        let set = set(algorithm, &[1, 1, 1]);
        assert!(set.members()[1].state.set_unhealthy(true));
        assert!(!set.members()[1].state.set_unhealthy(true));
        set.refresh(moment());
        assert_eq!(counts(&set, 300)[1], 0);
        assert!(!set.in_rotation(1) && set.in_rotation(0));
        assert!(set.members()[1].state.set_unhealthy(false));
        set.refresh(moment());
        assert!(counts(&set, 300)[1] > 0);
    }
}

#[test]
fn when_all_are_unhealthy_nobody_is_selected() {
    let set = set(Algorithm::LeastRequest, &[1, 1]);
    set.members().iter().for_each(|member| {
        member.state.set_unhealthy(true);
    });
    set.refresh(moment());
    assert_eq!(select(&set, &[], 1), None);
}

proptest! {
    #[test]
    fn a_selection_has_weight_and_is_untried_while_that_is_possible(
        weights in prop::collection::vec(prop_oneof![Just(0), 1..10_u32, Just(u32::MAX)], 0..12),
        tried in prop::collection::vec(0..12_usize, 0..6),
        sick in prop::collection::vec(any::<bool>(), 12),
        seed: u64,
    ) {
        let takes_part = |index: usize| weights[index] > 0 && !sick[index];
        let any_free = (0..weights.len()).any(|index| takes_part(index) && !tried.contains(&index));
        for algorithm in ALL {
            let members = members(&weights);
            for (member, sick) in members.iter().zip(&sick) {
                member.state.set_unhealthy(*sick);
            }
            let set = set_of(members, balancing(algorithm));
            match select(&set, &tried, seed) {
                Some(index) => prop_assert!(takes_part(index) && (!any_free || !tried.contains(&index))),
                None => prop_assert!((0..weights.len()).all(|index| !takes_part(index))),
            }
        }
    }
}

#[test]
fn a_round_goes_on_in_the_set_after() {
    let first = set(Algorithm::RoundRobin, &[1, 1, 1]);
    let mut dice = dice(1);
    let mut turns = |set: &EndpointSet<()>| set.select(Choice::default(), &mut dice);
    assert_eq!((turns(&first), turns(&first)), (Some(0), Some(1)));
    let next = first.next(
        members(&[1, 1, 1]),
        balancing(Algorithm::RoundRobin),
        moment(),
    );
    assert_eq!(turns(&next), Some(2));
}
