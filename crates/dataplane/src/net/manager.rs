//! Listeners come, change and go with the table.

use super::Limits;
use super::bind::{Addresses, bind};
use super::listener::{ConnectionObserver, Listener, Serving};
use super::registry::Registry;
use crate::Shared;
use crate::tls::Handshakes;
use pingora_core::apps::HttpServerApp;
use rules::{ListenerKey, Table};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a port that could not be bound is tried again.
pub const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What serves the requests of all connections.
pub trait Application: HttpServerApp + Send + Sync + 'static {
    /// What connections have in common: the configuration in force, metrics, the log.
    fn shared(&self) -> &Arc<Shared>;
}

/// All listeners of the process. A socket whose listener is in the next table too is never touched.
pub struct ListenerManager<A> {
    serving: Arc<Serving<A>>,
    addresses: Addresses,
    slots: Mutex<BTreeMap<ListenerKey, Slot>>,
}

enum Slot {
    Bound(Listener),
    Failed { address: SocketAddr, error: String },
}

/// How a listener fares, for receipts and the admin page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenerStatus {
    /// The Gateway server's bind and port.
    pub key: ListenerKey,
    /// The address bound, or to be bound.
    pub address: SocketAddr,
    /// Why it is not bound. Absent: it is.
    pub error: Option<String>,
    /// Connections open on it.
    pub connections: usize,
}

impl<A: Application> ListenerManager<A> {
    /// No listener yet.
    pub fn new(
        app: Arc<A>,
        addresses: Addresses,
        limits: Limits,
        observer: Arc<dyn ConnectionObserver>,
    ) -> Self {
        let registry = Registry::new(&limits);
        let handshakes = Arc::new(Handshakes::new(&limits));
        let serving = Arc::new(Serving {
            app,
            limits,
            registry,
            observer,
            handshakes,
        });
        Self {
            serving,
            addresses,
            slots: Mutex::default(),
        }
    }

    /// Opens the listeners that are new in `table` and drains those that are gone. One that cannot
    /// be bound harms no other: its status tells why, and [`Self::retry`] tries again.
    ///
    /// Must be called within a Tokio runtime.
    pub fn apply(&self, table: &Table) -> Vec<ListenerStatus> {
        let mut slots = self.lock();
        // Dropped at the end, when those of the same address have been taken over.
        let gone: Vec<Slot> = slots
            .extract_if(.., |key, _| !table.listeners.contains_key(key))
            .map(|(_, slot)| slot)
            .collect();
        for key in table.listeners.keys() {
            if !matches!(slots.get(key), Some(Slot::Bound(_))) {
                slots.insert(*key, self.open(*key, &gone));
            }
        }
        slots.iter().map(|(key, slot)| status(key, slot)).collect()
    }

    /// Tries the failed ones again. Returns those that are bound now.
    pub fn retry(&self) -> Vec<ListenerStatus> {
        let mut slots = self.lock();
        let mut recovered = Vec::new();
        for (key, slot) in slots.iter_mut() {
            if matches!(slot, Slot::Bound(_)) {
                continue;
            }
            *slot = self.open(*key, &[]);
            if matches!(slot, Slot::Bound(_)) {
                recovered.push(status(key, slot));
            }
        }
        recovered
    }

    /// All listeners, by key.
    pub fn status(&self) -> Vec<ListenerStatus> {
        self.lock()
            .iter()
            .map(|(key, slot)| status(key, slot))
            .collect()
    }

    /// Downstream connections of all listeners, removed ones included.
    pub fn connections(&self) -> usize {
        self.serving.registry.len()
    }

    /// The process will end soon: every answer from now on is the last of its connection, while new
    /// connections are still accepted until load balancers have noticed.
    pub fn announce_end(&self) {
        for slot in self.lock().values() {
            if let Slot::Bound(listener) = slot {
                listener.announce_end();
            }
        }
    }

    /// Stops accepting, ends idle connections, and lets the others finish what they serve.
    /// Returns once none is left; bound it by a timeout.
    pub async fn drain(&self) {
        self.lock().clear();
        self.serving.registry.close_idle();
        self.serving.registry.emptied().await;
    }

    /// Opens a listener, on the socket of a listener that goes when that has the same address: closing
    /// and binding again would turn clients away in between.
    fn open(&self, key: ListenerKey, gone: &[Slot]) -> Slot {
        let address = self.addresses.of(&key);
        let inherited = gone.iter().find_map(|slot| match slot {
            Slot::Bound(listener) if listener.address() == address => Some(listener.hand_over()),
            _ => None,
        });
        let socket = inherited.map_or_else(|| bind(address).map(Arc::new), Ok);
        match socket.and_then(|socket| Listener::start(key, socket, self.serving.clone())) {
            Ok(listener) => Slot::Bound(listener),
            Err(error) => Slot::Failed {
                address,
                error: error.to_string(),
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ListenerKey, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status(key: &ListenerKey, slot: &Slot) -> ListenerStatus {
    match slot {
        Slot::Bound(listener) => ListenerStatus {
            key: *key,
            address: listener.address(),
            error: None,
            connections: listener.connections(),
        },
        Slot::Failed { address, error } => ListenerStatus {
            key: *key,
            address: *address,
            error: Some(error.clone()),
            connections: 0,
        },
    }
}
