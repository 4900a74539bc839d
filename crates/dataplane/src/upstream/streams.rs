//! Which connection a request in HTTP/2 shares, who waits for one, and who makes one.
//!
//! These are not in Pingora's pool, which knows neither limits nor queues, and keeps what it has lost sight of.

mod pools;
mod session;
mod shared;
#[cfg(test)]
mod tests;

pub(crate) use session::Http2Upstream;
pub(super) use shared::Shared;
pub(crate) use shared::Stream;

use pools::{Entry, Pools};

use super::connection::{Lifetime, OnEnd};
use super::connections::Connections;
use super::way::{Occasion, Way};
use rules::EndpointAddr;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use traffic::{Limits, Slot, Waiting};

/// The connections of a cluster that requests share. It survives changes of the configuration.
#[derive(Debug)]
pub(crate) struct Streams {
    limits: Arc<Limits>,
    connections: Arc<Connections>,
    pools: Mutex<Pools>,
}

/// What requests have to have in common to share a connection.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct StreamKey {
    pub(super) address: EndpointAddr,
    /// How it is dialled: TLS, PROXY header.
    pub(super) group: u64,
    pub(super) occasion: Occasion,
}

/// How a connection is made, and what may be done with it.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(super) maker: Arc<dyn Maker>,
    pub(super) terms: Terms,
}

/// What the rules say of such connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Requests on one connection at one time.
    pub(super) streams: u32,
    /// Requests on one connection until it ends. Absent: any number.
    pub(super) requests: Option<u32>,
    pub(super) lifetime: Lifetime,
    /// Whether they are in TLS.
    pub(super) is_encrypted: bool,
    /// How often its server is asked for a sign of life. Absent: never.
    pub(super) ping_interval: Option<Duration>,
}

/// Makes connections, each on a task of its own: whoever asked for it may leave, and others may have come.
pub(super) trait Maker: std::fmt::Debug + Send + Sync {
    fn make(&self, shared: Arc<Shared>, terms: Terms, on_end: OnEnd);
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
    recipe: Recipe,
    room: oneshot::Receiver<Stream>,
    /// In the line for connections.
    place: Waiting,
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

    /// Asks for a stream. Who comes now does not overtake who waits. `fresh`: not on a connection that is idle, since one
    /// like it has just turned out to be dead.
    pub(crate) fn enter(
        self: &Arc<Self>,
        key: StreamKey,
        recipe: Recipe,
        fresh: bool,
    ) -> Admission {
        let mut pools = self.pools();
        if fresh {
            pools.leave_idle(&key);
        }
        let mut served = Deliveries::new();
        if pools.has_line(&key) {
            // There may be room for them by the rules of now.
            pools.follow(&key, &recipe);
            served = self.serve(&mut pools, &key);
        }
        let admission = self.admit(&mut pools, key, recipe);
        drop(pools);
        deliver(served);
        admission
    }

    fn admit(self: &Arc<Self>, pools: &mut Pools, key: StreamKey, recipe: Recipe) -> Admission {
        if !pools.has_line(&key)
            && let Some(stream) = self.share(pools, &key, recipe.terms)
        {
            return Admission::Stream(stream);
        }
        let slot = match self.limits.enter() {
            traffic::Entry::Slot(slot) => slot,
            _ if pools.is_starving(&key, &self.connections) => {
                let slot = self.limits.enter_anyway();
                return Admission::Stream(self.open(pools, &key, &recipe, slot, true));
            }
            traffic::Entry::Overflow => return Admission::Overflow,
            traffic::Entry::Wait(place) => {
                let pool = pools.by_key.entry(key.clone()).or_default();
                let room = pool.stand_in_line(place.ticket());
                pools.follow(&key, &recipe);
                let home = self.clone();
                return Admission::Wait(Wait {
                    home,
                    key,
                    recipe,
                    room,
                    place,
                });
            }
        };
        Admission::Stream(self.open(pools, &key, &recipe, slot, false))
    }

    /// A stream of a connection that there is.
    fn share(self: &Arc<Self>, pools: &mut Pools, key: &StreamKey, terms: Terms) -> Option<Stream> {
        let pool = pools.by_key.get_mut(key)?;
        let first = self.limits.first_in_line();
        let is_ours = |ticket| pool.queue.front().is_some_and(|(own, _)| *own == ticket);
        // For a connection, or with a slot already for one to end.
        let others_wait =
            first.is_some_and(|ticket| !is_ours(ticket)) || self.connections.are_wanted();
        let said = pool.open.iter().find_map(|entry| entry.shared.learned());
        pool.learned = said.or(pool.learned);
        let expected = pool.learned.unwrap_or(u32::MAX);
        let has_room = |entry: &&mut Entry| {
            let has_turn = entry.slot.is_some() && entry.overdrawn < terms.streams;
            (has_turn || !others_wait) && entry.shared.try_share(terms, expected)
        };
        let entry = pool.open.iter_mut().find(has_room)?;
        entry.overdrawn = match others_wait {
            true => entry.overdrawn + 1,
            false => 0,
        };
        // It is open, and so within the limit of connections.
        entry.slot.get_or_insert_with(|| self.limits.enter_anyway());
        Some(Stream::new(&entry.shared, self.clone(), key.clone()))
    }

