//! Who takes requests at the moment, and with what share. Immutable: a change of health makes a new one.

use crate::Balancing;
use crate::layout::{Layout, Part, Priority};
use crate::member::Member;
use crate::priority::{Health, Load, OVERPROVISIONING, loads};
use crate::shares::Shares;
use std::sync::Arc;
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

/// Those who take part of members that share a part of a priority's traffic.
#[derive(Debug)]
pub(crate) struct Group {
    /// All of them, with whose a hash is.
    pub(crate) part: Arc<Part>,
    /// Who takes part, by index in the set.
    pub(crate) members: Vec<usize>,
    pub(crate) shares: Shares,
}

impl Rotation {
    pub(crate) fn new<T>(
        members: &[Member<T>],
        layout: &Layout,
        balancing: &Balancing,
        now: Instant,
    ) -> Self {
        let available = members.iter().map(|member| member.state.is_available());
        let available: Vec<_> = available.collect();
        let weights = Weights::new(members, balancing, now);
        let priorities = &layout.priorities;
        let health = priorities
            .iter()
            .map(|one| health(one.members(), &available));
        let loads = loads(&health.collect::<Vec<_>>(), balancing.panic_threshold);
        let mut rotation = Self {
            takes_part: vec![false; members.len()],
            is_panicking: loads.iter().any(|load| load.panic),
            is_warming: weights.is_warming,
            ..Self::default()
        };
        let mut percents = Vec::new();
        for (priority, load) in priorities.iter().zip(loads) {
            let level = Level::new(priority, load, &available, &weights);
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

fn health(members: impl Iterator<Item = usize>, available: &[bool]) -> Health {
    members.fold(Health::default(), |health, index| Health {
        all: health.all + 1,
        available: health.available + u64::from(available[index]),
    })
}

impl Level {
    fn new(priority: &Priority, load: Load, available: &[bool], weights: &Weights) -> Self {
        let parts = priority.parts.iter();
        let groups: Vec<_> = parts
            .map(|part| Group::new(part, load, available, weights))
            .collect();
        let share = |group: &Group| match group.shares.total() {
            0 => 0,
            _ => {
                let health = health(group.part.members.iter().copied(), available);
                u64::from(group.part.weight) * part_of_share(health, load)
            }
        };
        let shares: Vec<_> = groups.iter().map(share).collect();
        Self {
            priority: priority.number,
            groups,
            shares: Shares::new(&shares),
        }
    }
}

/// How much of its share a place gets, in parts per million: less when too few are in rotation there. In percent,
/// who is alone among 141 would get nothing.
fn part_of_share(health: Health, load: Load) -> u64 {
    const WHOLE: u64 = 1_000_000;
    if load.panic {
        return WHOLE;
    }
    (WHOLE / 100 * OVERPROVISIONING * health.available)
        .checked_div(health.all)
        .unwrap_or(0)
        .min(WHOLE)
}

impl Group {
    fn new(part: &Arc<Part>, load: Load, available: &[bool], weights: &Weights) -> Self {
        let all = part.members.iter().copied();
        let takes_part = |index: &usize| load.panic || available[*index];
        let members: Vec<_> = all.filter(takes_part).collect();
        let own = members.iter().map(|index| weights.weights[*index]);
        Self {
            shares: Shares::new(&own.collect::<Vec<_>>()),
            part: part.clone(),
            members,
        }
    }
}
