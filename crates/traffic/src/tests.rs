use crate::{Balancer, EndpointSet, EndpointState, Member, Turn};
use proptest::prelude::*;
use std::sync::Arc;

const ALL: [Balancer; 3] = [
    Balancer::LeastRequest,
    Balancer::RoundRobin,
    Balancer::Random,
];

fn set(weights: &[u32]) -> EndpointSet<()> {
    let member = |weight: &u32| Member {
        value: (),
        weight: *weight,
        state: Arc::default(),
    };
    EndpointSet::new(weights.iter().map(member).collect())
}

/// A small generator (xorshift), so that distributions are the same in every run.
fn dice(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |sides| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 32) % u64::from(sides)) as u32
    }
}

fn counts(balancer: Balancer, set: &EndpointSet<()>, draws: usize) -> Vec<usize> {
    let (turn, mut dice) = (Turn::default(), dice(7));
    let mut counts = vec![0; set.members().len()];
    for _ in 0..draws {
        counts[balancer.select(set, &turn, &[], &mut dice).unwrap()] += 1;
    }
    counts
}

/// Five standard deviations of a binomial: a wrong share fails, a right one does not.
#[track_caller]
fn check_shares(counts: &[usize], weights: &[u32]) {
    let (draws, total) = (
        counts.iter().sum::<usize>() as f64,
        f64::from(weights.iter().sum::<u32>()),
    );
    for (count, weight) in counts.iter().zip(weights) {
        let share = f64::from(*weight) / total;
        let tolerance = 5.0 * (draws * share * (1.0 - share)).sqrt() + 1.0;
        assert!(
            (*count as f64 - draws * share).abs() <= tolerance,
            "{counts:?} for {weights:?}"
        );
    }
}

#[test]
fn an_empty_set_selects_nothing() {
    for balancer in ALL {
        assert_eq!(
            balancer.select(&set(&[]), &Turn::default(), &[], &mut dice(1)),
            None
        );
        assert_eq!(
            balancer.select(&set(&[0, 0]), &Turn::default(), &[], &mut dice(1)),
            None
        );
    }
}

#[test]
fn shares_follow_the_weights_when_idle() {
    for weights in [&[1, 1, 1][..], &[3, 1], &[75, 25], &[1, 0, 9, 5]] {
        for balancer in ALL {
            check_shares(&counts(balancer, &set(weights), 20_000), weights);
        }
    }
}

#[test]
fn round_robin_is_exact_over_each_round() {
    for weights in [&[5, 1, 1][..], &[2, 2, 2], &[7, 3], &[1]] {
        let total = weights.iter().sum::<u32>() as usize;
        let divisor = if weights.iter().all(|w| w == &weights[0]) {
            weights[0] as usize
        } else {
            1
        };
        let want: Vec<_> = weights.iter().map(|w| *w as usize / divisor).collect();
        assert_eq!(
            counts(Balancer::RoundRobin, &set(weights), total / divisor),
            want
        );
    }
}

#[test]
fn round_robin_of_equals_goes_in_order() {
    let (set, turn) = (set(&[1, 1, 1]), Turn::starting_at(4));
    let picks: Vec<_> = (0..4)
        .filter_map(|_| Balancer::RoundRobin.select(&set, &turn, &[], &mut dice(1)))
        .collect();
    assert_eq!(picks, [1, 2, 0, 1]);
}

#[test]
fn least_request_leaves_the_busy_one_alone() {
    let set = set(&[1, 1]);
    let _busy = set.members()[0].state.begin();
    assert_eq!(counts(Balancer::LeastRequest, &set, 100), [0, 100]);
}

#[test]
fn least_request_measures_load_against_weight() {
    let set = set(&[4, 1]);
    let _held: Vec<_> = (0..3).map(|_| set.members()[0].state.begin()).collect();
    let _one = set.members()[1].state.begin();
    assert_eq!(counts(Balancer::LeastRequest, &set, 100), [100, 0]); // 3/4 < 1/1
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
    let set = set(&[1_000_000, 1, 0]);
    for balancer in ALL {
        assert_eq!(
            balancer.select(&set, &Turn::default(), &[0], &mut dice(3)),
            Some(1)
        );
    }
}

#[test]
fn when_all_were_tried_any_will_do() {
    for balancer in ALL {
        assert!(
            balancer
                .select(&set(&[1, 1]), &Turn::default(), &[0, 1], &mut dice(3))
                .is_some()
        );
    }
}

proptest! {
    #[test]
    fn a_selection_has_weight_and_is_untried_while_that_is_possible(
        weights in prop::collection::vec(prop_oneof![Just(0), 1..10_u32, Just(u32::MAX)], 0..12),
        tried in prop::collection::vec(0..12_usize, 0..6),
        seed: u64,
    ) {
        let set = set(&weights);
        let free = |index: &usize| weights[*index] > 0 && !tried.contains(index);
        let any_free = (0..weights.len()).any(|index| free(&index));
        for balancer in ALL {
            let turn = Turn::starting_at(seed as u32);
            match balancer.select(&set, &turn, &tried, &mut dice(seed)) {
                Some(index) => prop_assert!(weights[index] > 0 && (!any_free || free(&index))),
                None => prop_assert!(weights.iter().all(|weight| *weight == 0)),
            }
        }
    }

    #[test]
    fn every_draw_stays_within_what_was_asked(weights in prop::collection::vec(1..u32::MAX, 1..6), seed: u64) {
        let set = set(&weights);
        for balancer in ALL {
            let mut inner = dice(seed);
            let mut checked = |sides: u32| { assert!(sides > 0); inner(sides) };
            prop_assert!(balancer.select(&set, &Turn::starting_at(u32::MAX), &[], &mut checked).is_some());
        }
    }
}
