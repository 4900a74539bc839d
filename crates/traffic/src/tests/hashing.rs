use super::{balancing, check_shares, dice, members, moment, set, set_of};
use crate::{Algorithm, Choice, EndpointSet, hash};
use std::collections::HashMap;

const RING: Algorithm = Algorithm::RingHash { minimum_size: 1024 };
const MAGLEV: Algorithm = Algorithm::Maglev { table_size: 65_537 };

fn owner(set: &EndpointSet<()>, client: u32) -> Option<usize> {
    let choice = Choice {
        hash: Some(hash(format!("client {client}").as_bytes())),
        ..Choice::default()
    };
    set.select(choice, &mut |_| panic!("nothing is left to chance"))
}

fn owners(set: &EndpointSet<()>, clients: u32) -> Vec<usize> {
    (0..clients)
        .filter_map(|client| owner(set, client))
        .collect()
}

#[test]
fn the_same_client_meets_the_same_endpoint() {
    for algorithm in [RING, MAGLEV] {
        let weights = [1; 7];
        let (one, other) = (set(algorithm, &weights), set(algorithm, &weights));
        assert_eq!(owners(&one, 1000), owners(&other, 1000));
    }
}

/// A ring of 1,024 points is coarse, as Envoy's is; Maglev's table is not.
#[test]
fn shares_follow_the_weights() {
    for (algorithm, tolerance) in [
        (
            Algorithm::RingHash {
                minimum_size: 1 << 16,
            },
            0.02,
        ),
        (MAGLEV, 0.02),
        (RING, 0.35),
    ] {
        let weights = [1, 2, 0, 1];
        let set = set(algorithm, &weights);
        let mut counts = [0_usize; 4];
        for owner in owners(&set, 20_000) {
            counts[owner] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let expected = 5_000.0 * f64::from(weight);
            let off = (*count as f64 - expected).abs();
            assert!(
                off <= expected * tolerance + 200.0 * f64::from(weight.min(1)),
                "{algorithm:?}: {counts:?}"
            );
        }
    }
}

#[test]
fn few_clients_move_when_an_endpoint_goes() {
    for (algorithm, bound) in [(RING, 0.13), (MAGLEV, 0.16)] {
        let all = members(&[1; 10]);
        let mut rest = all.clone();
        rest.remove(4);
        let (before, after) = (
            set_of(all, balancing(algorithm)),
            set_of(rest, balancing(algorithm)),
        );
        let key = |set: &EndpointSet<()>, client| {
            owner(set, client).map(|index| set.members()[index].key.clone())
        };
        let moved = (0..10_000)
            .filter(|client| key(&before, *client) != key(&after, *client))
            .count();
        let share = moved as f64 / 10_000.0;
        assert!(
            (0.05..bound).contains(&share),
            "{algorithm:?}: {share} moved"
        );
    }
}

#[test]
fn clients_of_an_ejected_endpoint_alone_move_and_come_back() {
    for algorithm in [RING, MAGLEV] {
        let set = set(algorithm, &[1; 5]);
        let before = owners(&set, 2000);
        set.members()[2].state.set_unhealthy(true);
        set.refresh(moment());
        let during = owners(&set, 2000);
        assert!(during.iter().all(|owner| *owner != 2));
        for (before, during) in before.iter().zip(&during) {
            assert!(
                before == during || *before == 2,
                "{algorithm:?}: one moved that need not"
            );
        }
        set.members()[2].state.set_unhealthy(false);
        set.refresh(moment());
        assert_eq!(owners(&set, 2000), before);
    }
}

#[test]
fn clients_of_an_ejected_endpoint_are_spread_over_the_others_by_weight() {
    for (algorithm, tolerance) in [
        (
            Algorithm::RingHash {
                minimum_size: 1 << 16,
            },
            0.1,
        ),
        (MAGLEV, 0.1),
    ] {
        let set = set(algorithm, &[1, 1, 3, 2]);
        let before = owners(&set, 70_000);
        set.members()[2].state.set_unhealthy(true);
        set.refresh(moment());
        let mut counts = [0.0; 4];
        for (before, after) in before.iter().zip(owners(&set, 70_000)) {
            counts[after] += f64::from(u8::from(*before == 2));
        }
        let all: f64 = counts.iter().sum();
        for (count, share) in counts.iter().zip([0.25, 0.25, 0.0, 0.5]) {
            let off = (count / all - share).abs();
            assert!(off <= share * tolerance, "{algorithm:?}: {counts:?}");
        }
    }
}

