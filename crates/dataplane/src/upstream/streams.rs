//! Which connection a request in HTTP/2 shares, who waits for one, and who makes one.
//!
//! Pingora's pool takes a connection out while it begins a stream, so that whoever looks for it at that moment makes
//! another one. Here each connection has a key of its own in that pool, and requests look it up in turns.

mod shared;
#[cfg(test)]
mod tests;

use shared::Shared;
pub(crate) use shared::Stream;

use super::connections::Connections;
use super::way::Occasion;
use ahash::HashMap;
use rules::EndpointAddr;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use traffic::{Limits, Slot, Waiting};

/// As many that gave up waiting may stand in a queue before it is looked through.
const FEW: usize = 64;

/// The connections of a cluster that requests share. It survives changes of the configuration.
#[derive(Debug)]
pub(crate) struct Streams {
    limits: Arc<Limits>,
    connections: Arc<Connections>,
    pools: Mutex<HashMap<StreamKey, Pool>>,
}

/// What requests have to have in common to share a connection.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct StreamKey {
    pub(super) address: EndpointAddr,
    /// How it is dialled: TLS, PROXY header.
    pub(super) group: u64,
    pub(super) occasion: Occasion,
    pub(super) side: Side,
}

/// Whose requests they are. Each side has a pool of Pingora's own.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Side {
    /// Of clients.
    #[default]
    Clients,
    /// Copies of them.
    Mirrors,
}

/// What the rules say of such connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Requests on one connection at one time.
    pub(super) streams: u32,
    /// Requests on one connection until it ends. Absent: any number.
    pub(super) requests: Option<u32>,
    /// How long it may be used. Absent: for ever.
    pub(super) lifetime: Option<Duration>,
}

/// What came of asking for a stream.
#[derive(Debug)]
pub(crate) enum Admission {
    /// On a connection that there is, or is to be made.
    Stream(Stream),
    /// All are full and there may be no more of them, but there is a place in the queue.
    Wait(Wait),
    /// There is no place in the queue either.
    Overflow,
}

/// A place in the queue. It is given up when this is dropped.
#[derive(Debug)]
pub(crate) struct Wait {
    home: Arc<Streams>,
    key: StreamKey,
    terms: Terms,
    room: oneshot::Receiver<Stream>,
    place: Waiting,
}

/// The connections of one key, by age.
#[derive(Debug, Default)]
struct Pool {
    open: Vec<Entry>,
    queue: VecDeque<oneshot::Sender<Stream>>,
    /// How long the queue gets before it is looked through for those who gave up.
    look_through_at: usize,
}

#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    /// How many requests the server was found to allow, if fewer than the rules.
    capacity: u32,
    /// Counts it as in use. Absent: it is idle.
    slot: Option<Slot>,
}

/// Streams for those who wait, to be handed over when nothing is locked: one who has left drops it, and locks.
type Deliveries = Vec<(oneshot::Sender<Stream>, Stream)>;

impl Streams {
    pub(super) fn new(limits: Arc<Limits>, connections: Arc<Connections>) -> Self {
        Self {
            limits,
            connections,
            pools: Mutex::default(),
        }
    }

    /// Asks for a stream. Who comes now does not overtake who waits: there is no room while somebody does.
    pub(crate) fn enter(self: &Arc<Self>, key: StreamKey, terms: Terms) -> Admission {
        let mut pools = self.pools();
        if let Some(pool) = pools.get_mut(&key)
            && let Some(stream) = self.share(pool, &key, terms)
        {
            return Admission::Stream(stream);
        }
        let slot = match self.limits.enter() {
            traffic::Entry::Slot(slot) => slot,
            _ if self.is_starving(pools.get(&key), &key) => self.limits.enter_anyway(),
            traffic::Entry::Overflow => return Admission::Overflow,
            traffic::Entry::Wait(place) => {
                let room = pools.entry(key.clone()).or_default().stand_in_line();
                let home = self.clone();
                return Admission::Wait(Wait {
                    home,
                    key,
                    terms,
                    room,
                    place,
                });
            }
        };
        let pool = pools.entry(key.clone()).or_default();
        Admission::Stream(self.open(pool, &key, terms, slot))
    }

    /// A stream of a connection that there is.
    fn share(self: &Arc<Self>, pool: &mut Pool, key: &StreamKey, terms: Terms) -> Option<Stream> {
        let has_room = |entry: &&mut Entry| {
            let room = terms.streams.min(entry.capacity);
            let connection = &entry.shared.connection;
            !entry.shared.is_gone() && connection.try_share(room, terms.requests)
        };
        let entry = pool.open.iter_mut().find(has_room)?;
        // It is open, and so within the limit.
        entry.slot.get_or_insert_with(|| self.limits.enter_anyway());
        Some(Stream::joining(
            &entry.shared,
            self.clone(),
            key.clone(),
            terms,
        ))
    }

    /// The first stream of a connection that is to be made.
    fn open(
        self: &Arc<Self>,
        pool: &mut Pool,
        key: &StreamKey,
        terms: Terms,
        slot: Slot,
    ) -> Stream {
        let connection = self.connections.prepare(&key.address, terms.lifetime);
        connection.count_shared(terms.requests);
        let shared = Arc::new(Shared::new(connection));
        pool.open.push(Entry {
            shared: shared.clone(),
            capacity: u32::MAX,
            slot: Some(slot),
        });
        Stream::making(&shared, self.clone(), key.clone(), terms)
    }

