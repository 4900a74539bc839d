//! When something is due: pure functions of time and dice.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Dice are `0..DRAWS`.
pub(crate) const DRAWS: u16 = 10_000;

/// What is done again and again is done at most this often, however short-lived certificates are.
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A server's word is not taken for longer than this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

impl Validity {
    pub(crate) fn lifetime(&self) -> Duration {
        since(self.not_after, self.not_before)
    }

    fn left(&self, now: SystemTime) -> Duration {
        since(self.not_after, now)
    }
}

/// When a server suggests to renew.
///
/// Source: RFC 9773.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Window {
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
}

/// What kind of failure is backed off from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FailureKind {
    /// The server did not hear of it, so that asking again soon costs nobody anything.
    Unreachable,
    /// The server counts it: Let's Encrypt takes five failed validations of a name in an hour.
    Refused,
}

impl FailureKind {
    fn first(self) -> Duration {
        match self {
            Self::Unreachable => Duration::from_secs(5),
            Self::Refused => MINUTE,
        }
    }

    fn longest(self) -> Duration {
        match self {
            Self::Unreachable => HOUR,
            Self::Refused => 6 * HOUR,
        }
    }
}

/// When to renew: at two thirds of the lifetime, or up to a twentieth of it earlier, so that certificates that
/// were ordered together are not renewed together.
pub(crate) fn renewal_at(validity: Validity, draw: u16) -> SystemTime {
    let lifetime = validity.lifetime();
    let earlier = (lifetime / 20).mul_f64(fraction(draw));
    validity.not_before + (lifetime * 2 / 3).saturating_sub(earlier)
}

/// When to renew after a server's suggestion: anywhere in its window, but before the last tenth of the lifetime.
pub(crate) fn suggested_at(window: Window, validity: Validity, draw: u16) -> SystemTime {
    let length = since(window.end, window.start);
    let chosen = window.start + length.mul_f64(fraction(draw));
    chosen.min(validity.not_after - validity.lifetime() / 10)
}

/// When to ask for the window again, after the server's hint.
pub(crate) fn ask_again_in(hint: Duration, validity: Validity) -> Duration {
    let shortest = MINUTE.min(validity.lifetime() / 20).max(SECOND);
    hint.clamp(shortest, DAY)
}

/// How long to wait after so many failures in a row, 1 or more: twice as long each time, up to a limit, and half of it
/// by chance. A certificate that is held shortens it as it runs out, since a wait longer than what is left of it is
/// of no use; one that has run out keeps it below an eighth of its lifetime.
pub(crate) fn back_off(
    failures: u32,
    kind: FailureKind,
    held: Option<Validity>,
    now: SystemTime,
    draw: u16,
) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let wait = kind.first().saturating_mul(doubled).min(kind.longest());
    let wait = wait / 2 + (wait / 2).mul_f64(fraction(draw));
    let Some(held) = held else {
        return wait;
    };
    let shortest = kind.first().min(held.lifetime() / 20).max(SECOND);
    let longest = match held.left(now) {
        Duration::ZERO => held.lifetime() / 8,
        left => left / 4,
    };
    wait.min(longest.max(shortest))
}

/// When one certificate is to be ordered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    held: Option<Validity>,
    window: Option<Window>,
    /// Chosen once for each certificate, so that asking for the window again does not move the moment about.
    draw: u16,
    failures: u32,
    not_before: Option<SystemTime>,
}

impl Plan {
    /// With a certificate that was stored earlier.
    pub(crate) fn holding(validity: Validity, draw: u16) -> Self {
        Self {
            held: Some(validity),
            draw,
            ..Self::default()
        }
    }

    pub(crate) fn held(&self) -> Option<Validity> {
        self.held
    }

    /// Backs off as an earlier plan did, unless there is another certificate since. When none is left, only failures
    /// count: the pause after a success was for the certificate that is gone.
    pub(crate) fn go_on_from(&mut self, before: &Self) {
        let is_left_to_fail = self.held.is_none() && before.failures > 0;
        if self.held == before.held || is_left_to_fail {
            self.failures = before.failures;
            self.not_before = before.not_before;
        }
    }

