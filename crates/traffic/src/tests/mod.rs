//! What tests of this crate share.

mod balancing;
mod hashing;
mod priorities;
mod warming;

use crate::{Algorithm, Balancing, Choice, EndpointSet, Member, Place};
use std::sync::Arc;
use std::time::Instant;

pub(crate) const ALL: [Algorithm; 3] = [
    Algorithm::LeastRequest,
    Algorithm::RoundRobin,
    Algorithm::Random,
];

/// Some moment to begin at.
#[expect(clippy::disallowed_methods, reason = "time moves by hand from there")]
pub(crate) fn moment() -> Instant {
    Instant::now()
}

pub(crate) fn balancing(algorithm: Algorithm) -> Balancing {
    Balancing {
        algorithm,
        warmup: None,
        panic_threshold: 0,
    }
}

/// Members of these weights, all of one place.
pub(crate) fn members(weights: &[u32]) -> Vec<Member<()>> {
    let member = |(index, weight): (usize, &u32)| Member {
        value: (),
        weight: *weight,
        key: format!("10.0.0.{index}:80").into(),
        place: Place::default(),
        state: Arc::default(),
    };
    weights.iter().enumerate().map(member).collect()
}

pub(crate) fn set(algorithm: Algorithm, weights: &[u32]) -> EndpointSet<()> {
    set_of(members(weights), balancing(algorithm))
}

pub(crate) fn set_of(members: Vec<Member<()>>, balancing: Balancing) -> EndpointSet<()> {
    EndpointSet::new(members, balancing, Arc::default(), moment())
}

/// A small generator (xorshift), so that distributions are the same in every run.
pub(crate) fn dice(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |sides| {
        assert!(sides > 0, "a die without sides");
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 32) % u64::from(sides)) as u32
    }
}

pub(crate) fn counts(set: &EndpointSet<()>, draws: usize) -> Vec<usize> {
    let mut dice = dice(7);
    let mut counts = vec![0; set.members().len()];
    for _ in 0..draws {
        if let Some(index) = set.select(Choice::default(), &mut dice) {
            counts[index] += 1;
        }
    }
    counts
}

/// Pearson's test at a significance of 0.1 %: a wrong distribution fails, a right one does not with this generator.
#[track_caller]
pub(crate) fn check_shares(counts: &[usize], weights: &[u32]) {
    /// The critical values for 1 to 9 degrees of freedom.
    const CRITICAL: [f64; 9] = [
        10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12, 27.88,
    ];
    let draws = counts.iter().sum::<usize>() as f64;
    let total = f64::from(weights.iter().sum::<u32>());
    let mut statistic = 0.0;
    let mut kinds = 0;
    for (count, weight) in counts.iter().zip(weights) {
        let expected = draws * f64::from(*weight) / total;
        if *weight == 0 {
            assert_eq!(*count, 0, "{counts:?} for {weights:?}");
            continue;
        }
        statistic += (*count as f64 - expected).powi(2) / expected;
        kinds += 1;
    }
    if kinds > 1 {
        let critical = CRITICAL[kinds - 2];
        assert!(
            statistic <= critical,
            "{counts:?} for {weights:?}: {statistic} is beyond {critical}"
        );
    }
}
