use super::super::connection::Open;
use super::super::connections::UNLIMITED;
use super::super::dial::DialError;
use super::*;
use pingora_core::connectors::http::v2::ConnectionRef;
use pingora_core::protocols::Digest;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;
use traffic::LimitsPolicy;

const TERMS: Terms = Terms {
    streams: 2,
    requests: None,
    lifetime: Lifetime {
        whole: None,
        idle: None,
    },
    is_encrypted: false,
    ping_interval: None,
};

/// A cluster whose connections are made when a test says so.
#[derive(Debug)]
struct World {
    streams: Arc<Streams>,
    made: Arc<ByHand>,
}

/// What is to be made.
#[derive(Default)]
struct ByHand(Mutex<VecDeque<(Arc<Shared>, OnEnd)>>);

impl std::fmt::Debug for ByHand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("by hand")
    }
}

impl Maker for ByHand {
    fn make(&self, shared: Arc<Shared>, _: Terms, on_end: OnEnd) {
        self.0.lock().unwrap().push_back((shared, on_end));
    }
}

impl World {
    fn new(max_connections: u32, max_pending: u32) -> Self {
        let limits = Limits::new(LimitsPolicy {
            max_connections,
            max_pending,
            ..LimitsPolicy::default()
        });
        let connections = Connections::new(max_connections);
        Self {
            streams: Arc::new(Streams::new(Arc::new(limits), Arc::new(connections))),
            made: Arc::default(),
        }
    }

    fn enter_on(&self, terms: Terms, key: StreamKey) -> Admission {
        let maker = self.made.clone();
        self.streams.enter(key, Recipe { maker, terms }, false)
    }

    fn enter(&self) -> Admission {
        self.enter_on(TERMS, key(1))
    }

    fn stream(&self) -> Stream {
        stream(self.enter())
    }

    /// Makes the oldest connection that is to be made. Its server allows so many streams.
    async fn make(&self, allowed: usize) -> Open {
        let (shared, on_end) = self.made.0.lock().unwrap().pop_front().unwrap();
        let admitted = self.streams.connections.admit(&shared.connection, true);
        let mut open = admitted.await;
        open.on_end(on_end);
        shared.is_made(connected(allowed).await);
        shared.heard.send_replace(true);
        open
    }

    fn is_clean(&self) -> bool {
        let limits = &self.streams.limits;
        let pools = self.streams.pools();
        (limits.active_connections(), limits.pending()) == (0, 0)
            && pools.by_key.is_empty()
            && pools.by_address.is_empty()
    }
}

/// A connection of the protocol, to a server that accepts everything and answers nothing.
async fn connected(allowed: usize) -> ConnectionRef {
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let mut server = h2::server::handshake(far).await.unwrap();
        while let Some(Ok(request)) = server.accept().await {
            std::mem::forget(request);
        }
    });
    let (sender, connection) = h2::client::Builder::new()
        .initial_max_send_streams(allowed)
        .handshake(near)
        .await
        .unwrap();
    tokio::spawn(connection);
    let (_, closed) = watch::channel(false);
    let silent = Arc::new(AtomicBool::new(false));
    ConnectionRef::new(sender, closed, silent, 0, allowed, Digest::default())
}

fn key(port: u16) -> StreamKey {
    StreamKey {
        address: EndpointAddr::Tcp(([127, 0, 0, 1], port).into()),
        group: 0,
        occasion: Occasion::default(),
    }
}

/// Of the same endpoint, dialled in another way.
fn other_group(port: u16) -> StreamKey {
    StreamKey {
        group: 1,
        ..key(port)
    }
}

#[track_caller]
fn stream(admission: Admission) -> Stream {
    match admission {
        Admission::Stream(stream) => stream,
        other => panic!("no stream: {other:?}"),
    }
}

