//! Weights as parts of a whole that a die can be thrown for.

/// Weights with their common divisor taken out.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// `ends[i]` is the sum of the shares `0..=i`.
    ends: Box<[u32]>,
    /// All shares are 1, so that a position is an index.
    even: bool,
}

impl Shares {
    /// Weights are scaled down together when their sum is beyond `u32`.
    pub(crate) fn new(weights: &[u64]) -> Self {
        let divisor = weights
            .iter()
            .fold(0, |divisor, weight| common_divisor(divisor, *weight))
            .max(1);
        let sum: u128 = weights
            .iter()
            .map(|weight| u128::from(weight / divisor))
            .sum();
        let shift = (128 - sum.leading_zeros()).saturating_sub(31);
        let shares = weights.iter().map(|weight| scaled(weight / divisor, shift));
        let mut even = true;
        let mut sum = 0_u32;
        let ends = shares.map(|share| {
            even &= share == 1;
            sum = sum.saturating_add(share);
            sum
        });
        let ends = ends.collect();
        Self { ends, even }
    }

    /// The sum of the shares. 0: nothing can be selected.
    pub(crate) fn total(&self) -> u32 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether all shares are equal.
    pub(crate) fn is_even(&self) -> bool {
        self.even
    }

    /// Whose share covers this position in `0..total`.
    pub(crate) fn at(&self, position: u32) -> usize {
        if self.even {
            return position as usize;
        }
        self.ends.partition_point(|end| *end <= position)
    }

    /// Where a share begins.
    pub(crate) fn start(&self, index: usize) -> u32 {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// A share.
    pub(crate) fn share(&self, index: usize) -> u32 {
        self.ends[index] - self.start(index)
    }
}

/// Halves a share `shift` times, but leaves something of what was there.
fn scaled(share: u64, shift: u32) -> u32 {
    if share == 0 {
        return 0;
    }
    u32::try_from((share.checked_shr(shift).unwrap_or(0)).max(1)).unwrap_or(u32::MAX)
}

/// The greatest common divisor; 0 divides everything.
pub(crate) fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weights_are_even_shares() {
        let shares = Shares::new(&[7, 7, 7]);
        assert!(shares.is_even());
        assert_eq!((shares.total(), shares.at(2)), (3, 2));
    }

    #[test]
    fn a_position_belongs_to_the_share_that_covers_it() {
        let shares = Shares::new(&[4, 0, 2]);
        let owners: Vec<_> = (0..shares.total()).map(|at| shares.at(at)).collect();
        assert_eq!(owners, [0, 0, 2]);
        assert_eq!(
            (shares.start(2), shares.share(2), shares.share(1)),
            (2, 1, 0)
        );
    }

    #[test]
    fn huge_weights_are_scaled_and_none_is_lost() {
        let shares = Shares::new(&[u64::MAX, 3, 0]);
        assert!(shares.share(0) > 1_000_000_000);
        assert_eq!((shares.share(1), shares.share(2)), (1, 0));
        assert_eq!(Shares::new(&[]).total(), 0);
    }
}
