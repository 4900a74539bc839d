//! Ring hash: endpoints have points on a ring, and a request goes to the first at or after its own.

use crate::hash::hash;

/// Points there can be at most, as with Envoy.
const MAX_SIZE: f64 = (8 * 1024 * 1024) as f64;

/// So many times the least number of points there may be where endpoints are many or shares uneven.
const SPREAD: f64 = 64.0;

/// The points, by place on the ring, and whose they are.
#[derive(Debug)]
pub(crate) struct Ring(Box<[(u64, u32)]>);

impl Ring {
    /// A ring of at least `minimum_size` points, each endpoint with as many as its share, and one at least.
    ///
    /// `weights` must not all be 0; who has 0 has no point.
    pub(crate) fn new(keys: &[&str], weights: &[u64], minimum_size: u64) -> Self {
        let size = size(weights, minimum_size as f64);
        let total = sum(weights);
        let mut points = Vec::with_capacity(size as usize + keys.len());
        for (owner, (key, weight)) in (0..).zip(keys.iter().zip(weights)) {
            let own = (size * (*weight as f64 / total)).ceil() as u32;
            let point = |number| (hash(format!("{key}_{number}").as_bytes()), owner);
            points.extend((0..own).map(point));
        }
        points.sort_unstable();
        Self(points.into())
    }

    /// Whose the points are, from the one of the hash once around.
    pub(crate) fn owners_from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let at = self.0.partition_point(|(point, _)| *point < hash);
        let (before, from) = self.0.split_at(at);
        from.iter().chain(before).map(|(_, owner)| *owner as usize)
    }
}

/// How many points there are. Envoy divides the least number among all endpoints, so that each has others whenever
/// one comes or goes, and clients move that need not. Here the one with the least share has half of the least number,
/// however many there are, up to a ring that would be too large.
fn size(weights: &[u64], minimum: f64) -> f64 {
    let largest = (minimum * SPREAD).clamp(1.0, MAX_SIZE);
    let least = weights.iter().filter(|weight| **weight > 0).min();
    let least = least.map_or(1.0, |weight| *weight as f64 / sum(weights));
    let mut points = (minimum / 2.0).ceil().clamp(1.0, MAX_SIZE);
    while points > 1.0 && points / least > largest {
        points = (points / 2.0).ceil();
    }
    (points / least).max(minimum).min(largest)
}

fn sum(weights: &[u64]) -> f64 {
    weights.iter().map(|weight| *weight as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_as_large_as_was_asked_for_and_not_too_large() {
        for (weights, minimum, want) in [
            (vec![1], 1024, 1024.0),
            (vec![1; 2], 1024, 1024.0),
            (vec![1; 10], 1024, 5120.0),
            (vec![1; 11], 1024, 5632.0),
            (vec![1; 1000], 1024, 64_000.0),
            (vec![1, 99], 1024, 51_200.0),
            (vec![1], u64::MAX, MAX_SIZE),
            (vec![1, u64::MAX], 1024, 65_536.0),
            (vec![1], 0, 1.0),
        ] {
            let got = size(&weights, minimum as f64);
            assert_eq!(got, want, "{} endpoints, {minimum}", weights.len());
        }
    }
}
