//! What requests are told, and how long it counts.

use super::script::{Asking, addresses, found, temporary};
use crate::lookup::{Failure, Family};
use crate::{LookupFamily, Settings, Unresolved};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const DAY: u64 = 24 * 60 * 60;

fn gone(ttl: u64) -> Failure {
    let ttl = Some(Duration::from_secs(ttl));
    Failure::NoSuchName { ttl }
}

/// After so many seconds a name that is asked for each second is looked up again.
async fn looked_up_again_after(asking: &Asking) -> u64 {
    let _ = asking.resolve("a.test").await;
    let start = Instant::now();
    let before = asking.script.asked().len();
    while asking.script.asked().len() == before {
        asking.later(1).await;
        let _ = asking.resolve("a.test").await;
    }
    start.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_as_long_as_it_lives_within_the_settings() {
    for (ttl, want) in [(30, 30), (0, 1), (86_400, 300)] {
        let asking = Asking::v4();
        asking.script.say("a.test", found(&["192.0.2.1"], ttl));
        assert_eq!(looked_up_again_after(&asking).await, want);
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_is_told_when_the_time_of_the_answer_is_over() {
    let asking = Asking::v4();
    asking.script.say("a.test", found(&["192.0.2.1"], 30));
    assert_eq!(asking.told("a.test").await, ["192.0.2.1"]);
    asking.script.say("a.test", found(&["192.0.2.2"], 30));
    asking.later(29).await;
    assert_eq!(asking.told("a.test").await, ["192.0.2.1"]);
    asking.later(1).await;
    assert_eq!(asking.told("a.test").await, ["192.0.2.2"]);
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_counts_as_long_as_the_server_says_within_the_settings() {
    for (ttl, want) in [(Some(10), 10), (Some(0), 1), (Some(3600), 30), (None, 1)] {
        let ttl = ttl.map(Duration::from_secs);
        for (failure, told) in [
            (Failure::NoSuchName { ttl }, Unresolved::NoSuchName),
            (Failure::NoAddress { ttl }, Unresolved::NoAddress),
        ] {
            let asking = Asking::v4();
            asking.script.say("a.test", Err(failure));
            assert_eq!(asking.resolve("a.test").await, Err(told));
            assert_eq!(looked_up_again_after(&asking).await, want, "{ttl:?}");
        }
    }
}

/// `refresh_min` is the least of everything, also where `negative_max` is less.
#[tokio::test(start_paused = true)]
async fn nothing_counts_shorter_than_the_least() {
    let asking = Asking::new(Settings {
        family: LookupFamily::V4Only,
        refresh_min: Duration::from_secs(60),
        ..Settings::default()
    });
    asking.script.say("a.test", Err(gone(10)));
    assert_eq!(looked_up_again_after(&asking).await, 60);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_well_is_not_asked_at_every_request() {
    let asking = Asking::v4();
    asking.script.say("a.test", temporary("SERVFAIL"));
    for _ in 0..10 {
        let failed = Unresolved::Failed("SERVFAIL".to_owned());
        assert_eq!(asking.resolve("a.test").await, Err(failed));
    }
    assert_eq!(asking.script.asked().len(), 1);
    assert_eq!(looked_up_again_after(&asking).await, 1);
    let stats = asking.demand.stats();
    assert_eq!((stats.hits, stats.misses, stats.failures), (10, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_outage_keeps_known_names_working() {
    let asking = Asking::v4();
    asking.script.say("a.test", found(&["192.0.2.1"], 10));
    let known = asking.resolve("a.test").await.unwrap();
    asking.script.say("a.test", temporary("SERVFAIL"));
    for _ in 0..100 {
        asking.later(10).await;
        let told = asking.resolve("a.test").await.unwrap();
        assert!(Arc::ptr_eq(&known, &told));
    }
    asking.script.say("a.test", found(&["192.0.2.2"], 10));
    asking.later(1).await;
    assert_eq!(asking.told("a.test").await, ["192.0.2.2"]);
    let stats = asking.demand.stats();
    assert_eq!((stats.stale, stats.misses, stats.failures), (100, 2, 100));
}

#[tokio::test(start_paused = true)]
async fn silent_servers_are_hardly_felt_where_something_is_known() {
    let asking = Asking::v4();
    asking.script.say("a.test", found(&["192.0.2.1"], 10));
    asking.told("a.test").await;
    asking.script.takes(Duration::MAX);
    asking.later(10).await;
    let start = Instant::now();
    let mut waited = Vec::new();
    // The look-up takes 5 s, the pause after it 1 s.
    while start.elapsed() < Duration::from_secs(7) {
        let asked = Instant::now();
        assert_eq!(asking.told("a.test").await, ["192.0.2.1"]);
        waited.push(asked.elapsed().as_millis());
        asking.later(1).await;
    }
    waited.retain(|time| *time > 1);
    assert!(matches!(waited[..], [300 | 301, 300 | 301]), "{waited:?}");
    // The look-up of nobody's request is remembered.
    asking.script.takes(Duration::from_secs(2));
    asking.script.say("a.test", found(&["192.0.2.2"], 10));
    asking.later(10).await;
    assert_eq!(asking.told("a.test").await, ["192.0.2.1"]);
    asking.later(3).await;
    assert_eq!(asking.told("a.test").await, ["192.0.2.2"]);
}

#[tokio::test(start_paused = true)]
async fn there_is_an_end_to_how_long_addresses_are_used_after_their_time() {
    let asking = Asking::v4();
    asking.script.say("a.test", found(&["192.0.2.1"], 10));
    asking.told("a.test").await;
    asking.script.say("a.test", temporary("SERVFAIL"));
    asking.later(DAY).await;
    assert_eq!(asking.told("a.test").await, ["192.0.2.1"]);
    asking.later(10).await;
    let failed = Unresolved::Failed("SERVFAIL".to_owned());
    assert_eq!(asking.resolve("a.test").await, Err(failed));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_used_after_its_time_where_that_is_not_wanted() {
    let asking = Asking::new(Settings {
        family: LookupFamily::V4Only,
        stale_max: Duration::ZERO,
        ..Settings::default()
    });
    asking.script.say("a.test", found(&["192.0.2.1"], 10));
    asking.told("a.test").await;
    asking.script.takes(Duration::MAX);
    asking.later(10).await;
    let start = Instant::now();
    assert_eq!(asking.resolve("a.test").await, Err(Unresolved::Timeout));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_no_more_stands_for_nothing() {
    let asking = Asking::v4();
    asking.script.say("a.test", found(&["192.0.2.1"], 10));
    asking.told("a.test").await;
    asking.script.say("a.test", Err(gone(20)));
    asking.later(10).await;
    let nothing = Err(Unresolved::NoSuchName);
    assert_eq!(asking.resolve("a.test").await, nothing);
    // What was before that is not used any more, whatever happens.
    asking.script.say("a.test", temporary("SERVFAIL"));
    asking.later(20).await;
    let failed = asking.resolve("a.test").await.unwrap_err();
    assert_eq!(failed.reason(), "dns_failure");
    asking.script.say("a.test", found(&["192.0.2.1"], 10));
    asking.later(1).await;
    assert_eq!(asking.told("a.test").await, ["192.0.2.1"]);
}

#[tokio::test(start_paused = true)]
async fn the_same_addresses_in_another_order_are_the_same_answer() {
    let asking = Asking::v4();
    let say = |addresses: &[&str]| asking.script.say("a.test", found(addresses, 10));
    say(&["192.0.2.1", "192.0.2.2"]);
    let known = asking.resolve("a.test").await.unwrap();
    say(&["192.0.2.2", "192.0.2.1", "192.0.2.2"]);
    asking.later(10).await;
    let again = asking.resolve("a.test").await.unwrap();
    assert!(Arc::ptr_eq(&known, &again));
    // After a failure, too, and when their time was over long ago.
    asking.script.say("a.test", temporary("SERVFAIL"));
    asking.later(2 * DAY).await;
    asking.resolve("a.test").await.unwrap_err();
    say(&["192.0.2.2", "192.0.2.1"]);
    asking.later(1).await;
    let again = asking.resolve("a.test").await.unwrap();
    assert!(Arc::ptr_eq(&known, &again));
    say(&["192.0.2.3", "192.0.2.2", "192.0.2.1"]);
    asking.later(10).await;
    let want = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    assert_eq!(asking.told("a.test").await, want);
}

#[tokio::test(start_paused = true)]
async fn more_addresses_than_are_kept_are_left_aside() {
    let asking = Asking::v4();
    let many: Vec<String> = (0..2000_u32)
        .map(|one| format!("10.0.{}.{}", one >> 8, one & 255))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    asking.script.say("a.test", found(&many, 10));
    let told = asking.resolve("a.test").await.unwrap();
    assert_eq!(*told, addresses(&many[..1024]));
}

#[tokio::test(start_paused = true)]
async fn both_kinds_of_addresses_are_together_unless_one_cannot_be_found_out() {
    let asking = Asking::new(Settings {
        family: LookupFamily::All,
        ..Settings::default()
    });
    let say_v6 = |outcome| asking.script.say_of("a.test", Family::V6, outcome);
    asking.script.say("a.test", found(&["192.0.2.1"], 60));
    say_v6(found(&["2001:db8::1"], 10));
    let both = ["192.0.2.1", "2001:db8::1"];
    assert_eq!(asking.told("a.test").await, both);
    say_v6(temporary("SERVFAIL"));
    asking.later(10).await;
    assert_eq!(asking.told("a.test").await, both);
    say_v6(Err(Failure::NoAddress { ttl: None }));
    asking.later(60).await;
    assert_eq!(asking.told("a.test").await, ["192.0.2.1"]);
    // What nobody knows stays as long as other addresses after their time.
    say_v6(found(&["2001:db8::1"], 10));
    asking.later(60).await;
    assert_eq!(asking.told("a.test").await, both);
    say_v6(temporary("SERVFAIL"));
    asking.later(10 + DAY).await;
    assert_eq!(asking.told("a.test").await, ["192.0.2.1"]);
}

#[test]
fn every_reason_has_a_word_that_stays() {
    let failed = Unresolved::Failed("the server answered SERVFAIL".to_owned());
    assert_eq!(failed.to_string(), "the server answered SERVFAIL");
    let all = [
        (Unresolved::NoSuchName, "dns_no_such_name"),
        (Unresolved::NoAddress, "dns_no_address"),
        (Unresolved::Timeout, "dns_timeout"),
        (failed, "dns_failure"),
        (Unresolved::Busy, "dns_overload"),
    ];
    for (unresolved, want) in all {
        assert_eq!(unresolved.reason(), want);
    }
}
