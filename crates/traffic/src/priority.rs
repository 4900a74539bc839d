//! How much of the traffic each priority gets, as Envoy computes it.

/// As long as this much of a priority's endpoints are in rotation, in percent after multiplication, it gets
/// everything: 1.4 times 71.5 % is 100 %.
pub(crate) const OVERPROVISIONING: u64 = 140;

/// A priority's endpoints: how many there are, and how many are available.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Health {
    pub(crate) all: u64,
    pub(crate) available: u64,
}

/// What a priority gets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Load {
    /// In percent of everything.
    pub(crate) percent: u32,
    /// Too few are available: all of them take part, since leaving most of them out would break the rest.
    pub(crate) panic: bool,
}

impl Health {
    /// Up to 100.
    fn normalised(self) -> u64 {
        (OVERPROVISIONING * self.available)
            .checked_div(self.all)
            .unwrap_or(0)
            .min(100)
    }

    fn is_below(self, threshold: u8) -> bool {
        self.all > 0 && 100 * self.available < u64::from(threshold) * self.all
    }
}

/// What each priority gets, the nearest first. `panic_threshold`: in percent, 0 for never.
pub(crate) fn loads(priorities: &[Health], panic_threshold: u8) -> Vec<Load> {
    let total: u64 = priorities.iter().map(|one| one.normalised()).sum();
    let total = total.min(100);
    let panics = |one: &Health| total < 100 && one.is_below(panic_threshold);
    let has_endpoints = |one: &Health| one.all > 0;
    let inhabited = priorities.iter().filter(|one| has_endpoints(one));
    if panic_threshold > 0 && inhabited.clone().all(panics) {
        return in_total_panic(priorities);
    }
    let mut loads = by_health(priorities, total);
    for (load, priority) in loads.iter_mut().zip(priorities) {
        // Who gets nothing need not panic.
        load.panic = load.percent > 0 && panics(priority);
    }
    loads
}

/// The nearest takes what its health allows, the next takes of the rest.
fn by_health(priorities: &[Health], total: u64) -> Vec<Load> {
    if total == 0 {
        return to_the_nearest(priorities);
    }
    let mut left = 100;
    let mut loads: Vec<_> = priorities
        .iter()
        .map(|priority| {
            let share = (priority.normalised() * 100)
                .checked_div(total)
                .unwrap_or(0);
            let share = share.min(left);
            left -= share;
            Load {
                percent: u32::try_from(share).unwrap_or(0),
                panic: false,
            }
        })
        .collect();
    // What rounding left over belongs to the first that gets anything.
    if let Some(first) = loads.iter_mut().find(|load| load.percent > 0) {
        first.percent += u32::try_from(left).unwrap_or(0);
    }
    loads
}

/// Where so few are left that all round to nothing, the nearest of whom there are any takes everything.
fn to_the_nearest(priorities: &[Health]) -> Vec<Load> {
    let mut loads = vec![Load::default(); priorities.len()];
    if let Some(nearest) = priorities.iter().position(|one| one.available > 0) {
        loads[nearest].percent = 100;
    }
    loads
}

/// By the number of endpoints, whatever their health.
fn in_total_panic(priorities: &[Health]) -> Vec<Load> {
    let all: u64 = priorities.iter().map(|one| one.all).sum();
    let mut left = 100;
    let mut loads: Vec<_> = priorities
        .iter()
        .map(|priority| {
            let share = (priority.all * 100).checked_div(all).unwrap_or(0);
            left -= share;
            Load {
                percent: u32::try_from(share).unwrap_or(0),
                panic: true,
            }
        })
        .collect();
    if let Some(first) = loads.iter_mut().find(|load| load.percent > 0) {
        first.percent += u32::try_from(left).unwrap_or(0);
    }
    loads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(priorities: &[(u64, u64)], threshold: u8, want: &[(u32, bool)]) {
        let health = |&(available, all): &(u64, u64)| Health { all, available };
        let priorities: Vec<_> = priorities.iter().map(health).collect();
        let got: Vec<_> = loads(&priorities, threshold)
            .iter()
            .map(|load| (load.percent, load.panic))
            .collect();
        assert_eq!(got, want, "{priorities:?}");
    }

    /// The table of Envoy's documentation on priority levels.
    #[test]
    fn the_next_priority_takes_what_the_first_cannot() {
        check(&[(100, 100), (100, 100)], 0, &[(100, false), (0, false)]);
        check(&[(72, 100), (100, 100)], 0, &[(100, false), (0, false)]);
        check(&[(71, 100), (100, 100)], 0, &[(99, false), (1, false)]);
        check(&[(50, 100), (100, 100)], 0, &[(70, false), (30, false)]);
        check(&[(25, 100), (100, 100)], 0, &[(35, false), (65, false)]);
        check(&[(0, 100), (100, 100)], 0, &[(0, false), (100, false)]);
        check(&[(25, 100), (25, 100)], 0, &[(50, false), (50, false)]);
    }

    #[test]
    fn without_anybody_nobody_gets_anything() {
        check(&[(0, 3)], 0, &[(0, false)]);
        check(&[(0, 0)], 50, &[(0, true)]);
    }

    #[test]
    fn the_last_ones_of_many_take_what_there_is() {
        check(&[(1, 1000)], 0, &[(100, false)]);
        check(
            &[(0, 1000), (1, 1000), (2, 1000)],
            0,
            &[(0, false), (100, false), (0, false)],
        );
        check(&[(1, 1000), (1000, 1000)], 0, &[(0, false), (100, false)]);
    }

    #[test]
    fn too_few_are_a_reason_to_panic() {
        check(&[(1, 3)], 50, &[(100, true)]);
        check(&[(2, 3)], 50, &[(100, false)]);
        check(&[(0, 3)], 50, &[(100, true)]);
    }

    #[test]
    fn nobody_panics_while_others_can_take_it_all() {
        check(&[(1, 10), (10, 10)], 50, &[(14, false), (86, false)]);
    }

    #[test]
    fn when_all_panic_numbers_decide() {
        check(&[(1, 10), (1, 30)], 50, &[(25, true), (75, true)]);
    }
}
