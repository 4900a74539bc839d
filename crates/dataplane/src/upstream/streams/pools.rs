//! The connections of a cluster that requests share, and who waits for one, by what they have in common.

use super::super::connections::Connections;
use super::{Recipe, Shared, Stream, StreamKey};
use ahash::HashMap;
use rules::EndpointAddr;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot;
use traffic::Slot;

/// As many that gave up waiting may stand in a queue before it is looked through.
const FEW: usize = 64;

/// By key. A key without connections and without anybody who waits has none.
#[derive(Debug, Default)]
pub(super) struct Pools {
    pub(super) by_key: HashMap<StreamKey, Pool>,
    /// How many connections there are, or are made, by where they lead. None: no entry.
    pub(super) by_address: HashMap<EndpointAddr, usize>,
}

/// The connections of one key, by age.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub(super) open: Vec<Entry>,
    /// Each with its place in the line for connections.
    pub(super) queue: VecDeque<(u64, oneshot::Sender<Stream>)>,
    /// How who waits is served: as the last who came knows the rules. Absent: nobody has waited.
    pub(super) recipe: Option<Recipe>,
    /// How many requests the server was last known to allow on one connection.
    pub(super) learned: Option<u32>,
    /// How long the queue gets before it is looked through for those who gave up.
    look_through_at: usize,
}

/// A connection, and the slot that it holds.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) shared: Arc<Shared>,
    /// Counts it as in use. Absent: it is idle.
    pub(super) slot: Option<Slot>,
    /// Requests that it was given while somebody else waited longest for a connection. As many as fit on it at one time,
    /// and then none until it was idle: those who use it would keep it for ever otherwise.
    pub(super) overdrawn: u32,
}

impl Pools {
    pub(super) fn add(&mut self, key: &StreamKey, entry: Entry) {
        *self.by_address.entry(key.address.clone()).or_default() += 1;
        self.by_key.entry(key.clone()).or_default().open.push(entry);
    }

    /// As from Envoy, an endpoint without a connection gets one, whatever others have.
    pub(super) fn is_starving(&self, key: &StreamKey, connections: &Connections) -> bool {
        !self.by_address.contains_key(&key.address) && !connections.lead_to(&key.address)
    }

    /// Has idle connections end.
    pub(super) fn leave_idle(&mut self, key: &StreamKey) {
        let pool = self.by_key.get(key);
        let open = pool.into_iter().flat_map(|pool| &pool.open);
        for entry in open.filter(|entry| entry.slot.is_none()) {
            entry.shared.connection.leave();
        }
    }

    /// Whether somebody waits. Those who have left are passed over.
    pub(super) fn has_line(&mut self, key: &StreamKey) -> bool {
        let Some(pool) = self.by_key.get_mut(key) else {
            return false;
        };
        while let Some((_, waiting)) = pool.queue.front()
            && waiting.is_closed()
        {
            pool.queue.pop_front();
        }
        !pool.queue.is_empty()
    }

    /// Who waits does so by other rules now.
    pub(super) fn follow(&mut self, key: &StreamKey, recipe: &Recipe) {
        if let Some(pool) = self.by_key.get_mut(key) {
            pool.recipe = Some(recipe.clone());
        }
    }

    pub(super) fn recipe(&self, key: &StreamKey) -> Option<Recipe> {
        self.by_key.get(key)?.recipe.clone()
    }

    /// The keys of an endpoint for which somebody waits.
    pub(super) fn waiting_for(&self, address: &EndpointAddr) -> Vec<StreamKey> {
        let pools = self.by_key.iter();
        pools
            .filter(|(key, pool)| key.address == *address && !pool.queue.is_empty())
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Forgets connections that have ended, or will as soon as nobody looks.
    pub(super) fn retain_open(&mut self, key: &StreamKey) {
        let Some(pool) = self.by_key.get_mut(key) else {
            return;
        };
        let before = pool.open.len();
        pool.open.retain(Entry::goes_on);
        let gone = before - pool.open.len();
        if gone == 0 {
            return;
        }
        if let Some(count) = self.by_address.get_mut(&key.address) {
            *count -= gone;
            if *count == 0 {
                self.by_address.remove(&key.address);
            }
        }
    }

    /// The slot of a connection on which there is nobody any more.
    pub(super) fn rest(&mut self, key: &StreamKey, shared: &Arc<Shared>) -> Option<Slot> {
        let mut open = self.by_key.get_mut(key)?.open.iter_mut();
        let entry = open.find(|entry| Arc::ptr_eq(&entry.shared, shared))?;
        match shared.connection.is_idle() {
            true => entry.slot.take(),
            false => None,
        }
    }

    pub(super) fn tidy(&mut self, key: &StreamKey) {
        if self.by_key.get(key).is_some_and(Pool::is_empty) {
            self.by_key.remove(key);
        }
    }
}

impl Pool {
    pub(super) fn stand_in_line(&mut self, ticket: u64) -> oneshot::Receiver<Stream> {
        if self.queue.len() >= self.look_through_at.max(FEW) {
            self.queue.retain(|(_, waiting)| !waiting.is_closed());
            self.look_through_at = 2 * self.queue.len();
        }
        let (sender, room) = oneshot::channel();
        self.queue.push_back((ticket, sender));
        room
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.queue.iter().all(|(_, waiting)| waiting.is_closed())
    }
}

impl Entry {
    /// Whether it is in use, or may be again.
    pub(super) fn goes_on(&self) -> bool {
        let connection = &self.shared.connection;
        let is_ending = connection.is_idle() && connection.is_leaving();
        !self.shared.is_gone() && !is_ending
    }
}