    /// The first stream of a connection that is made from now on. `anyway`: whatever the limit says.
    fn open(
        self: &Arc<Self>,
        pools: &mut Pools,
        key: &StreamKey,
        recipe: &Recipe,
        slot: Slot,
        anyway: bool,
    ) -> Stream {
        let terms = recipe.terms;
        let connection = self.connections.prepare(&key.address, terms.lifetime);
        connection.count_shared(terms.requests);
        let shared = Arc::new(Shared::new(connection, terms, anyway));
        pools.add(
            key,
            Entry {
                shared: shared.clone(),
                slot: Some(slot),
                overdrawn: 0,
            },
        );
        let (home, of) = (self.clone(), key.clone());
        let on_end = Arc::new(move || home.forget(&of));
        recipe.maker.make(shared.clone(), terms, on_end);
        Stream::new(&shared, self.clone(), key.clone())
    }

    /// Streams for those who wait for this key, as far as there is room.
    fn serve(self: &Arc<Self>, pools: &mut Pools, key: &StreamKey) -> Deliveries {
        let mut served = Deliveries::new();
        while pools.has_line(key)
            && let Some(recipe) = pools.recipe(key)
        {
            let stream = match self.share(pools, key, recipe.terms) {
                Some(stream) => stream,
                None if pools.is_starving(key, &self.connections) => {
                    let slot = self.limits.enter_anyway();
                    self.open(pools, key, &recipe, slot, true)
                }
                None => break,
            };
            let pool = pools.by_key.get_mut(key);
            if let Some((_, first)) = pool.and_then(|pool| pool.queue.pop_front()) {
                served.push((first, stream));
            }
        }
        served
    }

    /// A stream has ended, and may make room for another.
    fn release(self: &Arc<Self>, stream: &Stream) {
        let mut pools = self.pools();
        stream.shared.connection.end_share();
        pools.retain_open(&stream.key);
        let served = self.serve(&mut pools, &stream.key);
        let idle = pools.rest(&stream.key, &stream.shared);
        pools.tidy(&stream.key);
        drop(pools);
        drop(idle);
        deliver(served);
    }

    /// A connection has ended, or could not be made. Others to its endpoint may have been waited for because of it.
    fn forget(self: &Arc<Self>, key: &StreamKey) {
        let mut pools = self.pools();
        pools.retain_open(key);
        let mut served = self.serve(&mut pools, key);
        for waiting in pools.waiting_for(&key.address) {
            served.extend(self.serve(&mut pools, &waiting));
        }
        pools.tidy(key);
        drop(pools);
        deliver(served);
    }

    /// There is a slot for one who waited.
    fn open_for(self: &Arc<Self>, key: &StreamKey, recipe: &Recipe, slot: Slot) -> Stream {
        let mut pools = self.pools();
        let stream = self.open(&mut pools, key, recipe, slot, false);
        let served = self.serve(&mut pools, key);
        drop(pools);
        deliver(served);
        stream
    }

    /// Who waits for this key may have waited longest now, and have been kept from a connection with room until then.
    fn look_again(self: &Arc<Self>, key: &StreamKey) {
        let mut pools = self.pools();
        let served = self.serve(&mut pools, key);
        drop(pools);
        deliver(served);
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn deliver(served: Deliveries) {
    for (waiting, stream) in served {
        // Who has left gives it back, and so to the next.
        drop(waiting.send(stream));
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.room.close();
        self.home.pools().tidy(&self.key);
    }
}

impl Wait {
    /// A stream, as soon as there is one and nobody has waited longer for it.
    pub(crate) async fn stream(mut self) -> Stream {
        let Self {
            home,
            key,
            recipe,
            room,
            place,
        } = &mut self;
        let slot = poll_fn(|cx| {
            let slot = Pin::new(&mut *place).poll(cx);
            // The first in line is woken when he has become it.
            if slot.is_pending() && home.limits.first_in_line() == Some(place.ticket()) {
                home.look_again(key);
            }
            slot
        });
        let slot = tokio::select! {
            biased;
            Ok(stream) = &mut *room => return stream,
            slot = slot => slot,
        };
        room.close();
        match room.try_recv() {
            Ok(stream) => stream,
            Err(_) => home.open_for(key, recipe, slot),
        }
    }
}

impl Way {
    /// How requests that go this way share connections.
    pub(super) fn recipe(self: &Arc<Self>, terms: Terms) -> Recipe {
        Recipe {
            maker: self.clone(),
            terms,
        }
    }
}
