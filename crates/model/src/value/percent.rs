//! Shares of requests.

use std::fmt;

/// A share of requests, 0 to 100 percent, kept in parts per million as Envoy resolves it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Percent(u32);

/// A share outside 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("percentage {0} is not in range 0..100")]
pub struct InvalidPercent(f64);

impl Percent {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Everything.
    pub const FULL: Self = Self(1_000_000);

    /// A whole number of percent; what is above 100 counts as 100.
    pub const fn whole(percent: u8) -> Self {
        if percent > 100 {
            Self::FULL
        } else {
            Self(percent as u32 * 10_000)
        }
    }

    /// The share out of one million.
    pub const fn parts_per_million(self) -> u32 {
        self.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = InvalidPercent;

    fn try_from(value: f64) -> Result<Self, InvalidPercent> {
        if !(0.0..=100.0).contains(&value) {
            return Err(InvalidPercent(value)); // NaN lands here too
        }
        Ok(Self((value * 10_000.0).round() as u32))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_to_a_ten_thousandth_of_a_percent() {
        let cases = [
            (0.0, 0),
            (0.0001, 1),
            (0.1, 1_000),
            (33.3333, 333_333),
            (100.0, 1_000_000),
        ];
        for (value, want) in cases {
            assert_eq!(
                Percent::try_from(value).unwrap().parts_per_million(),
                want,
                "{value}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_share() {
        for value in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert!(Percent::try_from(value).is_err(), "{value}");
        }
    }
}
