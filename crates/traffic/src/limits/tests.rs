use super::*;
use crate::tests::moment;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

fn limits(policy: LimitsPolicy) -> Arc<Limits> {
    Arc::new(Limits::new(policy))
}

fn connections(max_connections: u32, max_pending: u32) -> LimitsPolicy {
    LimitsPolicy {
        max_connections,
        max_pending,
        ..LimitsPolicy::default()
    }
}

fn slot(limits: &Arc<Limits>) -> Slot {
    match limits.enter() {
        Entry::Slot(slot) => slot,
        other => panic!("{other:?}"),
    }
}

fn waiting(limits: &Arc<Limits>) -> Waiting {
    match limits.enter() {
        Entry::Wait(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

/// The seed's circuit breaker: one connection, one that waits for it.
#[test]
fn one_is_served_one_waits_and_the_third_is_too_many() {
    let limits = limits(connections(1, 1));
    let first = slot(&limits);
    let second = waiting(&limits);
    assert!(matches!(limits.enter(), Entry::Overflow));
    assert_eq!((limits.active_connections(), limits.pending()), (1, 1));
    let second = second.claim().unwrap_err();
    drop(first);
    let second = second.claim().unwrap();
    assert_eq!((limits.active_connections(), limits.pending()), (1, 0));
    drop(second);
    assert_eq!(limits.active_connections(), 0);
}

#[test]
fn without_a_limit_nobody_waits() {
    let limits = limits(LimitsPolicy::default());
    let slots: Vec<_> = (0..1000).map(|_| slot(&limits)).collect();
    assert_eq!(limits.active_connections(), 1000);
    drop(slots);
    assert_eq!(limits.active_connections(), 0);
}

#[test]
fn who_comes_later_does_not_overtake() {
    let limits = limits(connections(1, 9));
    let first = slot(&limits);
    let (second, third) = (waiting(&limits), waiting(&limits));
    drop(first);
    let third = third.claim().unwrap_err();
    assert!(matches!(limits.enter(), Entry::Wait(_)));
    let second = second.claim().unwrap();
    let third = third.claim().unwrap_err();
    drop(second);
    assert!(third.claim().is_ok());
}

#[test]
fn who_gives_up_waiting_leaves_the_queue() {
    let limits = limits(connections(1, 1));
    let first = slot(&limits);
    drop(waiting(&limits));
    let second = waiting(&limits);
    drop(first);
    assert!(second.claim().is_ok());
    assert_eq!((limits.active_connections(), limits.pending()), (0, 0));
}

/// Counts how often it is told to go on.
#[derive(Default)]
struct Told(AtomicU32);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Told {
    fn poll(self: &Arc<Self>, waiting: &mut Waiting) -> Poll<Slot> {
        let waker = self.clone().into();
        Pin::new(waiting).poll(&mut Context::from_waker(&waker))
    }

    fn times(&self) -> u32 {
        self.0.swap(0, SeqCst)
    }
}

#[test]
fn the_first_in_the_queue_is_told_and_nobody_else() {
    let limits = limits(connections(1, 9));
    let first = slot(&limits);
    let mut queue: Vec<_> = (0..5)
        .map(|_| (Arc::new(Told::default()), waiting(&limits)))
        .collect();
    for (told, waiting) in &mut queue {
        assert!(told.poll(waiting).is_pending());
    }
    drop(first);
    while !queue.is_empty() {
        let times: Vec<_> = queue.iter().map(|(told, _)| told.times()).collect();
        assert_eq!((times[0], times[1..].iter().sum::<u32>()), (1, 0));
        let (told, mut waiting) = queue.remove(0);
        let Poll::Ready(slot) = told.poll(&mut waiting) else {
            panic!("it was told and there is no slot");
        };
        // Those behind come to nothing, and are not forgotten.
        for (told, waiting) in &mut queue {
            assert!(told.poll(waiting).is_pending());
            told.times();
        }
        drop(slot);
    }
}

#[test]
fn who_was_told_and_leaves_has_the_next_told() {
    let limits = limits(connections(1, 9));
    let first = slot(&limits);
    let (mut second, mut third) = (waiting(&limits), waiting(&limits));
    let (leaving, next) = (Arc::new(Told::default()), Arc::new(Told::default()));
    assert!(leaving.poll(&mut second).is_pending() && next.poll(&mut third).is_pending());
    drop(first);
    assert_eq!((leaving.times(), next.times()), (1, 0));
    drop(second);
    assert_eq!(next.times(), 1);
    assert!(next.poll(&mut third).is_ready());
}

#[test]
fn more_room_is_told() {
    let limits = limits(connections(1, 9));
    let _first = slot(&limits);
    let (mut second, mut third) = (waiting(&limits), waiting(&limits));
    let told = Arc::new(Told::default());
    assert!(told.poll(&mut second).is_pending() && told.poll(&mut third).is_pending());
    limits.set(connections(3, 9));
    assert_eq!(told.times(), 1);
    let _second = told.poll(&mut second);
    assert_eq!(told.times(), 1);
    assert!(told.poll(&mut third).is_ready());
}

#[test]
fn a_smaller_limit_cuts_nobody_off() {
    let limits = limits(LimitsPolicy::default());
    let slots: Vec<_> = (0..3).map(|_| slot(&limits)).collect();
    limits.set(connections(2, 1));
    let next = waiting(&limits);
    let mut slots = slots.into_iter();
    drop(slots.next());
    let next = next.claim().unwrap_err();
    drop(slots.next());
    assert!(next.claim().is_ok());
}

#[test]
fn requests_are_let_through_up_to_the_limit() {
    let limits = limits(LimitsPolicy {
        max_requests: 2,
        ..LimitsPolicy::default()
    });
    let now = moment();
    let first = limits.request(now).unwrap();
    let _second = limits.request(now).unwrap();
    assert!(limits.request(now).is_none());
    drop(first);
    assert!(limits.request(now).is_some());
    assert_eq!(limits.active_requests(), 1);
}

#[test]
fn retries_are_let_through_up_to_the_limit() {
    let limits = limits(LimitsPolicy {
        max_retries: 1,
        ..LimitsPolicy::default()
    });
    let now = moment();
    let first = limits.retry(now).unwrap();
    assert!(limits.retry(now).is_none());
    drop(first);
    assert!(limits.retry(now).is_some());
    assert_eq!(limits.active_retries(), 0);
}

/// Source: Istio `RetryBudget`: it takes the place of `maxRetries`.
#[test]
fn a_budget_follows_the_requests_under_way() {
    let limits = limits(LimitsPolicy {
        max_retries: 0,
        retry_budget: Some(RetryBudget {
            percent: 20.0,
            min_concurrency: 1,
            interval: Duration::ZERO,
        }),
        ..LimitsPolicy::default()
    });
    let now = moment();
    let _first = limits.retry(now).unwrap();
    assert!(limits.retry(now).is_none());
    let requests: Vec<_> = (0..10).filter_map(|_| limits.request(now)).collect();
    assert!(limits.retry(now).is_some()); // 20 % of 10
    drop(requests);
    assert!(limits.retry(now).is_none());
}

#[test]
fn a_budget_s_interval_remembers_requests() {
    let limits = limits(LimitsPolicy {
        retry_budget: Some(RetryBudget {
            percent: 50.0,
            min_concurrency: 0,
            interval: Duration::from_secs(10),
        }),
        ..LimitsPolicy::default()
    });
    let start = moment();
    assert!(limits.retry(start).is_none());
    (0..4).for_each(|_| drop(limits.request(start)));
    let _one = limits.retry(start + Duration::from_secs(1)).unwrap();
    let _two = limits.retry(start + Duration::from_secs(1)).unwrap();
    assert!(limits.retry(start + Duration::from_secs(1)).is_none());
    assert!(limits.retry(start + Duration::from_secs(60)).is_none());
}

/// Many threads come and go: the limit holds at every moment, and nothing is left at the end.
#[test]
fn the_limits_hold_for_many_threads() {
    const LIMIT: u32 = 3;
    let limits = limits(connections(LIMIT, 4));
    let inside = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let mut slot = None;
                    match limits.enter() {
                        Entry::Slot(entered) => slot = Some(entered),
                        Entry::Wait(mut waiting) => {
                            for _ in 0..10 {
                                match waiting.claim() {
                                    Ok(claimed) => {
                                        slot = Some(claimed);
                                        break;
                                    }
                                    Err(still) => waiting = still,
                                }
                            }
                        }
                        Entry::Overflow => {}
                    }
                    if slot.is_some() {
                        assert!(inside.fetch_add(1, SeqCst) < LIMIT);
                        inside.fetch_sub(1, SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!((limits.active_connections(), limits.pending()), (0, 0));
}
