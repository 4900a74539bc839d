//! A map whose clones share what they hold, and which finds out what differs between two of them.

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

/// Shared values by their keys, in order.
///
/// A clone shares all of it. What changes afterwards costs itself, and is found by what is not shared any more, however many
/// values there are.
pub struct ArcMap<K, V: ?Sized>(OrdMap<K, Same<V>>);

/// A value as it was, and as it is.
pub type Difference<'m, V> = (Option<&'m Arc<V>>, Option<&'m Arc<V>>);

impl<K: Clone + Ord, V: ?Sized> ArcMap<K, V> {
    /// Puts a value in; the one it replaces comes out.
    pub fn insert(&mut self, key: K, value: Arc<V>) -> Option<Arc<V>> {
        self.0.insert(key, Same(value)).map(|Same(value)| value)
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<Arc<V>> {
        self.0.remove(key).map(|Same(value)| value)
    }

    /// The value of this key.
    pub fn get(&self, key: &K) -> Option<&Arc<V>> {
        self.0.get(key).map(|Same(value)| value)
    }

    /// Whether there is one of this key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// All values.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<V>> {
        self.0.values().map(|Same(value)| value)
    }

    /// All keys.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.0.keys()
    }

    /// All values with their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)> {
        self.0.iter().map(|(key, Same(value))| (key, value))
    }

    /// Those from a key on, whether or not it is there.
    pub fn starting_at(
        &self,
        first: K,
    ) -> impl Iterator<Item = (&K, &Arc<V>)> + Clone + use<'_, K, V> {
        let from = self.0.range(first..);
        from.map(|(key, Same(value))| (key, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both hold the same values, compared by identity.
    pub fn are(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// What differs from an earlier map, by identity: each value that was there or is there, in order.
    pub fn since<'m>(&'m self, earlier: &'m Self) -> Vec<Difference<'m, V>> {
        let differences = earlier.0.diff(&self.0);
        differences
            .map(|difference| match difference {
                DiffItem::Add(_, Same(now)) => (None, Some(now)),
                DiffItem::Remove(_, Same(before)) => (Some(before), None),
                DiffItem::Update {
                    old: (_, Same(before)),
                    new: (_, Same(now)),
                } => (Some(before), Some(now)),
            })
            .collect()
    }

    /// The keys whose values differ from those of an earlier map, by identity, in order.
    pub fn keys_since<'m>(&'m self, earlier: &'m Self) -> impl Iterator<Item = &'m K> {
        let differences = earlier.0.diff(&self.0);
        differences.map(|difference| match difference {
            DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key,
            DiffItem::Update { new: (key, _), .. } => key,
        })
    }

    /// Becomes what `entries` are. What was there already stays shared with the clones from before.
    pub fn become_these(&mut self, entries: Self) {
        let others: Vec<_> = entries.keys_since(self).cloned().collect();
        for key in others {
            match entries.get(&key) {
                Some(value) => drop(self.insert(key, value.clone())),
                None => drop(self.remove(&key)),
            }
        }
    }
}

impl<K: Clone + Ord, V: ?Sized> Index<&K> for ArcMap<K, V> {
    type Output = Arc<V>;

    fn index(&self, key: &K) -> &Arc<V> {
        let Same(value) = &self.0[key];
        value
    }
}

impl<K: Clone + Ord, V: ?Sized> Extend<(K, Arc<V>)> for ArcMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, Arc<V>)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Clone + Ord, V: ?Sized> FromIterator<(K, Arc<V>)> for ArcMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, Arc<V>)>>(entries: I) -> Self {
        let mut map = Self::default();
        map.extend(entries);
        map
    }
}

impl<K, V: ?Sized> Clone for ArcMap<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V: ?Sized> Default for ArcMap<K, V> {
    fn default() -> Self {
        Self(OrdMap::default())
    }
}

impl<K: Clone + Ord, V: PartialEq + ?Sized> PartialEq for ArcMap<K, V> {
    /// By what they are.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<K: Clone + Ord + fmt::Debug, V: fmt::Debug + ?Sized> fmt::Debug for ArcMap<K, V> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_map().entries(self.iter()).finish()
    }
}

/// A value that is equal to itself alone.
struct Same<V: ?Sized>(Arc<V>);

impl<V: ?Sized> Clone for Same<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: ?Sized> PartialEq for Same<V> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[(&str, &Arc<u8>)]) -> ArcMap<String, u8> {
        let values = values.iter();
        values
            .map(|(key, value)| ((*key).to_owned(), Arc::clone(value)))
            .collect()
    }

    /// More than a node of the map has room for.
    #[test]
    fn each_of_many_is_found_alone() {
        const MANY: usize = 1_500;
        let keys: Vec<_> = (0..MANY).map(|number| format!("n{number:04}")).collect();
        let all: ArcMap<_, _> = keys.iter().map(|key| (key.clone(), Arc::new(0))).collect();
        let other = Arc::new(1);
        for key in &keys {
            let (mut without, mut changed) = (all.clone(), all.clone());
            let was = without.remove(key);
            changed.insert(key.clone(), Arc::clone(&other));
            assert_eq!(without.since(&all), [(was.as_ref(), None)], "{key}");
            assert_eq!(all.since(&without), [(None, was.as_ref())], "{key}");
            let want = [(was.as_ref(), Some(&other))];
            assert_eq!(changed.since(&all), want, "{key}");
            assert!(changed.keys_since(&all).eq([key]));
            assert!(!without.are(&all) && !changed.are(&all) && without.len() == MANY - 1);
        }
    }

    #[test]
    fn what_differs_is_told_by_identity() {
        let [one, two, same] = [1, 2, 3].map(Arc::new);
        let other = Arc::new(1);
        let before = map(&[("a", &one), ("b", &same), ("c", &two)]);
        let now = map(&[("a", &other), ("b", &same), ("d", &two), ("e", &one)]);
        let differences = now.since(&before);
        let want = [
            (Some(&one), Some(&other)),
            (Some(&two), None),
            (None, Some(&two)),
            (None, Some(&one)),
        ];
        assert_eq!(differences, want);
        assert!(now.keys_since(&before).eq(["a", "c", "d", "e"]));
        assert!(now.since(&now.clone()).is_empty());
        let anew = map(&[("a", &other), ("b", &same), ("d", &two), ("e", &one)]);
        assert!(!now.are(&before) && now.are(&anew));
    }

    #[test]
    fn what_it_becomes_is_what_there_is() {
        let [one, two, three] = [1, 2, 3].map(Arc::new);
        let before = map(&[("a", &one), ("b", &two), ("c", &three)]);
        let want = map(&[("a", &one), ("b", &three), ("d", &one)]);
        let mut now = before.clone();
        now.become_these(want.clone());
        assert!(now.are(&want));
        now.become_these(ArcMap::default());
        assert!(now.is_empty() && before.len() == 3);
    }

    #[test]
    fn those_from_a_key_on_are_in_order() {
        let one = Arc::new(1);
        let all = map(&[("a", &one), ("b", &one), ("c", &one)]);
        let keys = |first: &str| -> String {
            all.starting_at(first.to_owned())
                .map(|(key, _)| &**key)
                .collect()
        };
        assert_eq!([keys("a"), keys("aa"), keys("d")], ["abc", "bc", ""]);
    }
}
