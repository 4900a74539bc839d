//! Any resource, and the set of all of them.

use super::{
    AuthorizationPolicy, DestinationRule, EndpointSlice, Gateway, Meta, Namespace, Node,
    PeerAuthentication, Pod, Secret, Service, ServiceEntry, Sidecar, VirtualService, WorkloadEntry,
};
use crate::ResourceRef;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::sync::Arc;

/// The identity of an object among those of its kind.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectKey {
    /// Empty for a Namespace and a Node.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl From<&ResourceRef> for ObjectKey {
    fn from(reference: &ResourceRef) -> Self {
        Self {
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
        }
    }
}

/// Objects of one kind, by namespace and name.
///
/// A clone shares them. What changes afterwards costs itself, and is found by what is not shared any more, however many
/// objects there are.
#[derive(Debug)]
pub struct Objects<T>(OrdMap<ObjectKey, Same<T>>);

/// An object as it was, and as it is.
pub type Difference<'o, T> = (Option<&'o Arc<T>>, Option<&'o Arc<T>>);

impl<T> Objects<T> {
    /// Puts an object in; the one it replaces comes out.
    pub fn insert(&mut self, key: ObjectKey, object: Arc<T>) -> Option<Arc<T>> {
        self.0.insert(key, Same(object)).map(|Same(object)| object)
    }

    /// Takes an object out.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Arc<T>> {
        self.0.remove(key).map(|Same(object)| object)
    }

    /// The object of this identity.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.0.get(key).map(|Same(object)| object)
    }

    /// Whether there is one of this identity.
    pub fn contains_key(&self, key: &ObjectKey) -> bool {
        self.0.contains_key(key)
    }

    /// All of them.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<T>> {
        self.0.values().map(|Same(object)| object)
    }

    /// Their identities.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &ObjectKey> {
        self.0.keys()
    }

    /// All of them with their identities.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&ObjectKey, &Arc<T>)> {
        self.0.iter().map(|(key, Same(object))| (key, object))
    }

    /// Those of a namespace.
    pub fn of_namespace(
        &self,
        namespace: &Arc<str>,
    ) -> impl Iterator<Item = &Arc<T>> + Clone + use<'_, T> {
        let first = ObjectKey {
            namespace: namespace.clone(),
            name: "".into(),
        };
        let namespace = namespace.clone();
        let from = self.0.range(first..);
        from.take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, Same(object))| object)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both hold the same objects, compared by identity.
    pub fn are(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// What differs from an earlier set, by identity: each object that was there or is there, in order.
    pub fn since<'o>(&'o self, earlier: &'o Self) -> Vec<Difference<'o, T>> {
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
}

impl<T> Clone for Objects<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self(OrdMap::default())
    }
}

impl<T: PartialEq> PartialEq for Objects<T> {
    /// By what they are.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

/// An object that is equal to itself alone.
#[derive(Debug)]
struct Same<T>(Arc<T>);

impl<T> Clone for Same<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

macro_rules! resources {
    ($($kind:ident => $field:ident, $doc:literal;)*) => {
        /// Any resource.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Resource {
            $(#[doc = $doc] $kind(Arc<$kind>),)*
        }

        impl Resource {
            /// What every object has.
            pub fn meta(&self) -> &Meta {
                match self {
                    $(Self::$kind(object) => &object.meta,)*
                }
            }
        }

        $(impl From<$kind> for Resource {
            fn from(object: $kind) -> Self {
                Self::$kind(Arc::new(object))
            }
        })*

        /// The resources in force. A clone shares the objects.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Resources {
            $(#[doc = $doc] pub $field: Objects<$kind>,)*
        }

        impl Resources {
            /// Puts an object in; the one it replaces comes out.
            pub fn insert(&mut self, resource: Resource) -> Option<Resource> {
                let key = ObjectKey::from(&resource.meta().reference);
                match resource {
                    $(Resource::$kind(object) => {
                        self.$field.insert(key, object).map(Resource::$kind)
                    })*
                }
            }

            /// Takes an object out.
            pub fn remove(&mut self, reference: &ResourceRef) -> Option<Resource> {
                let key = ObjectKey::from(reference);
                match &*reference.kind {
                    $(stringify!($kind) => self.$field.remove(&key).map(Resource::$kind),)*
                    _ => None,
                }
            }

            /// The object of this identity.
            pub fn find(&self, reference: &ResourceRef) -> Option<Resource> {
                let key = ObjectKey::from(reference);
                match &*reference.kind {
                    $(stringify!($kind) => self.$field.get(&key).cloned().map(Resource::$kind),)*
                    _ => None,
                }
            }

            /// All objects, kind by kind, each kind by namespace and name.
            pub fn iter(&self) -> impl Iterator<Item = Resource> + '_ {
                std::iter::empty()
                    $(.chain(self.$field.values().cloned().map(Resource::$kind)))*
            }

            /// How many there are.
            pub fn len(&self) -> usize {
                0 $(+ self.$field.len())*
            }
        }
    };
}

