//! What random names cannot do.

use super::script::{Asking, found, temporary};
use crate::lookup::Failure;
use crate::{LookupFamily, Settings, Unresolved};
use std::time::Duration;
use tokio::time::Instant;

fn remembering(cache_size: usize) -> Asking {
    Asking::new(Settings {
        family: LookupFamily::V4Only,
        cache_size,
        ..Settings::default()
    })
}

fn name(number: usize) -> String {
    format!("n{number}.test")
}

impl Asking {
    /// Names that live so many seconds, asked for one after the other.
    async fn ask_for(&self, numbers: std::ops::Range<usize>, ttl: u64) {
        for number in numbers {
            self.script.say(&name(number), found(&["192.0.2.1"], ttl));
            self.told(&name(number)).await;
        }
    }

    /// Which of these names are told without a look-up.
    async fn remembered(&self, numbers: std::ops::Range<usize>) -> Vec<usize> {
        let mut remembered = Vec::new();
        for number in numbers {
            let before = self.script.asked().len();
            let _ = self.resolve(&name(number)).await;
            if self.script.asked().len() == before {
                remembered.push(number);
            }
        }
        remembered
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_an_end_to_how_many_names_are_remembered() {
    let asking = remembering(100);
    asking.ask_for(0..1000, 60).await;
    let stats = asking.demand.stats();
    assert_eq!((stats.entries, stats.evictions), (100, 900));
    assert_eq!(asking.remembered(900..1000).await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn at_least_one_name_is_remembered() {
    let asking = remembering(0);
    asking.ask_for(0..2, 60).await;
    assert_eq!(asking.remembered(1..2).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn what_was_used_of_late_is_forgotten_last() {
    let asking = remembering(10);
    asking.ask_for(0..10, 60).await;
    assert_eq!(asking.remembered(2..4).await, [2, 3]);
    asking.ask_for(10..18, 60).await;
    assert_eq!(asking.remembered(2..4).await, [2, 3]);
    asking.ask_for(18..26, 60).await;
    assert_eq!(asking.remembered(2..4).await, [2, 3]);
    asking.ask_for(26..40, 60).await;
    assert_eq!(asking.remembered(2..4).await, [] as [usize; 0]);
}

/// However many were used since: it is no walk over all.
#[tokio::test(start_paused = true)]
async fn there_is_room_also_where_all_were_used() {
    let asking = remembering(1000);
    asking.ask_for(0..1000, 60).await;
    assert_eq!(asking.remembered(0..1000).await.len(), 1000);
    asking.ask_for(1000..1001, 60).await;
    assert_eq!(asking.remembered(1000..1001).await, [1000]);
    assert_eq!(asking.demand.stats().entries, 1000);
}

#[tokio::test(start_paused = true)]
async fn what_is_of_no_use_any_more_is_forgotten_first() {
    let asking = remembering(10);
    let ttl = Some(Duration::from_secs(10));
    for number in 0..5 {
        let nothing = Err(Failure::NoSuchName { ttl });
        asking.script.say(&name(number), nothing);
        asking.resolve(&name(number)).await.unwrap_err();
    }
    asking.ask_for(5..10, 20).await;
    // Five are asked for again, and are of no use after their time nevertheless.
    asking.remembered(0..5).await;
    asking.later(10).await;
    asking.ask_for(10..15, 20).await;
    let stats = asking.demand.stats();
    assert_eq!((stats.entries, stats.evictions), (10, 0));
    assert_eq!(asking.remembered(5..15).await.len(), 10);
}

/// Addresses after their time are of use: nobody may answer any more.
#[tokio::test(start_paused = true)]
async fn names_that_nobody_knows_do_not_make_known_ones_forgotten() {
    let asking = remembering(10);
    asking.ask_for(0..9, 1).await;
    for number in 0..100 {
        asking.script.say(&name(number), temporary("SERVFAIL"));
    }
    for number in 9..100 {
        asking.later(2).await;
        asking.resolve(&name(number)).await.unwrap_err();
    }
    for number in 0..9 {
        asking.told(&name(number)).await;
    }
    assert_eq!(asking.demand.stats().evictions, 0);
}

#[tokio::test(start_paused = true)]
async fn look_ups_at_a_time_are_bounded_and_others_wait_for_their_turn() {
    let asking = remembering(1000);
    asking.script.takes(Duration::from_secs(2));
    let start = Instant::now();
    let requests: Vec<_> = (0..200).map(|one| asking.spawn(&name(one))).collect();
    let mut told = Vec::new();
    for request in requests {
        told.push(request.await.unwrap().unwrap_err());
    }
    let asked = asking.script.asked();
    let begun = |seconds| {
        let all = asked.iter();
        all.filter(|(_, at)| (*at - start).as_secs() == seconds)
            .count()
    };
    assert_eq!([begun(0), begun(2), begun(4)], [64, 64, 64]);
    // 2 of the settings' 5 s were left to nobody, and 8 did not get their turn.
    let count = |why| told.iter().filter(|one| **one == why).count();
    assert_eq!(count(Unresolved::NoSuchName), 128);
    assert_eq!(count(Unresolved::Timeout), 64);
    assert_eq!(count(Unresolved::Busy), 8);
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn requests_for_more_names_are_refused_at_once() {
    let asking = remembering(10_000);
    asking.script.takes(Duration::MAX);
    // Clients that do not wait for the answer.
    for number in 0..1024 {
        let request = asking.spawn(&name(number));
        tokio::task::yield_now().await;
        request.abort();
    }
    let start = Instant::now();
    let refused = asking.resolve("other.test").await;
    assert_eq!(refused, Err(Unresolved::Busy));
    assert!(start.elapsed() < Duration::from_millis(100));
    assert_eq!(asking.demand.stats().misses, 1);
    // Nothing of it stays.
    asking.script.takes(Duration::ZERO);
    asking.script.say("other.test", found(&["192.0.2.1"], 60));
    asking.later(6).await;
    asking.told("other.test").await;
}

#[tokio::test(start_paused = true)]
async fn known_names_work_while_others_are_refused() {
    let asking = remembering(10_000);
    asking.ask_for(0..1, 1).await;
    asking.script.takes(Duration::MAX);
    asking.later(2).await;
    for number in 1..=1024 {
        drop(asking.spawn(&name(number)));
    }
    tokio::task::yield_now().await;
    asking.told(&name(0)).await;
    assert_eq!(asking.demand.stats().stale, 1);
}
