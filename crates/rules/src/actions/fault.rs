//! Drawing lots: injected faults, mirrors, destinations.

use crate::{Dice, Fault, FaultAbort, ForwardAction, PartsPerMillion};
use smallvec::SmallVec;
use std::time::Duration;

const MILLION: u32 = 1_000_000;

impl PartsPerMillion {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// Always.
    pub const ALWAYS: Self = Self(MILLION);

    /// The share of a percentage, to one ten-thousandth of a percent.
    ///
    /// What is below 0 or not a number is never, what is above 100 always.
    pub fn from_percent(percent: f64) -> Self {
        // The cast saturates, and takes NaN to 0.
        Self((percent * 10_000.0).round() as u32).min(Self::ALWAYS)
    }

    fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// Whether it falls on this request. Certainties throw no dice.
    pub fn draw(self, dice: &mut impl Dice) -> bool {
        match self.0 {
            0 => false,
            MILLION.. => true,
            share => dice.roll(MILLION) < share,
        }
    }
}

impl Fault {
    /// The delay, when it is drawn.
    pub fn draw_delay(&self, dice: &mut impl Dice) -> Option<Duration> {
        let delay = self.delay.as_ref()?;
        delay.share.draw(dice).then_some(delay.duration)
    }

    /// The abort, when it is drawn.
    pub fn draw_abort(&self, dice: &mut impl Dice) -> Option<&FaultAbort> {
        self.abort.as_ref().filter(|abort| abort.share.draw(dice))
    }
}

impl ForwardAction {
    /// Index of a destination, by weight.
    pub fn draw_destination(&self, dice: &mut impl Dice) -> usize {
        if self.destinations.len() < 2 {
            return 0;
        }
        let mut left = dice.roll(self.total_weight.max(1));
        for (index, destination) in self.destinations.iter().enumerate() {
            if left < destination.weight {
                return index;
            }
            left -= destination.weight;
        }
        self.destinations.len() - 1
    }

    /// Indices of the mirrors that get a copy, each drawn on its own.
    pub fn draw_mirrors(&self, dice: &mut impl Dice) -> SmallVec<[usize; 2]> {
        let drawn = self
            .mirrors
            .iter()
            .enumerate()
            .filter(|(_, mirror)| mirror.share.draw(dice));
        drawn.map(|(index, _)| index).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{forward, loaded};
    use crate::{FaultDelay, Mirror};

    #[test]
    fn a_percentage_is_kept_to_a_ten_thousandth_of_a_percent() {
        let cases = [
            (0.0001, 1),
            (50.0, 500_000),
            (100.0, MILLION),
            (0.1, 1_000),
            (33.33335, 333_334),
        ];
        for (percent, want) in cases {
            assert_eq!(PartsPerMillion::from_percent(percent).0, want);
        }
        for percent in [-1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(
                PartsPerMillion::from_percent(percent),
                PartsPerMillion::NEVER
            );
        }
        assert_eq!(
            PartsPerMillion::from_percent(f64::INFINITY),
            PartsPerMillion::ALWAYS
        );
    }

    #[test]
    fn never_and_always_throw_no_dice() {
        let mut no_dice = |_: u32| -> u32 { panic!("thrown") };
        assert!(!PartsPerMillion(0).draw(&mut no_dice));
        assert!(PartsPerMillion(MILLION).draw(&mut no_dice));
    }

    #[test]
    fn a_share_is_drawn_below_its_parts() {
        let at = |roll: u32| PartsPerMillion(250_000).draw(&mut |_: u32| roll);
        assert!(at(0) && at(249_999));
        assert!(!at(250_000) && !at(999_999));
    }

    #[test]
    fn destinations_are_drawn_by_weight() {
        let action = forward(&[1, 3, 6]);
        let drawn: Vec<_> = (0..10)
            .map(|roll| action.draw_destination(&mut |_: u32| roll))
            .collect();
        assert_eq!(drawn, [0, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn weights_need_not_add_up_to_100() {
        let action = forward(&[3, 1]);
        let mut sides = Vec::new();
        action.draw_destination(&mut |of: u32| {
            sides.push(of);
            0
        });
        assert_eq!(sides, [4]);
    }

    #[test]
    fn a_single_destination_gets_everything_without_dice() {
        let mut no_dice = |_: u32| -> u32 { panic!("thrown") };
        assert_eq!(forward(&[1]).draw_destination(&mut no_dice), 0);
    }

    #[test]
    fn mirrors_are_drawn_each_on_its_own() {
        let mirror = |share| Mirror {
            cluster: crate::testing::nowhere(),
            share,
        };
        let mut action = forward(&[1]);
        action.mirrors = vec![
            mirror(PartsPerMillion(500_000)),
            mirror(PartsPerMillion::NEVER),
            mirror(PartsPerMillion::ALWAYS),
            mirror(PartsPerMillion(500_000)),
        ];
        let mut rolls = [0, 999_999].into_iter();
        assert_eq!(
            action
                .draw_mirrors(&mut |_: u32| rolls.next().unwrap())
                .as_slice(),
            [0, 2]
        );
    }

    #[test]
    fn a_fault_without_parts_does_nothing() {
        let fault = Fault {
            delay: None,
            abort: None,
        };
        assert_eq!(fault.draw_delay(&mut loaded(0.0)), None);
        assert_eq!(fault.draw_abort(&mut loaded(0.0)), None);
        let delay = FaultDelay {
            duration: Duration::from_secs(1),
            share: PartsPerMillion(1),
        };
        let fault = Fault {
            delay: Some(delay),
            abort: None,
        };
        assert_eq!(
            fault.draw_delay(&mut loaded(0.0)),
            Some(Duration::from_secs(1))
        );
        assert_eq!(fault.draw_delay(&mut loaded(1.0)), None);
    }
}
