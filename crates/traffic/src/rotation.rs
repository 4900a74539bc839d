//! Who takes requests at the moment, and with what share. Immutable: a change of health makes a new one.

use crate::maglev::Maglev;
use crate::member::Member;
use crate::priority::{Health, Load, OVERPROVISIONING, loads};
use crate::ring::Ring;
use crate::shares::Shares;
use crate::{Algorithm, Balancing};
use std::collections::BTreeMap;
use std::time::Instant;

/// Warming members have fractions of their weights: all weights are multiplied by this while there are any.
const FINENESS: f64 = 1000.0;

/// Who takes requests at the moment.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    /// Priorities with somebody in rotation, the nearest first.
    pub(crate) levels: Vec<Level>,
    /// What they get.
    pub(crate) loads: Shares,
    /// By member.
    pub(crate) takes_part: Vec<bool>,
    /// Whether some level uses all of its members, healthy or not.
    pub(crate) is_panicking: bool,
    /// Whether somebody's share grows with time.
    pub(crate) is_warming: bool,
    /// By member: what this was made for.
    available: Vec<bool>,
}

/// A priority.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) priority: u32,
    pub(crate) groups: Vec<Group>,
    /// What the groups get.
    pub(crate) shares: Shares,
}

/// Members that share a part of a priority's traffic.
#[derive(Debug)]
pub(crate) struct Group {
    /// By index in the set.
    pub(crate) members: Vec<usize>,
    pub(crate) shares: Shares,
    pub(crate) table: Table,
}

/// How hashes are mapped to the members of a group.
#[derive(Debug)]
pub(crate) enum Table {
    None,
    Ring(Ring),
    Maglev(Maglev),
}

impl Rotation {
    pub(crate) fn new<T>(members: &[Member<T>], balancing: &Balancing, now: Instant) -> Self {
        let available: Vec<_> = members
            .iter()
            .map(|member| member.state.is_available())
            .collect();
        Self::of(members, available, balancing, now)
    }

    fn of<T>(
        members: &[Member<T>],
        available: Vec<bool>,
        balancing: &Balancing,
        now: Instant,
    ) -> Self {
        let weights = Weights::new(members, balancing, now);
        let priorities = by_priority(members);
        let health: Vec<_> = priorities
            .values()
            .map(|members| health(members, &available))
            .collect();
        let loads = loads(&health, balancing.panic_threshold);
        let mut rotation = Self {
            takes_part: vec![false; members.len()],
            is_panicking: loads.iter().any(|load| load.panic),
            is_warming: weights.is_warming,
            ..Self::default()
        };
        let mut percents = Vec::new();
        for ((priority, indices), load) in priorities.iter().zip(loads) {
            let level = Level::new(
                *priority, indices, load, members, &available, &weights, balancing,
            );
            if level.shares.total() == 0 {
                continue;
            }
            for group in &level.groups {
                for (position, index) in group.members.iter().enumerate() {
                    rotation.takes_part[*index] |= group.shares.share(position) > 0;
                }
            }
            rotation.levels.push(level);
            percents.push(u64::from(load.percent));
        }
        // The members of a level may all weigh nothing, and the others have to take what it would get.
        if percents.iter().all(|percent| *percent == 0) {
            percents.fill(1);
        }
        rotation.loads = Shares::new(&percents);
        rotation.available = available;
        rotation
    }

    /// Whether it is still what these members make.
    pub(crate) fn is_of<T>(&self, members: &[Member<T>]) -> bool {
        let available = members.iter().map(|member| member.state.is_available());
        !self.is_warming && available.eq(self.available.iter().copied())
    }
}

/// The weights of all members at the moment, those of warming members reduced.
struct Weights {
    weights: Vec<u64>,
    is_warming: bool,
}

impl Weights {
    fn new<T>(members: &[Member<T>], balancing: &Balancing, now: Instant) -> Self {
        let part = |member: &Member<T>| {
            let warmup = balancing.warmup.as_ref();
            warmup.map_or(1.0, |warmup| warmup.part(member.state.appeared(), now))
        };
        let is_warming = members.iter().any(|member| part(member) < 1.0);
        let weight = |member: &Member<T>| match (is_warming, member.weight) {
            (false, weight) => u64::from(weight),
            (true, 0) => 0,
            (true, weight) => (f64::from(weight) * part(member) * FINENESS).max(1.0) as u64,
        };
        Self {
            weights: members.iter().map(weight).collect(),
            is_warming,
        }
    }
}

fn by_priority<T>(members: &[Member<T>]) -> BTreeMap<u32, Vec<usize>> {
    let mut priorities: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        let priority = member.place.priority;
        priorities.entry(priority).or_default().push(index);
    }
    priorities
}

fn health(members: &[usize], available: &[bool]) -> Health {
    Health {
        all: members.len() as u64,
        available: members.iter().filter(|index| available[**index]).count() as u64,
    }
}

impl Level {
    fn new<T>(
        priority: u32,
        indices: &[usize],
        load: Load,
        members: &[Member<T>],
        available: &[bool],
        weights: &Weights,
        balancing: &Balancing,
    ) -> Self {
        let mut places: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
        for index in indices {
            let locality = members[*index].place.locality;
            let place = locality.map(|locality| locality.id);
            places.entry(place).or_default().push(*index);
        }
        let mut groups = Vec::new();
        let mut shares = Vec::new();
        for all in places.into_values() {
            let healthy = health(&all, available);
            let taking = all
                .iter()
                .copied()
                .filter(|index| load.panic || available[*index]);
            let weight = |index: &usize| weights.weights[*index];
            let own: Vec<_> = taking.clone().map(|index| weight(&index)).collect();
            let locality = all.first().and_then(|index| members[*index].place.locality);
            let share = locality.map_or(1, |locality| u64::from(locality.weight));
            let empty = own.iter().all(|weight| *weight == 0);
            shares.push(if empty {
                0
            } else {
                share * part(healthy, load)
            });
            groups.push(Group::new(
                taking.collect(),
                &own,
                members,
                balancing.algorithm,
            ));
        }
        Self {
            priority,
            groups,
            shares: Shares::new(&shares),
        }
    }
}

/// How much of its share a place gets, in percent: less when too few are in rotation there.
fn part(health: Health, load: Load) -> u64 {
    if load.panic {
        return 100;
    }
    (OVERPROVISIONING * health.available)
        .checked_div(health.all)
        .unwrap_or(0)
        .min(100)
}

impl Group {
    fn new<T>(
        indices: Vec<usize>,
        weights: &[u64],
        members: &[Member<T>],
        algorithm: Algorithm,
    ) -> Self {
        let keys: Vec<&str> = indices.iter().map(|index| &*members[*index].key).collect();
        let is_empty = weights.iter().all(|weight| *weight == 0);
        let table = match algorithm {
            _ if is_empty => Table::None,
            Algorithm::RingHash { minimum_size } => {
                Table::Ring(Ring::new(&keys, weights, minimum_size))
            }
            Algorithm::Maglev { table_size } => {
                Table::Maglev(Maglev::new(&keys, weights, table_size))
            }
            Algorithm::LeastRequest | Algorithm::RoundRobin | Algorithm::Random => Table::None,
        };
        Self {
            shares: Shares::new(weights),
            members: indices,
            table,
        }
    }
}
