//! Any resource, and the set of all of them.

use super::{
    AuthorizationPolicy, DestinationRule, EndpointSlice, Gateway, Meta, Namespace, Node,
    PeerAuthentication, Pod, Secret, Service, ServiceEntry, Sidecar, VirtualService, WorkloadEntry,
};
use crate::{ArcMap, ResourceRef};
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
pub type Objects<T> = ArcMap<ObjectKey, T>;

impl<T> ArcMap<ObjectKey, T> {
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
        let those = self.starting_at(first);
        those
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, object)| object)
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
