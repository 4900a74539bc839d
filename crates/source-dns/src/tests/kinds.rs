//! How long requests wait for two kinds of addresses.

use super::script::{Asking, found, temporary};
use crate::lookup::{Failure, Family};
use crate::{LookupFamily, Settings, Unresolved};
use std::time::Duration;
use tokio::time::Instant;

const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";

/// Whose name has addresses of both kinds.
fn both() -> Asking {
    let asking = Asking::new(Settings {
        family: LookupFamily::All,
        ..Settings::default()
    });
    asking.script.say("a.test", found(&[V4], 10));
    asking.script.say_of("a.test", Family::V6, found(&[V6], 10));
    asking
}

fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// So many milliseconds went by; timers may be one late each.
#[track_caller]
fn check(asked: Instant, want: u128) {
    let waited = asked.elapsed().as_millis();
    assert!((want..=want + 2).contains(&waited), "{waited}, not {want}");
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_a_little_later_is_waited_for() {
    for late in [Family::V4, Family::V6] {
        let asking = both();
        asking.script.takes(millis(20));
        asking.script.takes_of(late, millis(60));
        let asked = Instant::now();
        assert_eq!(asking.told("a.test").await, [V4, V6], "{late:?}");
        check(asked, 60);
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_nobody_answers_for_is_hardly_felt() {
    for (silent, want) in [(Family::V6, V4), (Family::V4, V6)] {
        let asking = both();
        asking.script.takes(millis(20));
        asking.script.takes_of(silent, Duration::MAX);
        let asked = Instant::now();
        assert_eq!(asking.told("a.test").await, [want]);
        check(asked, 70);
        assert_eq!(asking.demand.stats().failures, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn known_addresses_of_a_kind_that_is_late_stay() {
    let asking = both();
    assert_eq!(asking.told("a.test").await, [V4, V6]);
    asking.script.takes_of(Family::V6, Duration::MAX);
    asking.script.say("a.test", found(&["192.0.2.2"], 10));
    asking.later(10).await;
    let asked = Instant::now();
    assert_eq!(asking.told("a.test").await, [V6, "192.0.2.2"]);
    check(asked, 50);
    // It is in time again, and has none any more.
    asking.script.takes(Duration::ZERO);
    let none = Err(Failure::NoAddress { ttl: None });
    asking.script.say_of("a.test", Family::V6, none);
    asking.later(10).await;
    assert_eq!(asking.told("a.test").await, ["192.0.2.2"]);
}

/// Else a server that is always a little late would never be heard.
#[tokio::test(start_paused = true)]
async fn a_kind_that_is_late_is_told_when_it_came() {
    for (late, first) in [(Family::V6, V4), (Family::V4, V6)] {
        let second = if first == V4 { V6 } else { V4 };
        let asking = both();
        asking.script.takes_of(late, millis(2000));
        assert_eq!(asking.told("a.test").await, [first]);
        asking.later(1).await;
        assert_eq!(asking.told("a.test").await, [first]);
        asking.later(1).await;
        assert_eq!(asking.told("a.test").await, [first, second]);
        assert_eq!(asking.script.asked().len(), 2);
        let none = Err(Failure::NoAddress { ttl: None });
        asking.script.say_of("a.test", late, none);
        asking.later(10).await;
        assert_eq!(asking.told("a.test").await, [first, second]);
        asking.later(2).await;
        assert_eq!(asking.told("a.test").await, [first]);
    }
}

/// Its time to live is from when it was told, and while the other kind may still come, no further look-up begins.
#[tokio::test(start_paused = true)]
async fn what_was_told_early_counts_no_longer_for_the_other_kind() {
    let asking = both();
    asking.script.say("a.test", found(&[V4], 2));
    asking.script.takes_of(Family::V6, Duration::MAX);
    asking.told("a.test").await;
    asking.later(3).await;
    let asked = Instant::now();
    assert_eq!(asking.told("a.test").await, [V4]);
    check(asked, 0);
    assert_eq!(asking.script.asked().len(), 2);
    asking.later(2).await;
    asking.told("a.test").await;
    assert_eq!(asking.script.asked().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_late_takes_no_turns_from_other_names() {
    let asking = both();
    asking.script.takes_of(Family::V6, Duration::MAX);
    let asked = Instant::now();
    let names: Vec<String> = (0..128).map(|number| format!("n{number}.test")).collect();
    for name in &names {
        asking.script.say(name, found(&[V4], 10));
    }
    let requests: Vec<_> = names.iter().map(|name| asking.spawn(name)).collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().len(), 1);
    }
    check(asked, 100);
}

#[tokio::test(start_paused = true)]
async fn that_the_one_kind_is_not_there_does_not_end_the_wait_for_the_other() {
    let none = Err(Failure::NoAddress { ttl: None });
    for failure in [none, temporary("SERVFAIL")] {
        let asking = both();
        asking.script.say("a.test", failure);
        asking.script.takes_of(Family::V6, millis(4000));
        let asked = Instant::now();
        assert_eq!(asking.told("a.test").await, [V6]);
        check(asked, 4000);
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_an_end_to_the_wait_for_the_other_kind() {
    let asking = both();
    let none = Err(Failure::NoAddress { ttl: None });
    asking.script.say("a.test", none);
    asking.script.takes_of(Family::V6, Duration::MAX);
    let asked = Instant::now();
    let told = asking.resolve("a.test").await;
    assert_eq!(told, Err(Unresolved::Timeout));
    check(asked, 5000);
}

/// What came just before the end counts, though the other has no time left to be waited for.
#[tokio::test(start_paused = true)]
async fn an_answer_at_the_last_moment_counts() {
    let asking = both();
    asking.script.takes(Duration::MAX);
    asking.script.takes_of(Family::V4, millis(4980));
    let asked = Instant::now();
    assert_eq!(asking.told("a.test").await, [V4]);
    check(asked, 5000);
}