    /// As from Envoy, an endpoint without a connection gets one, whatever others have.
    fn is_starving(&self, pool: Option<&Pool>, key: &StreamKey) -> bool {
        pool.is_none_or(|pool| pool.open.is_empty()) && !self.connections.lead_to(&key.address)
    }

    /// Streams for those who wait for this key, as far as there is room.
    fn serve(self: &Arc<Self>, pool: &mut Pool, key: &StreamKey, terms: Terms) -> Deliveries {
        let mut served = Deliveries::new();
        while let Some(first) = pool.queue.front() {
            if first.is_closed() {
                pool.queue.pop_front();
                continue;
            }
            let stream = match self.share(pool, key, terms) {
                Some(stream) => stream,
                None if self.is_starving(Some(pool), key) => {
                    self.open(pool, key, terms, self.limits.enter_anyway())
                }
                None => break,
            };
            if let Some(first) = pool.queue.pop_front() {
                served.push((first, stream));
            }
        }
        served
    }

    /// A stream has ended, and may make room for another.
    fn release(self: &Arc<Self>, stream: &Stream) {
        let mut pools = self.pools();
        stream.shared.connection.end_share();
        let mut idle = None;
        let mut served = Deliveries::new();
        if let Some(pool) = pools.get_mut(&stream.key) {
            pool.open.retain(Entry::goes_on);
            served = self.serve(pool, &stream.key, stream.terms);
            idle = pool.rest(&stream.shared);
            if pool.is_empty() {
                pools.remove(&stream.key);
            }
        }
        drop(pools);
        drop(idle);
        deliver(served);
    }

    /// A connection has ended.
    fn forget(self: &Arc<Self>, key: &StreamKey, terms: Terms) {
        let mut pools = self.pools();
        let Some(pool) = pools.get_mut(key) else {
            return;
        };
        pool.open.retain(Entry::goes_on);
        let served = self.serve(pool, key, terms);
        if pool.is_empty() {
            pools.remove(key);
        }
        drop(pools);
        deliver(served);
    }

    /// The connection could not be found although nobody else was looking for it: the server allows no more than there
    /// are on it, or it is about to end.
    fn shrink(&self, stream: &Stream) {
        let mut pools = self.pools();
        let others = stream.shared.connection.uses() - 1;
        let entry = pools.get_mut(&stream.key);
        let entry = entry.and_then(|pool| pool.entry(&stream.shared));
        match entry {
            Some(entry) if others > 0 => entry.capacity = others,
            _ => stream.shared.connection.leave(),
        }
    }

    /// There is a slot for one who waited.
    fn open_for(self: &Arc<Self>, key: &StreamKey, terms: Terms, slot: Slot) -> Stream {
        let mut pools = self.pools();
        let pool = pools.entry(key.clone()).or_default();
        let stream = self.open(pool, key, terms, slot);
        let served = self.serve(pool, key, terms);
        drop(pools);
        deliver(served);
        stream
    }

    fn pools(&self) -> MutexGuard<'_, HashMap<StreamKey, Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn deliver(served: Deliveries) {
    for (waiting, stream) in served {
        // Who has left gives it back, and so to the next.
        drop(waiting.send(stream));
    }
}

impl Pool {
    fn stand_in_line(&mut self) -> oneshot::Receiver<Stream> {
        if self.queue.len() >= self.look_through_at.max(FEW) {
            self.queue.retain(|waiting| !waiting.is_closed());
            self.look_through_at = 2 * self.queue.len();
        }
        let (sender, room) = oneshot::channel();
        self.queue.push_back(sender);
        room
    }

    fn entry(&mut self, shared: &Arc<Shared>) -> Option<&mut Entry> {
        let mut open = self.open.iter_mut();
        open.find(|entry| Arc::ptr_eq(&entry.shared, shared))
    }

    /// The slot of a connection on which there is nobody any more.
    fn rest(&mut self, shared: &Arc<Shared>) -> Option<Slot> {
        let entry = self.entry(shared)?;
        match entry.shared.connection.is_idle() {
            true => entry.slot.take(),
            false => None,
        }
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.queue.iter().all(oneshot::Sender::is_closed)
    }
}

impl Entry {
    /// Whether it is in use, or may be again.
    fn goes_on(&self) -> bool {
        let connection = &self.shared.connection;
        let is_ending = connection.is_idle() && connection.is_leaving();
        !connection.is_closed() && !is_ending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.room.close();
        let mut pools = self.home.pools();
        if pools.get(&self.key).is_some_and(Pool::is_empty) {
            pools.remove(&self.key);
        }
    }
}

impl Wait {
    /// A stream, as soon as there is one and nobody has waited longer for it.
    pub(crate) async fn stream(mut self) -> Stream {
        tokio::select! {
            biased;
            Ok(stream) = &mut self.room => stream,
            slot = &mut self.place => self.home.open_for(&self.key, self.terms, slot),
        }
    }
}
