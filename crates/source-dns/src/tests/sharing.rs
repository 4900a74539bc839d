//! Many requests for one name.

use super::script::{Asking, found};
use crate::Unresolved;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Whose look-ups take this long.
fn slow(time: Duration) -> Asking {
    let asking = Asking::v4();
    asking.script.takes(time);
    asking.script.say("a.test", found(&["192.0.2.1"], 10));
    asking
}

#[tokio::test(start_paused = true)]
async fn requests_for_one_name_share_one_look_up() {
    let asking = slow(Duration::from_secs(1));
    let requests: Vec<_> = (0..100).map(|_| asking.spawn("a.test")).collect();
    let mut told = Vec::new();
    for request in requests {
        told.push(request.await.unwrap().unwrap());
    }
    assert!(told.iter().all(|one| Arc::ptr_eq(one, &told[0])));
    assert_eq!(asking.script.asked().len(), 1);
    asking.told("a.test").await;
    let stats = asking.demand.stats();
    assert_eq!((stats.misses, stats.hits, stats.entries), (100, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn requests_for_a_name_whose_time_is_over_share_one_look_up() {
    let asking = slow(Duration::from_millis(200));
    asking.told("a.test").await;
    asking.later(10).await;
    asking.script.say("a.test", found(&["192.0.2.2"], 10));
    let requests: Vec<_> = (0..100).map(|_| asking.spawn("a.test")).collect();
    for request in requests {
        let told = request.await.unwrap().unwrap();
        assert_eq!(told[0].to_string(), "192.0.2.2");
    }
    assert_eq!(asking.script.asked().len(), 2);
}

/// Who comes while a refresh is slow does not wait for as long as who began it.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_slow_is_waited_for_once() {
    let asking = slow(Duration::ZERO);
    asking.told("a.test").await;
    asking.script.takes(Duration::from_secs(4));
    asking.later(10).await;
    let start = Instant::now();
    for _ in 0..100 {
        asking.told("a.test").await;
    }
    assert!(start.elapsed() < Duration::from_millis(500));
    assert_eq!(asking.demand.stats().stale, 100);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_away_takes_nothing_from_others() {
    let asking = slow(Duration::from_secs(1));
    let first = asking.spawn("a.test");
    tokio::task::yield_now().await;
    let second = asking.spawn("a.test");
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(second.await.unwrap().unwrap().len(), 1);
    assert_eq!(asking.script.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_found_when_nobody_waits_any_more_is_remembered() {
    let asking = slow(Duration::from_secs(1));
    let only = asking.spawn("a.test");
    tokio::task::yield_now().await;
    only.abort();
    asking.later(2).await;
    asking.told("a.test").await;
    assert_eq!(asking.script.asked().len(), 1);
    assert_eq!(asking.demand.stats().hits, 1);
}

/// Servers have runtimes of their own, which end one after the other.
#[test]
fn a_look_up_whose_runtime_ends_is_begun_anew() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let asking = slow(Duration::from_secs(1));
    let (ending, staying) = (runtime(), runtime());
    ending.block_on(async {
        let begun = asking.spawn("a.test");
        tokio::task::yield_now().await;
        drop(begun);
    });
    let waiting = staying.spawn(asking.clone().owned("a.test"));
    staying.block_on(tokio::task::yield_now());
    drop(ending);
    let broken = staying.block_on(waiting).unwrap();
    assert!(matches!(broken, Err(Unresolved::Failed(_))), "{broken:?}");
    let again = staying.block_on(asking.resolve("a.test"));
    assert_eq!(again.unwrap().len(), 1);
}
