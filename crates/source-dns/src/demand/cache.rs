//! A bounded number of names, and which of them is forgotten for another.

use super::known::Known;
use model::Hostname;
use std::collections::{BTreeSet, HashMap};
use std::mem;
use tokio::time::Instant;

/// How many names in a row may be spared since they were asked for; then the next is forgotten, so that no request
/// waits for a walk over all of them.
const MAX_SPARED: usize = 64;

/// Names, at most so many.
#[derive(Debug)]
pub(super) struct Cache {
    size: usize,
    places: HashMap<Hostname, usize>,
    slots: Vec<Slot>,
    /// Places by when what is there is of no use any more.
    useless: BTreeSet<(Instant, usize)>,
    /// Where a name to be forgotten is looked for next: whoever was asked for since the last time is spared once.
    /// That comes near enough to the least recently used, and being asked for costs one bit.
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    name: Hostname,
    known: Known,
    /// Not for who came in: names that are asked for once shall go before those that come again.
    was_used: bool,
}

/// Whether another name was forgotten that was still of use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Room {
    Free,
    Evicted,
}

impl Cache {
    /// Zero is one.
    pub(super) fn new(size: usize) -> Self {
        Self {
            size: size.max(1),
            places: HashMap::new(),
            slots: Vec::new(),
            useless: BTreeSet::new(),
            hand: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What is known of a name that is asked for.
    pub(super) fn touch(&mut self, name: &Hostname) -> Option<&Known> {
        let place = *self.places.get(name)?;
        let slot = &mut self.slots[place];
        slot.was_used = true;
        Some(&slot.known)
    }

    pub(super) fn insert(&mut self, name: &Hostname, known: Known, now: Instant) -> Room {
        if let Some(&place) = self.places.get(name) {
            let useless_from = known.useless_from();
            let before = mem::replace(&mut self.slots[place].known, known);
            self.useless.remove(&(before.useless_from(), place));
            self.useless.insert((useless_from, place));
            return Room::Free;
        }
        let slot = Slot {
            name: name.clone(),
            known,
            was_used: false,
        };
        if self.slots.len() < self.size {
            self.enlist(self.slots.len(), &slot);
            self.slots.push(slot);
            return Room::Free;
        }
        let (place, room) = self.victim(now);
        self.strike(place);
        self.enlist(place, &slot);
        self.slots[place] = slot;
        room
    }

    fn enlist(&mut self, place: usize, slot: &Slot) {
        self.places.insert(slot.name.clone(), place);
        self.useless.insert((slot.known.useless_from(), place));
    }

    fn strike(&mut self, place: usize) {
        let slot = &self.slots[place];
        self.places.remove(&slot.name);
        self.useless.remove(&(slot.known.useless_from(), place));
    }

    /// Where another name may be.
    fn victim(&mut self, now: Instant) -> (usize, Room) {
        match self.useless.first() {
            Some(&(from, place)) if from <= now => (place, Room::Free),
            _ => (self.little_used(), Room::Evicted),
        }
    }

    fn little_used(&mut self) -> usize {
        for _ in 0..MAX_SPARED {
            let place = self.advance();
            if !mem::take(&mut self.slots[place].was_used) {
                return place;
            }
        }
        self.advance()
    }

    fn advance(&mut self) -> usize {
        let place = self.hand;
        self.hand = (place + 1) % self.slots.len();
        place
    }
}
