//! The way to a connection: slots, and a queue before them.

use super::{Limits, UNLIMITED};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What came of asking for a connection.
#[derive(Debug)]
pub enum Entry {
    /// There may be one.
    Slot(Slot),
    /// There are as many as there may be, and a place in the queue.
    Wait(Waiting),
    /// There is no place in the queue either.
    Overflow,
}

/// A connection that there may be. It counts as long as this exists.
#[derive(Debug)]
pub struct Slot(Arc<Limits>);

/// A place in the queue. It is given up when this is dropped.
///
/// As a future it resolves when there is a connection, and nobody has waited longer.
#[derive(Debug)]
pub struct Waiting {
    limits: Arc<Limits>,
    ticket: u64,
    claimed: bool,
}

/// Slots in use, and who waits for one.
pub(super) struct Gate {
    active: AtomicU32,
    /// As many as stand in the queue.
    pending: AtomicU32,
    max_connections: AtomicU32,
    /// Whether requests have to be noted in a window of time.
    has_windows: AtomicBool,
    queue: Mutex<Queue>,
}

struct Queue {
    max_pending: u32,
    next: u64,
    /// The longest wait first.
    places: VecDeque<Place>,
}

struct Place {
    ticket: u64,
    /// Whom to tell when it comes to be the first and there is a slot. Absent: nobody has asked.
    waker: Option<Waker>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            active: AtomicU32::new(0),
            pending: AtomicU32::new(0),
            max_connections: AtomicU32::new(UNLIMITED),
            has_windows: AtomicBool::new(false),
            queue: Mutex::new(Queue {
                max_pending: UNLIMITED,
                next: 0,
                places: VecDeque::new(),
            }),
        }
    }

    pub(super) fn set(&self, max_connections: u32, max_pending: u32) {
        let mut queue = self.queue();
        queue.max_pending = max_pending;
        self.max_connections.store(max_connections, SeqCst);
        drop(queue);
        self.wake_next();
    }

    pub(super) fn set_windows(&self, has_windows: bool) {
        self.has_windows.store(has_windows, Relaxed);
    }

    pub(super) fn has_windows(&self) -> bool {
        self.has_windows.load(Relaxed)
    }

    pub(super) fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    pub(super) fn pending(&self) -> u32 {
        self.pending.load(Relaxed)
    }

    /// Who has waited longest.
    pub(super) fn first(&self) -> Option<u64> {
        if self.pending.load(SeqCst) == 0 {
            return None;
        }
        self.queue().places.front().map(|place| place.ticket)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot, if there is one. To be called with the queue locked where there is a limit.
    fn take(&self) -> bool {
        let limit = self.max_connections.load(SeqCst);
        let more = |active| (limit == UNLIMITED || active < limit).then(|| active + 1);
        self.active.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    fn free(&self) {
        self.active.fetch_sub(1, SeqCst);
        self.wake_next();
    }

    /// Tells the first in the queue, if somebody stands there, that there may be a slot.
    fn wake_next(&self) {
        if self.pending.load(SeqCst) == 0 {
            return;
        }
        let mut queue = self.queue();
        let waker = queue
            .places
            .front_mut()
            .and_then(|place| place.waker.take());
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Asks for a connection. Who comes now does not overtake who waits.
pub(super) fn enter(limits: &Arc<Limits>) -> Entry {
    let gate = &limits.gate;
    if gate.max_connections.load(Relaxed) == UNLIMITED && gate.pending.load(Relaxed) == 0 {
        gate.active.fetch_add(1, SeqCst);
        return Entry::Slot(Slot(limits.clone()));
    }
    let mut queue = gate.queue();
    if queue.places.is_empty() && gate.take() {
        return Entry::Slot(Slot(limits.clone()));
    }
    if queue.places.len() >= queue.max_pending as usize {
        return Entry::Overflow;
    }
    let ticket = queue.next;
    queue.next += 1;
    queue.places.push_back(Place {
        ticket,
        waker: None,
    });
    gate.pending.fetch_add(1, SeqCst);
    Entry::Wait(Waiting {
        limits: limits.clone(),
        ticket,
        claimed: false,
    })
}

/// Takes a connection, beyond the limit too.
pub(super) fn enter_anyway(limits: &Arc<Limits>) -> Slot {
    limits.gate.active.fetch_add(1, SeqCst);
    Slot(limits.clone())
}

impl Waiting {
    /// Its number: who has waited longer has a lower one.
    pub fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Takes a slot when there is one and nobody has waited longer.
    ///
    /// # Errors
    ///
    /// Gives itself back when there is none.
    pub fn claim(mut self) -> Result<Slot, Self> {
        self.take(None).ok_or(self)
    }

    /// `waker`: whom to tell when it is worth trying again.
    fn take(&mut self, waker: Option<&Waker>) -> Option<Slot> {
        let limits = self.limits.clone();
        let gate = &limits.gate;
        let mut queue = gate.queue();
        let is_first = queue.places.front().map(|place| place.ticket) == Some(self.ticket);
        if !is_first || !gate.take() {
            let mut places = queue.places.iter_mut();
            if let Some(own) = places.find(|place| place.ticket == self.ticket) {
                own.waker = waker.cloned();
            }
            return None;
        }
        queue.places.pop_front();
        gate.pending.fetch_sub(1, SeqCst);
        self.claimed = true;
        drop(queue);
        // There may be another one.
        gate.wake_next();
        Some(Slot(limits))
    }
}

impl Future for Waiting {
    type Output = Slot;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Slot> {
        match self.take(Some(cx.waker())) {
            Some(slot) => Poll::Ready(slot),
            None => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.claimed {
            return;
        }
        let gate = &self.limits.gate;
        let mut queue = gate.queue();
        queue.places.retain(|place| place.ticket != self.ticket);
        gate.pending.fetch_sub(1, SeqCst);
        drop(queue);
        // It may have been told in vain.
        gate.wake_next();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.gate.free();
    }
}
