use super::*;
use crate::upstream::connection::Open;
use crate::upstream::connections::UNLIMITED;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use traffic::LimitsPolicy;

const TERMS: Terms = Terms {
    streams: 2,
    requests: None,
    lifetime: None,
};

/// The streams of a cluster that may have so many connections, and requests that wait for one.
fn streams(max_connections: u32, max_pending: u32) -> Arc<Streams> {
    let limits = Limits::new(LimitsPolicy {
        max_connections,
        max_pending,
        ..LimitsPolicy::default()
    });
    let connections = Connections::new(max_connections);
    Arc::new(Streams::new(Arc::new(limits), Arc::new(connections)))
}

fn key(port: u16) -> StreamKey {
    StreamKey {
        address: EndpointAddr::Tcp(([127, 0, 0, 1], port).into()),
        group: 0,
        occasion: Occasion::default(),
        side: Side::Clients,
    }
}

fn stream(admission: Admission) -> Stream {
    match admission {
        Admission::Stream(stream) => stream,
        other => panic!("no stream: {other:?}"),
    }
}

fn wait(admission: Admission) -> Wait {
    match admission {
        Admission::Wait(wait) => wait,
        other => panic!("no wait: {other:?}"),
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

/// Has the connection made for which this is the first stream, as Pingora would.
async fn make(streams: &Arc<Streams>, stream: &mut Stream) -> Open {
    let admitted = streams.connections.admit(&stream.shared.connection, true);
    let mut open = admitted.await;
    let (home, key, terms) = (streams.clone(), stream.key.clone(), stream.terms);
    open.on_end(move || home.forget(&key, terms));
    stream.begin();
    open
}

fn number(stream: &Stream) -> u64 {
    stream.number()
}

#[tokio::test]
async fn requests_share_a_connection_until_it_is_full() {
    let streams = streams(UNLIMITED, 0);
    let mut first = stream(streams.enter(key(1), TERMS));
    let _open = make(&streams, &mut first).await;
    let second = stream(streams.enter(key(1), TERMS));
    let third = stream(streams.enter(key(1), TERMS));
    assert_eq!(number(&first), number(&second));
    assert_ne!(number(&first), number(&third));
    assert_eq!(streams.limits.active_connections(), 2);
}

#[tokio::test]
async fn who_comes_while_it_is_made_waits_for_a_turn() {
    let streams = streams(UNLIMITED, 0);
    let mut maker = stream(streams.enter(key(1), TERMS));
    let mut second = stream(streams.enter(key(1), TERMS));
    assert!(!second.try_turn());
    let _open = make(&streams, &mut maker).await;
    assert!(second.try_turn() && !second.is_lost());
}

#[tokio::test]
async fn when_nobody_makes_it_who_waited_looks_elsewhere() {
    let streams = streams(1, 0);
    let maker = stream(streams.enter(key(1), TERMS));
    let mut second = stream(streams.enter(key(1), TERMS));
    drop(maker);
    ready(second.turn());
    assert!(second.is_lost());
    drop(second);
    assert_eq!(streams.limits.active_connections(), 0);
    assert!(streams.pools().is_empty());
}

#[tokio::test]
async fn who_shares_a_connection_that_fails_is_told_why() {
    let streams = streams(1, 0);
    let maker = stream(streams.enter(key(1), TERMS));
    let mut second = stream(streams.enter(key(1), TERMS));
    maker.shared.fail(crate::upstream::DialError::Refused);
    drop(maker);
    ready(second.turn());
    assert!(!second.is_lost());
    // Nobody joins it any more.
    drop(second);
    assert!(streams.pools().is_empty());
}

#[tokio::test]
async fn beyond_the_limit_there_is_a_queue_and_then_nothing() {
    let streams = streams(1, 1);
    let mut first = stream(streams.enter(key(1), TERMS));
    let _open = make(&streams, &mut first).await;
    let _second = stream(streams.enter(key(1), TERMS));
    let mut waits = pin!(wait(streams.enter(key(1), TERMS)).stream());
    assert_eq!(streams.limits.pending(), 1);
    assert!(matches!(streams.enter(key(1), TERMS), Admission::Overflow));
    assert!(poll(waits.as_mut()).is_pending());
    let before = number(&first);
    drop(first);
    let third = ready(waits);
    assert_eq!(number(&third), before);
    assert_eq!(streams.limits.pending(), 0);
}

#[tokio::test]
async fn room_goes_to_the_next_when_the_first_in_line_has_left() {
    let streams = streams(1, 9);
    let mut first = stream(streams.enter(key(1), TERMS));
    let _open = make(&streams, &mut first).await;
    let second = stream(streams.enter(key(1), TERMS));
    let left = wait(streams.enter(key(1), TERMS));
    let leaves_late = wait(streams.enter(key(1), TERMS));
    let stays = wait(streams.enter(key(1), TERMS));
    drop(left);
    drop(second);
    // The room is on its way to one who leaves before it arrives.
    drop(leaves_late);
    drop(ready(stays.stream()));
    drop(first);
    assert_eq!(streams.limits.active_connections(), 0);
    assert_eq!(streams.limits.pending(), 0);
}

#[tokio::test]
async fn an_idle_connection_leaves_its_slot_to_others_and_is_found_again() {
    let streams = streams(1, 0);
    let mut first = stream(streams.enter(key(1), TERMS));
    let _open = make(&streams, &mut first).await;
    let before = number(&first);
    drop(first);
    assert_eq!(streams.limits.active_connections(), 0);
    let again = stream(streams.enter(key(1), TERMS));
    assert_eq!(number(&again), before);
    assert_eq!(streams.limits.active_connections(), 1);
}

/// As from Envoy.
#[tokio::test]
async fn an_endpoint_without_a_connection_gets_one_whatever_others_have() {
    let streams = streams(1, 0);
    let mut first = stream(streams.enter(key(1), TERMS));
    let _open = make(&streams, &mut first).await;
    let mut other = stream(streams.enter(key(2), TERMS));
    let _other = make(&streams, &mut other).await;
    assert_eq!(streams.limits.active_connections(), 2);
}

#[tokio::test]
async fn who_waits_for_a_connection_that_ends_gets_another() {
    let streams = streams(1, 1);
    let mut first = stream(streams.enter(key(1), TERMS));
    let open = make(&streams, &mut first).await;
    let _second = stream(streams.enter(key(1), TERMS));
    let waits = wait(streams.enter(key(1), TERMS));
    drop(open);
    let other = ready(waits.stream());
    assert_ne!(number(&other), number(&first));
}

#[tokio::test]
async fn after_so_many_requests_a_connection_gets_no_more() {
    let streams = streams(UNLIMITED, 0);
    let terms = Terms {
        requests: Some(2),
        ..TERMS
    };
    let mut first = stream(streams.enter(key(1), terms));
    let open = make(&streams, &mut first).await;
    let before = number(&first);
    drop(first);
    drop(stream(streams.enter(key(1), terms)));
    assert!(open.connection().shall_end(Waker::noop()));
    assert_ne!(number(&stream(streams.enter(key(1), terms))), before);
}

#[tokio::test]
async fn a_server_that_allows_fewer_gets_fewer() {
    let streams = streams(UNLIMITED, 0);
    let terms = Terms {
        streams: 100,
        ..TERMS
    };
    let mut first = stream(streams.enter(key(1), terms));
    let _open = make(&streams, &mut first).await;
    let mut refused = stream(streams.enter(key(1), terms));
    while refused.missed() {}
    drop(refused);
    let other = stream(streams.enter(key(1), terms));
    assert_ne!(number(&other), number(&first));
}

#[tokio::test]
async fn a_connection_that_is_not_found_although_nobody_is_on_it_ends() {
    let streams = streams(UNLIMITED, 0);
    let mut first = stream(streams.enter(key(1), TERMS));
    let open = make(&streams, &mut first).await;
    drop(first);
    let mut lost = stream(streams.enter(key(1), TERMS));
    while lost.missed() {}
    drop(lost);
    assert!(open.connection().shall_end(Waker::noop()));
}

/// Bounded memory, although hosts and clients may be part of a key.
#[tokio::test]
async fn nothing_is_kept_of_keys_without_connections() {
    let streams = streams(1, 9);
    let mut first = stream(streams.enter(key(1), TERMS));
    let open = make(&streams, &mut first).await;
    let other = StreamKey { group: 1, ..key(1) };
    drop(wait(streams.enter(other, TERMS)));
    drop(first);
    assert_eq!(streams.pools().len(), 1);
    drop(open);
    assert!(streams.pools().is_empty());
}

/// Streams are handed over between threads, and none is lost on the way.
#[test]
fn no_wake_up_is_lost_between_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    runtime.block_on(async {
        let streams = streams(2, UNLIMITED);
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..400 {
            let streams = streams.clone();
            asking.spawn(async move {
                let mut stream = match streams.enter(key(1 + number % 2), TERMS) {
                    Admission::Stream(stream) => stream,
                    Admission::Wait(wait) => wait.stream().await,
                    Admission::Overflow => panic!("there is no limit"),
                };
                stream.turn().await;
                tokio::task::yield_now().await;
            });
        }
        asking.join_all().await;
        assert_eq!(streams.limits.active_connections(), 0);
        assert_eq!(streams.limits.pending(), 0);
        assert!(streams.pools().is_empty());
    });
}
