//! Names that are looked up because a request waits for them.

mod cache;
mod flight;
mod known;

use crate::Settings;
use crate::lookup::Lookup;
use crate::stats::{Counters, Stats};
use crate::unresolved::Unresolved;
use cache::{Cache, Room};
use flight::{Flight, Waiting};
use known::{Addresses, Answer, Known, Told};
use model::Hostname;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How many names are looked up at a time; the others wait for their turn.
const MAX_IN_FLIGHT: usize = 64;

/// How many names are looked up or wait for it. More are refused at once, so that clients that ask for ever new names
/// take up no more than this, even when they do not wait for the answers.
const MAX_WANTED: usize = 1024;

/// Looks names up when they are asked for, each once for all who ask, and remembers what was found.
pub(crate) struct Demand<L> {
    lookup: L,
    settings: Settings,
    turns: Semaphore,
    counters: Counters,
    names: Mutex<Names>,
}

struct Names {
    cache: Cache,
    flights: HashMap<Hostname, Waiting>,
}

/// What becomes of a request.
enum Step<L: Lookup> {
    Told(Told),
    Refused(Told),
    Wait(Waiting, Option<Addresses>),
    Begin(Flight<L>, Waiting, Option<Addresses>),
}

impl<L: Lookup> Demand<L> {
    pub(crate) fn new(lookup: L, settings: Settings) -> Self {
        let names = Names {
            cache: Cache::new(settings.cache_size),
            flights: HashMap::new(),
        };
        Self {
            lookup,
            settings,
            turns: Semaphore::new(MAX_IN_FLIGHT),
            counters: Counters::default(),
            names: Mutex::new(names),
        }
    }

    pub(crate) async fn resolve(self: &Arc<Self>, name: &Hostname) -> Answer {
        let Counters { hits, misses, .. } = &self.counters;
        match self.step(name) {
            Step::Told(told) => self.count(told, hits),
            Step::Refused(told) => self.count(told, misses),
            Step::Wait(waiting, usable) => self.count(waiting.told(usable).await, misses),
            Step::Begin(flight, waiting, usable) => {
                tokio::spawn(flight.run());
                self.count(waiting.told(usable).await, misses)
            }
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let entries = self.names().cache.len();
        self.counters.stats(entries)
    }

    /// Nothing is begun here: what ends at once, as in a runtime that ends, would wait for the lock.
    fn step(self: &Arc<Self>, name: &Hostname) -> Step<L> {
        let now = Instant::now();
        let mut names = self.names();
        let Names { cache, flights } = &mut *names;
        let known = cache.touch(name);
        if let Some(known) = known.filter(|known| !known.is_due(now)) {
            return Step::Told(known.told(now));
        }
        let usable = known.and_then(|known| known.usable(now));
        if let Some(waiting) = flights.get(name) {
            return Step::Wait(waiting.clone(), usable);
        }
        if flights.len() >= MAX_WANTED {
            return Step::Refused(Told::failed(usable, Unresolved::Busy));
        }
        let (flight, waiting) = Flight::new(Arc::clone(self), name.clone(), known.cloned(), now);
        flights.insert(name.clone(), waiting.clone());
        Step::Begin(flight, waiting, usable)
    }

    fn count(&self, told: Told, otherwise: &AtomicU64) -> Answer {
        let counter = if told.is_stale {
            &self.counters.stale
        } else {
            otherwise
        };
        counter.fetch_add(1, Relaxed);
        told.answer
    }

    /// A look-up came to this. Returns what those who wait for it are told.
    fn learn(&self, name: &Hostname, known: Known) -> Told {
        let now = Instant::now();
        if known.is_failed() {
            self.counters.failures.fetch_add(1, Relaxed);
        }
        let told = known.told(now);
        if self.names().cache.insert(name, known, now) == Room::Evicted {
            self.counters.evictions.fetch_add(1, Relaxed);
        }
        told
    }

    /// A look-up is over.
    fn end(&self, name: &Hostname) {
        self.names().flights.remove(name);
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