    /// When to order. Without a certificate at once.
    pub(crate) fn due(&self) -> SystemTime {
        let wished = match (self.held, self.window) {
            (None, _) => UNIX_EPOCH,
            (Some(held), None) => renewal_at(held, self.draw),
            (Some(held), Some(window)) => suggested_at(window, held, self.draw),
        };
        self.not_before.map_or(wished, |limit| wished.max(limit))
    }

    /// The server's suggestion for the certificate that is held.
    pub(crate) fn suggest(&mut self, window: Option<Window>) {
        self.window = window;
    }

    /// A certificate came. The next is not ordered for a tenth of its lifetime, or an hour, whatever its times say.
    pub(crate) fn succeed(&mut self, validity: Validity, now: SystemTime, draw: u16) {
        let pause = HOUR.min(validity.lifetime() / 10).max(SECOND);
        *self = Self {
            not_before: Some(now + pause),
            ..Self::holding(validity, draw)
        };
    }

    /// None came. Returns when it is tried again: not before the server allows it.
    pub(crate) fn fail(
        &mut self,
        kind: FailureKind,
        retry_after: Option<SystemTime>,
        now: SystemTime,
        draw: u16,
    ) -> SystemTime {
        self.failures = self.failures.saturating_add(1);
        let own = now + back_off(self.failures, kind, self.held, now, draw);
        let theirs = retry_after.map_or(own, |after| after.min(now + LONGEST_RETRY_AFTER));
        self.not_before = Some(own.max(theirs));
        self.due()
    }
}

fn fraction(draw: u16) -> f64 {
    f64::from(draw.min(DRAWS)) / f64::from(DRAWS)
}

