//! Maglev: a table that endpoints fill in turns, each by its own permutation of the places.

use crate::hash::{hash, second_hash};

/// Whose each place is.
#[derive(Debug)]
pub(crate) struct Maglev(Box<[u32]>);

/// Where an endpoint stands in its permutation, and how much it may take.
struct Candidate {
    owner: u32,
    offset: u64,
    skip: u64,
    next: u64,
    weight: f64,
    /// What it may have taken by now.
    due: f64,
}

impl Maglev {
    /// A table of `size` places, a prime. Who has the greatest weight takes one in every round, others seldom.
    ///
    /// `weights` must not all be 0; who has 0 has no place.
    pub(crate) fn new(keys: &[&str], weights: &[u64], size: u64) -> Self {
        let size = size.clamp(2, u64::from(u32::MAX));
        let greatest = weights.iter().copied().max().unwrap_or(1).max(1) as f64;
        let all = (0..).zip(keys.iter().zip(weights));
        let mut candidates: Vec<_> = all
            .filter(|(_, (_, weight))| **weight > 0)
            .map(|(owner, (key, weight))| Candidate {
                owner,
                offset: hash(key.as_bytes()) % size,
                skip: second_hash(key.as_bytes()) % (size - 1) + 1,
                next: 0,
                weight: *weight as f64 / greatest,
                due: 0.0,
            })
            .collect();
        Self(fill(&mut candidates, size))
    }

    /// Whose the places are, from the one of the hash once around.
    pub(crate) fn owners_from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let place = hash.checked_rem(self.0.len() as u64).unwrap_or(0);
        let (before, from) = self.0.split_at(place as usize);
        from.iter().chain(before).map(|owner| *owner as usize)
    }
}

fn fill(candidates: &mut [Candidate], size: u64) -> Box<[u32]> {
    const FREE: u32 = u32::MAX;
    let mut table = vec![FREE; size as usize];
    let mut left = if candidates.is_empty() { 0 } else { size };
    while left > 0 {
        for candidate in candidates.iter_mut() {
            candidate.due += candidate.weight;
            if candidate.due < 1.0 {
                continue;
            }
            candidate.due -= 1.0;
            let place = candidate.free_place(size, |place| table[place as usize] == FREE);
            table[place as usize] = candidate.owner;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    if candidates.is_empty() {
        table.clear();
    }
    table.into()
}

impl Candidate {
    /// The next place of its permutation that is free. There has to be one.
    fn free_place(&mut self, size: u64, is_free: impl Fn(u64) -> bool) -> u64 {
        for _ in 0..size {
            let place = (self.offset + self.next * self.skip) % size;
            self.next = (self.next + 1) % size;
            if is_free(place) {
                return place;
            }
        }
        // Only a size that is no prime has permutations that leave places out.
        (0..size).find(|place| is_free(*place)).unwrap_or(0)
    }
}
