//! The EndpointSlices of each service.

use ahash::HashMap;
use model::{EndpointSlice, ObjectKey, Objects, Service};
use std::sync::Arc;

/// The EndpointSlices of each service, brought up to date with what changed alone.
#[derive(Debug, Default)]
pub(super) struct SliceIndex {
    objects: Objects<EndpointSlice>,
    /// By the service's namespace and name; each list by the slices' names.
    by_service: HashMap<ObjectKey, Vec<Arc<EndpointSlice>>>,
}

impl SliceIndex {
    /// Takes over what changed.
    pub(super) fn update(&mut self, now: &Objects<EndpointSlice>) {
        let before = std::mem::replace(&mut self.objects, now.clone());
        for (before, now) in now.since(&before) {
            if let Some((key, slice)) = before.and_then(of_service) {
                self.remove(&key, slice);
            }
            if let Some((key, slice)) = now.and_then(of_service) {
                self.insert(key, slice);
            }
        }
    }

    /// Those of a service. Absent: it has none.
    pub(super) fn of(&self, service: &Service) -> Option<&[Arc<EndpointSlice>]> {
        let key = ObjectKey::from(&service.meta.reference);
        self.by_service.get(&key).map(Vec::as_slice)
    }

    fn remove(&mut self, key: &ObjectKey, slice: &Arc<EndpointSlice>) {
        let Some(slices) = self.by_service.get_mut(key) else {
            return;
        };
        slices.retain(|one| !Arc::ptr_eq(one, slice));
        if slices.is_empty() {
            self.by_service.remove(key);
        }
    }

    fn insert(&mut self, key: ObjectKey, slice: &Arc<EndpointSlice>) {
        let slices = self.by_service.entry(key).or_default();
        let name = slice.meta.name();
        let place = slices.partition_point(|one| one.meta.name() < name);
        slices.insert(place, slice.clone());
    }
}

fn of_service(slice: &Arc<EndpointSlice>) -> Option<(ObjectKey, &Arc<EndpointSlice>)> {
    let key = ObjectKey {
        namespace: slice.meta.reference.namespace.clone(),
        name: slice.service_name.as_deref()?.into(),
    };
    Some((key, slice))
}