/// A thousand points belong to who is out between two of the others.
#[test]
fn where_hardly_anybody_is_in_rotation_the_hash_itself_decides() {
    for algorithm in [RING, MAGLEV] {
        let set = set(algorithm, &[1, 1, 30_000]);
        set.members()[2].state.set_unhealthy(true);
        set.refresh(moment());
        let during = owners(&set, 2000);
        let of_first = during.iter().filter(|owner| **owner == 0).count();
        assert!((900..1100).contains(&of_first), "{algorithm:?}: {of_first}");
        assert!(!during.contains(&2));
        assert_eq!(during, owners(&set, 2000));
        set.members()[0].state.set_unhealthy(true);
        set.refresh(moment());
        assert!(owners(&set, 2000).iter().all(|owner| *owner == 1));
    }
}

#[test]
fn all_clients_keep_their_endpoints_in_panic() {
    for algorithm in [RING, MAGLEV] {
        let panics = crate::Balancing {
            panic_threshold: 50,
            ..balancing(algorithm)
        };
        let set = set_of(members(&[1; 5]), panics);
        let before = owners(&set, 1000);
        for ejected in &set.members()[..4] {
            ejected.state.set_unhealthy(true);
        }
        set.refresh(moment());
        assert_eq!(owners(&set, 1000), before);
    }
}

#[test]
fn the_order_of_endpoints_does_not_matter_to_the_ring() {
    let all = members(&[1; 6]);
    let mut reversed = all.clone();
    reversed.reverse();
    let (one, other) = (
        set_of(all, balancing(RING)),
        set_of(reversed, balancing(RING)),
    );
    for client in 0..1000 {
        let key = |set: &EndpointSet<()>| {
            owner(set, client).map(|index| set.members()[index].key.clone())
        };
        assert_eq!(key(&one), key(&other));
    }
}

#[test]
fn a_client_without_a_key_goes_anywhere() {
    for algorithm in [RING, MAGLEV] {
        let set = set(algorithm, &[1, 1, 1]);
        let mut counts = vec![0; 3];
        let mut dice = dice(5);
        for _ in 0..9000 {
            counts[set.select(Choice::default(), &mut dice).unwrap()] += 1;
        }
        check_shares(&counts, &[1, 1, 1]);
    }
}

/// Source: Istio: `retryIgnorePreviousHosts` does not hold with consistentHash.
#[test]
fn a_client_meets_its_endpoint_in_retries_too() {
    let set = set(MAGLEV, &[1, 1, 1]);
    let mine = owner(&set, 1).unwrap();
    let choice = Choice {
        hash: Some(hash(b"client 1")),
        tried: &[mine],
        leave_priority: false,
    };
    assert_eq!(set.select(choice, &mut dice(1)), Some(mine));
}

#[test]
fn a_thousand_endpoints_all_have_their_part() {
    for algorithm in [RING, MAGLEV] {
        let set = set(algorithm, &[1; 1000]);
        let mut seen: HashMap<usize, usize> = HashMap::new();
        for owner in owners(&set, 100_000) {
            *seen.entry(owner).or_default() += 1;
        }
        assert!(seen.len() > 630, "{algorithm:?}: only {}", seen.len());
    }
}

#[test]
fn strange_sizes_do_no_harm() {
    for algorithm in [
        Algorithm::RingHash { minimum_size: 0 },
        Algorithm::RingHash {
            minimum_size: 1 << 12,
        },
        Algorithm::Maglev { table_size: 0 },
        Algorithm::Maglev { table_size: 8 },
    ] {
        for weights in [&[][..], &[0, 0], &[1], &[u32::MAX, 1]] {
            let set = set(algorithm, weights);
            let any = weights.iter().any(|weight| *weight > 0);
            assert_eq!(owner(&set, 1).is_some(), any, "{algorithm:?} {weights:?}");
        }
    }
}