fn since(later: SystemTime, earlier: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn days(number: u32) -> Duration {
        DAY * number
    }

    /// Valid from `at(1_000_000)` on.
    fn valid_for(lifetime: Duration) -> Validity {
        Validity {
            not_before: at(1_000_000),
            not_after: at(1_000_000) + lifetime,
        }
    }

    #[test]
    fn renewal_is_at_two_thirds_of_the_lifetime_or_a_little_earlier() {
        let cases = [
            (days(90), 0, days(60)),
            (days(90), DRAWS, days(60) - days(90) / 20),
            (days(6), 0, days(4)),
            (30 * SECOND, 0, 20 * SECOND),
            (30 * SECOND, DRAWS, Duration::from_millis(18_500)),
            (Duration::ZERO, DRAWS, Duration::ZERO),
        ];
        for (lifetime, draw, want) in cases {
            let validity = valid_for(lifetime);
            let got = renewal_at(validity, draw);
            assert_eq!(got, validity.not_before + want, "{lifetime:?} {draw}");
        }
    }

    #[test]
    fn a_suggested_window_is_used_evenly_but_not_to_the_end() {
        let validity = valid_for(days(90));
        let day = |day: u32| validity.not_before + days(day);
        let window = |start, end| Window {
            start: day(start),
            end: day(end),
        };
        let cases = [
            (window(50, 54), 0, day(50)),
            (window(50, 54), DRAWS / 2, day(52)),
            (window(50, 54), DRAWS, day(54)),
            (window(0, 0), 0, day(0)),
            (window(89, 89), 0, day(81)),
            (window(54, 50), DRAWS, day(54)),
        ];
        for (window, draw, want) in cases {
            assert_eq!(suggested_at(window, validity, draw), want, "{window:?}");
        }
    }

    #[test]
    fn back_off_doubles_up_to_a_limit_and_half_of_it_is_chance() {
        use FailureKind::{Refused, Unreachable};
        let cases = [
            (1, Refused, DRAWS, MINUTE),
            (1, Refused, 0, MINUTE / 2),
            (2, Refused, DRAWS, 2 * MINUTE),
            (5, Refused, DRAWS, 16 * MINUTE),
            (9, Refused, DRAWS, 256 * MINUTE),
            (10, Refused, DRAWS, 6 * HOUR),
            (u32::MAX, Refused, DRAWS, 6 * HOUR),
            (u32::MAX, Refused, 0, 3 * HOUR),
            (1, Unreachable, DRAWS, 5 * SECOND),
            (4, Unreachable, DRAWS, 40 * SECOND),
            (100, Unreachable, DRAWS, HOUR),
        ];
        for (failures, kind, draw, want) in cases {
            let got = back_off(failures, kind, None, at(0), draw);
            assert_eq!(got, want, "{failures} {kind:?} {draw}");
        }
    }

    #[test]
    fn back_off_is_proportionate_to_what_is_left_of_the_certificate() {
        let cases = [
            // Lifetime, what is left, failures, the wait.
            (days(90), days(30), 20, 6 * HOUR),
            (days(90), 8 * HOUR, 20, 2 * HOUR),
            (days(90), MINUTE, 20, MINUTE),
            (days(90), Duration::ZERO, 20, 6 * HOUR),
            (30 * SECOND, 10 * SECOND, 20, Duration::from_millis(2500)),
            (30 * SECOND, SECOND, 20, Duration::from_millis(1500)),
            (30 * SECOND, Duration::ZERO, 20, Duration::from_millis(3750)),
        ];
        for (lifetime, left, failures, want) in cases {
            let held = valid_for(lifetime);
            let now = held.not_after - left;
            let got = back_off(failures, FailureKind::Refused, Some(held), now, DRAWS);
            assert_eq!(got, want, "{lifetime:?} {left:?}");
        }
    }

    #[test]
    fn asking_for_the_window_again_is_bounded() {
        let cases = [
            (days(90), Duration::ZERO, MINUTE),
            (days(90), 6 * HOUR, 6 * HOUR),
            (days(90), days(400), DAY),
            (60 * SECOND, Duration::ZERO, 3 * SECOND),
            (Duration::ZERO, Duration::ZERO, SECOND),
        ];
        for (lifetime, hint, want) in cases {
            assert_eq!(ask_again_in(hint, valid_for(lifetime)), want, "{hint:?}");
        }
    }

    #[test]
    fn without_a_certificate_an_order_is_due_at_once() {
        assert!(Plan::default().due() <= at(0));
    }

    #[test]
    fn a_stored_certificate_is_renewed_and_not_ordered_again() {
        let validity = valid_for(days(90));
        let plan = Plan::holding(validity, 0);
        assert_eq!(plan.due(), validity.not_before + days(60));
    }

    #[test]
    fn a_suggestion_replaces_two_thirds_until_the_next_certificate() {
        let validity = valid_for(days(90));
        let mut plan = Plan::holding(validity, 0);
        let start = validity.not_before + days(10);
        plan.suggest(Some(Window { start, end: start }));
        assert_eq!(plan.due(), start);
        plan.succeed(validity, validity.not_before, 0);
        assert_eq!(plan.due(), validity.not_before + days(60));
    }

    #[test]
    fn a_certificate_that_comes_used_up_is_not_ordered_again_at_once() {
        let now = at(1_000_000) + days(89);
        let mut plan = Plan::default();
        plan.succeed(valid_for(days(90)), now, 0);
        assert_eq!(plan.due(), now + HOUR);
    }

    #[test]
    fn failures_wait_longer_each_time_and_a_success_forgets_them() {
        let mut plan = Plan::default();
        let now = at(5000);
        let fail = |plan: &mut Plan| plan.fail(FailureKind::Refused, None, now, DRAWS);
        assert_eq!(fail(&mut plan), now + MINUTE);
        assert_eq!(fail(&mut plan), now + 2 * MINUTE);
        assert_eq!(plan.due(), now + 2 * MINUTE);
        plan.succeed(valid_for(days(90)), now, 0);
        assert_eq!(plan.failures, 0);
    }

    #[test]
    fn the_servers_retry_after_is_respected_within_reason() {
        let now = at(5000);
        let after =
            |after: SystemTime| Plan::default().fail(FailureKind::Refused, Some(after), now, DRAWS);
        assert_eq!(after(now + 3 * HOUR), now + 3 * HOUR);
        assert_eq!(after(now + SECOND), now + MINUTE, "the longer wait counts");
        assert_eq!(after(now + days(400)), now + LONGEST_RETRY_AFTER);
    }
}
