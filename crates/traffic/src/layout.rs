//! How the members of a set lie: by priority, and by place within it. It stays as it is whatever their health.

use crate::Algorithm;
use crate::member::Member;
use crate::table::Table;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where the members of a set are.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The nearest first.
    pub(crate) priorities: Vec<Priority>,
}

/// Members that are equally near.
#[derive(Debug)]
pub(crate) struct Priority {
    pub(crate) number: u32,
    pub(crate) parts: Vec<Arc<Part>>,
}

/// Members that share a part of a priority's traffic.
#[derive(Debug)]
pub(crate) struct Part {
    /// From 0, through all priorities.
    pub(crate) number: usize,
    /// By index in the set.
    pub(crate) members: Vec<usize>,
    /// What it gets of the priority's traffic, relative to the other parts.
    pub(crate) weight: u32,
    /// Whose a hash is, by position in `members`. Absent: chance decides.
    pub(crate) table: Option<Arc<Table>>,
}

impl Layout {
    /// Tables of the set `before` are used again where their members are the same.
    pub(crate) fn new<T>(
        members: &[Member<T>],
        algorithm: Algorithm,
        before: Option<&Self>,
    ) -> Self {
        let mut priorities: BTreeMap<u32, BTreeMap<Option<u32>, Vec<usize>>> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            let locality = member.place.locality.map(|locality| locality.id);
            let places = priorities.entry(member.place.priority).or_default();
            places.entry(locality).or_default().push(index);
        }
        let mut numbers = 0..;
        let mut part = |indices| {
            let number = numbers.next().unwrap_or_default();
            Arc::new(Part::new(number, indices, members, algorithm, before))
        };
        let priorities = priorities.into_iter().map(|(number, places)| Priority {
            number,
            parts: places.into_values().map(&mut part).collect(),
        });
        Self {
            priorities: priorities.collect(),
        }
    }

    fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        let parts = self.priorities.iter().flat_map(|one| &one.parts);
        parts.filter_map(|part| part.table.as_ref())
    }
}

impl Priority {
    /// By index in the set.
    pub(crate) fn members(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().flat_map(|part| &part.members).copied()
    }
}

impl Part {
    fn new<T>(
        number: usize,
        indices: Vec<usize>,
        members: &[Member<T>],
        algorithm: Algorithm,
        before: Option<&Layout>,
    ) -> Self {
        let own: Vec<&Member<T>> = indices.iter().map(|index| &members[*index]).collect();
        let locality = own.first().and_then(|member| member.place.locality);
        let mut known = before.into_iter().flat_map(Layout::tables);
        let same = known.find(|table| table.is_of(algorithm, &own));
        let made = || Table::new(algorithm, &own).map(Arc::new);
        Self {
            number,
            weight: locality.map_or(1, |locality| locality.weight),
            table: same.cloned().or_else(made),
            members: indices,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalityShare;
    use crate::tests::members;

    const RING: Algorithm = Algorithm::RingHash { minimum_size: 64 };
    const MAGLEV: Algorithm = Algorithm::Maglev { table_size: 251 };

    /// Two in each of two places.
    fn two_places() -> Vec<Member<()>> {
        let mut all = members(&[1, 1, 1, 1]);
        for (index, member) in all.iter_mut().enumerate() {
            let id = u32::from(index >= 2);
            member.place.locality = Some(LocalityShare { id, weight: 1 });
        }
        all
    }

    /// Of each table after, whether it is one of those before.
    fn shared(before: &Layout, after: &Layout) -> Vec<bool> {
        let is_known = |table: &Arc<Table>| before.tables().any(|one| Arc::ptr_eq(one, table));
        after.tables().map(is_known).collect()
    }

    #[test]
    fn a_table_is_made_again_where_members_changed_and_nowhere_else() {
        for algorithm in [RING, MAGLEV] {
            let mut all = two_places();
            let before = Layout::new(&all, algorithm, None);
            let same = Layout::new(&all, algorithm, Some(&before));
            assert_eq!(shared(&before, &same), [true, true]);
            all.remove(0);
            let without = Layout::new(&all, algorithm, Some(&before));
            assert_eq!(shared(&before, &without), [false, true]);
            all[2].weight = 7;
            let heavier = Layout::new(&all, algorithm, Some(&without));
            assert_eq!(shared(&without, &heavier), [true, false]);
        }
    }

    #[test]
    fn another_algorithm_needs_other_tables() {
        let all = two_places();
        let before = Layout::new(&all, RING, None);
        let after = Layout::new(&all, MAGLEV, Some(&before));
        assert_eq!(shared(&before, &after), [false, false]);
        let none = Layout::new(&all, Algorithm::Random, Some(&before));
        assert_eq!(none.tables().count(), 0);
    }
}