#[track_caller]
fn wait(admission: Admission) -> Wait {
    match admission {
        Admission::Wait(wait) => wait,
        other => panic!("no wait: {other:?}"),
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn ready<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

fn same(one: &Stream, other: &Stream) -> bool {
    Arc::ptr_eq(&one.shared, &other.shared)
}

#[tokio::test]
async fn requests_share_a_connection_until_it_is_full() {
    let world = World::new(UNLIMITED, 0);
    let first = world.stream();
    let _open = world.make(100).await;
    let (second, third) = (world.stream(), world.stream());
    assert!(same(&first, &second) && !same(&first, &third));
    assert_eq!(world.streams.limits.active_connections(), 2);
}

#[tokio::test]
async fn who_comes_while_it_is_made_waits_for_it_and_is_told_why_it_failed() {
    let world = World::new(1, 0);
    let (first, second) = (world.stream(), world.stream());
    assert!(same(&first, &second));
    let shared = second.shared.clone();
    let mut session = pin!(shared.session());
    assert!(poll(session.as_mut()).is_pending());
    let (making, on_end) = world.made.0.lock().unwrap().pop_front().unwrap();
    making.has_failed(DialError::Refused);
    on_end();
    let error = session.await.err().unwrap();
    assert!(matches!(error.root(), DialError::Refused));
    // Nobody joins it any more.
    let third = world.stream();
    assert!(!same(&third, &first));
    let open = world.make(100).await;
    drop((first, second, third));
    drop(open);
    assert!(world.is_clean());
}

#[tokio::test]
async fn beyond_the_limit_there_is_a_queue_and_then_nothing() {
    let world = World::new(1, 1);
    let first = world.stream();
    let _open = world.make(100).await;
    let _second = world.stream();
    let mut waits = pin!(wait(world.enter()).stream());
    assert_eq!(world.streams.limits.pending(), 1);
    assert!(matches!(world.enter(), Admission::Overflow));
    assert!(poll(waits.as_mut()).is_pending());
    let shared = first.shared.clone();
    drop(first);
    let third = ready(waits);
    assert!(Arc::ptr_eq(&third.shared, &shared));
    assert_eq!(world.streams.limits.pending(), 0);
}

#[tokio::test]
async fn room_goes_to_the_next_when_the_first_in_line_has_left() {
    let world = World::new(1, 9);
    let first = world.stream();
    let open = world.make(100).await;
    let second = world.stream();
    let left = wait(world.enter());
    let leaves_late = wait(world.enter());
    let stays = wait(world.enter());
    drop(left);
    drop(second);
    // The room is on its way to one who leaves before it arrives.
    drop(leaves_late);
    drop(ready(stays.stream()));
    drop(first);
    drop(open);
    assert!(world.is_clean());
}

#[tokio::test]
async fn an_idle_connection_leaves_its_slot_to_others_and_is_found_again() {
    let world = World::new(1, 0);
    let first = world.stream();
    let _open = world.make(100).await;
    let shared = first.shared.clone();
    drop(first);
    assert_eq!(world.streams.limits.active_connections(), 0);
    let again = world.stream();
    assert!(Arc::ptr_eq(&again.shared, &shared));
    assert_eq!(world.streams.limits.active_connections(), 1);
}

/// Somebody in HTTP/1 has a slot, and the connection that is idle for an instant is his.
#[tokio::test]
async fn an_idle_connection_is_not_taken_from_who_waits_for_its_end() {
    let world = World::new(1, 9);
    let first = world.stream();
    let open = world.make(100).await;
    let connections = &world.streams.connections;
    let other = connections.prepare(&key(1).address, Lifetime::default());
    let mut admitted = pin!(connections.admit(&other, false));
    assert!(poll(admitted.as_mut()).is_pending());
    drop(first);
    let _slot = world.streams.limits.enter();
    let _waits = wait(world.enter());
    assert!(poll(admitted.as_mut()).is_pending());
    assert!(open.connection().shall_end(Waker::noop()));
    drop(open);
    assert!(poll(admitted.as_mut()).is_ready());
}

/// Of another host of the endpoint, or in HTTP/1.
#[tokio::test]
async fn a_connection_that_is_never_idle_is_left_to_who_has_waited_longest() {
    let world = World::new(1, 99);
    let mut used = VecDeque::from([world.stream()]);
    let _open = world.make(100).await;
    let mut other = pin!(wait(world.enter_on(TERMS, other_group(1))).stream());
    assert!(poll(other.as_mut()).is_pending());
    let mut served = 0;
    while let Admission::Stream(stream) = world.enter() {
        used.push_back(stream);
        used.pop_front();
        served += 1;
    }
    assert_eq!(served, TERMS.streams);
    used.clear();
    drop(ready(other));
}

/// As from Envoy.
#[tokio::test]
async fn an_endpoint_without_a_connection_gets_one_whatever_others_have() {
    let world = World::new(1, 0);
    let _first = world.stream();
    let _open = world.make(100).await;
    let _other = stream(world.enter_on(TERMS, key(2)));
    let _other = world.make(100).await;
    assert_eq!(world.streams.limits.active_connections(), 2);
}

/// However many keys there are: clients may choose them.
#[tokio::test]
async fn one_connection_to_an_endpoint_is_enough_not_to_starve() {
    let world = World::new(1, 0);
    let _first = world.stream();
    let other = world.enter_on(TERMS, other_group(1));
    assert!(matches!(other, Admission::Overflow));
    let _open = world.make(100).await;
    let other = world.enter_on(TERMS, other_group(1));
    assert!(matches!(other, Admission::Overflow));
}

#[tokio::test]
async fn who_waits_for_a_connection_that_ends_gets_another() {
    let world = World::new(1, 2);
    let first = world.stream();
    let open = world.make(100).await;
    let _second = world.stream();
    let waits = wait(world.enter());
    let waits_elsewhere = wait(world.enter_on(TERMS, other_group(1)));
    drop(open);
    let other = ready(waits.stream());
    assert!(!same(&other, &first));
    drop(waits_elsewhere);
}

/// The end of a connection under one key leaves the endpoint without any.
#[tokio::test]
async fn who_waits_under_another_key_gets_a_connection_when_the_last_one_ends() {
    let world = World::new(1, 2);
    let _first = world.stream();
    let open = world.make(100).await;
    let _elsewhere = stream(world.enter_on(TERMS, key(2)));
    let _open_elsewhere = world.make(100).await;
    let waits = wait(world.enter_on(TERMS, other_group(1)));
    drop(open);
    drop(ready(waits.stream()));
}

#[tokio::test]
async fn after_so_many_requests_a_connection_gets_no_more() {
    let world = World::new(UNLIMITED, 0);
    let terms = Terms {
        requests: Some(2),
        ..TERMS
    };
    let first = stream(world.enter_on(terms, key(1)));
    let open = world.make(100).await;
    let shared = first.shared.clone();
    drop(first);
    drop(stream(world.enter_on(terms, key(1))));
    assert!(open.connection().shall_end(Waker::noop()));
    let next = stream(world.enter_on(terms, key(1)));
    assert!(!Arc::ptr_eq(&next.shared, &shared));
}

#[tokio::test]
async fn a_slot_that_comes_to_one_who_waited_costs_one_request() {
    let world = World::new(1, 9);
    let terms = Terms {
        requests: Some(2),
        ..TERMS
    };
    let slot = world.streams.limits.enter();
    // Otherwise the endpoint would starve.
    let there = world
        .streams
        .connections
        .prepare(&key(1).address, Lifetime::default());
    let _there = world.streams.connections.admit(&there, true).await;
    let waits = wait(world.enter_on(terms, key(1)));
    drop(slot);
    let first = ready(waits.stream());
    let second = stream(world.enter_on(terms, key(1)));
    assert!(same(&first, &second));
}

#[tokio::test]
async fn a_server_that_allows_fewer_gets_fewer() {
    let world = World::new(UNLIMITED, 0);
    let terms = Terms {
        streams: 100,
        ..TERMS
    };
    let first = stream(world.enter_on(terms, key(1)));
    let _open = world.make(1).await;
    let _session = first.shared.session().await.unwrap();
    let other = stream(world.enter_on(terms, key(1)));
    assert!(!same(&first, &other));
    // It is known of the next connection before its server has said so.
    let third = stream(world.enter_on(terms, key(1)));
    assert!(!same(&other, &third));
}

#[tokio::test]
async fn a_limit_that_changes_counts_for_who_waits() {
    let world = World::new(1, 9);
    let first = world.stream();
    let _open = world.make(100).await;
    let _second = world.stream();
    let waits = wait(world.enter());
    let wider = Terms {
        streams: 4,
        ..TERMS
    };
    // There is room now for who waits, and then for who comes.
    let late = stream(world.enter_on(wider, key(1)));
    let served = ready(waits.stream());
    assert!(same(&first, &late) && same(&first, &served));
    let _waits = wait(world.enter_on(wider, key(1)));
}

#[tokio::test]
async fn a_repeat_leaves_idle_connections_alone() {
    let world = World::new(UNLIMITED, 0);
    let first = world.stream();
    let open = world.make(100).await;
    let shared = first.shared.clone();
    drop(first);
    let maker = world.made.clone();
    let recipe = Recipe {
        maker,
        terms: TERMS,
    };
    let again = stream(world.streams.enter(key(1), recipe, true));
    assert!(!Arc::ptr_eq(&again.shared, &shared));
    assert!(open.connection().shall_end(Waker::noop()));
}

/// Bounded memory, although hosts and clients may be part of a key.
#[tokio::test]
async fn nothing_is_kept_of_keys_without_connections() {
    let world = World::new(1, 9);
    let first = world.stream();
    let open = world.make(100).await;
    drop(wait(world.enter_on(TERMS, other_group(1))));
    drop(first);
    assert_eq!(world.streams.pools().by_key.len(), 1);
    drop(open);
    assert!(world.is_clean());
}

/// Streams are handed over between threads, and none is lost on the way.
#[test]
fn no_wake_up_is_lost_between_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = Arc::new(World::new(2, UNLIMITED));
        let mut open = Vec::new();
        let mut held = Vec::new();
        for port in [1, 2] {
            held.push(stream(world.enter_on(TERMS, key(port))));
            open.push(world.make(100).await);
        }
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..400 {
            let world = world.clone();
            asking.spawn(async move {
                let stream = match world.enter_on(TERMS, key(1 + number % 2)) {
                    Admission::Stream(stream) => stream,
                    Admission::Wait(wait) => wait.stream().await,
                    Admission::Overflow => panic!("there is no limit"),
                };
                tokio::task::yield_now().await;
                drop(stream);
            });
        }
        let all = tokio::time::timeout(Duration::from_secs(20), asking.join_all());
        all.await.expect("nobody waits for ever");
        drop((held, open));
        assert!(world.is_clean());
    });
}
