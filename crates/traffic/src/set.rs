//! The endpoints of a cluster with who of them is in rotation.

use crate::layout::Layout;
use crate::member::Member;
use crate::rotation::Rotation;
use crate::{Balancing, Choice, Turn};
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The endpoints of a cluster. The members are immutable, a change makes a new set around the same states; who of
/// them is in rotation follows their health by [`Self::refresh`].
#[derive(Debug)]
pub struct EndpointSet<T> {
    members: Box<[Member<T>]>,
    layout: Layout,
    balancing: Balancing,
    turn: Arc<Turn>,
    rotation: ArcSwap<Rotation>,
    /// One at a time, so that what is stored last has seen everything.
    refreshing: Mutex<()>,
}

impl<T> EndpointSet<T> {
    /// Takes the members in this order.
    pub fn new(
        members: Vec<Member<T>>,
        balancing: Balancing,
        turn: Arc<Turn>,
        now: Instant,
    ) -> Self {
        let layout = Layout::new(&members, balancing.algorithm, None);
        Self::of(members, layout, balancing, turn, now)
    }

    /// The set after this one. The round goes on, and hash tables are shared where their members are the same.
    pub fn next(&self, members: Vec<Member<T>>, balancing: Balancing, now: Instant) -> Self {
        let layout = Layout::new(&members, balancing.algorithm, Some(&self.layout));
        Self::of(members, layout, balancing, self.turn.clone(), now)
    }

    fn of(
        members: Vec<Member<T>>,
        layout: Layout,
        balancing: Balancing,
        turn: Arc<Turn>,
        now: Instant,
    ) -> Self {
        let rotation = Rotation::new(&members, &layout, &balancing, now);
        Self {
            members: members.into(),
            layout,
            balancing,
            turn,
            rotation: ArcSwap::from_pointee(rotation),
            refreshing: Mutex::default(),
        }
    }

    /// All members, those that are never selected too.
    pub fn members(&self) -> &[Member<T>] {
        &self.members
    }

    /// Has the rotation follow the health of the members, and the time while some of them warm up. Costs a look at
    /// each member when nothing changed, and a few more when something did: never a hash table, since a request may
    /// be the one that notices a failure.
    pub fn refresh(&self, now: Instant) {
        let _one = self
            .refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !self.rotation.load().is_of(&self.members) {
            let next = Rotation::new(&self.members, &self.layout, &self.balancing, now);
            self.rotation.store(Arc::new(next));
        }
    }

    /// Whether the rotation changes with time alone.
    pub fn is_warming(&self) -> bool {
        self.rotation.load().is_warming
    }

    /// Whether too few members of a priority are healthy, so that all of them take part.
    pub fn is_panicking(&self) -> bool {
        self.rotation.load().is_panicking
    }

    /// Whether a member takes requests at the moment.
    pub fn in_rotation(&self, index: usize) -> bool {
        let rotation = self.rotation.load();
        rotation.takes_part.get(index).copied().unwrap_or(false)
    }

    /// Selects a member by its index. `None`: nobody is in rotation.
    pub fn select(&self, choice: Choice<'_>, dice: &mut impl FnMut(u32) -> u32) -> Option<usize> {
        let rotation = self.rotation.load();
        self.balancing
            .select(&rotation, &self.members, &self.turn, choice, dice)
    }
}