resources! {
    Gateway => gateways, "Istio Gateway.";
    VirtualService => virtual_services, "Istio VirtualService.";
    DestinationRule => destination_rules, "Istio DestinationRule.";
    ServiceEntry => service_entries, "Istio ServiceEntry.";
    WorkloadEntry => workload_entries, "Istio WorkloadEntry.";
    Sidecar => sidecars, "Istio Sidecar.";
    PeerAuthentication => peer_authentications, "Istio PeerAuthentication.";
    AuthorizationPolicy => authorization_policies, "Istio AuthorizationPolicy.";
    Service => services, "Kubernetes Service.";
    Pod => pods, "Kubernetes Pod.";
    Secret => secrets, "Kubernetes Secret.";
    Namespace => namespaces, "Kubernetes Namespace.";
    Node => nodes, "Kubernetes Node.";
    EndpointSlice => endpoint_slices, "Kubernetes EndpointSlice.";
}

impl Resources {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        let mut set = Self::default();
        for resource in resources {
            set.insert(resource);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            namespace: "default".into(),
            name: name.into(),
        }
    }

    fn set(objects: &[(&str, &Arc<u8>)]) -> Objects<u8> {
        let mut set = Objects::default();
        for (name, object) in objects {
            set.insert(key(name), Arc::clone(object));
        }
        set
    }

    /// More than a node of the map has room for.
    #[test]
    fn each_of_many_is_found_alone() {
        const MANY: usize = 1_500;
        let names: Vec<_> = (0..MANY).map(|number| format!("n{number:04}")).collect();
        let mut all = Objects::default();
        for name in &names {
            all.insert(key(name), Arc::new(0_u8));
        }
        let other = Arc::new(1);
        for name in &names {
            let (mut without, mut changed) = (all.clone(), all.clone());
            let was = without.remove(&key(name));
            changed.insert(key(name), Arc::clone(&other));
            assert_eq!(without.since(&all), [(was.as_ref(), None)], "{name}");
            assert_eq!(all.since(&without), [(None, was.as_ref())], "{name}");
            let want = [(was.as_ref(), Some(&other))];
            assert_eq!(changed.since(&all), want, "{name}");
            assert!(!without.are(&all) && !changed.are(&all) && without.len() == MANY - 1);
        }
    }

    #[test]
    fn what_differs_is_told_by_identity() {
        let [one, two, same] = [1, 2, 3].map(Arc::new);
        let other = Arc::new(1);
        let before = set(&[("a", &one), ("b", &same), ("c", &two)]);
        let now = set(&[("a", &other), ("b", &same), ("d", &two), ("e", &one)]);
        let differences = now.since(&before);
        let want = [
            (Some(&one), Some(&other)),
            (Some(&two), None),
            (None, Some(&two)),
            (None, Some(&one)),
        ];
        assert_eq!(differences, want);
        assert!(now.since(&now.clone()).is_empty());
        assert!(
            !now.are(&before)
                && now.are(&set(&[
                    ("a", &other),
                    ("b", &same),
                    ("d", &two),
                    ("e", &one)
                ]))
        );
    }
}
