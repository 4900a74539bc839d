//! Policies of a workload.

use model::{Meta, ObjectKey, Objects, Timestamp};
use std::sync::Arc;

/// The objects of a namespace; costs as much as it has.
pub(super) fn of_namespace<'r, T>(
    objects: &'r Objects<T>,
    namespace: &Arc<str>,
) -> impl Iterator<Item = &'r Arc<T>> + use<'r, T> {
    let namespace = namespace.clone();
    let first = ObjectKey {
        namespace: namespace.clone(),
        name: "".into(),
    };
    objects
        .range(first..)
        .take_while(move |(key, _)| key.namespace == namespace)
        .map(|(_, object)| object)
}

/// The objects of the root namespace, then those of the workload's own.
pub(super) fn of_mesh_and_namespace<T>(
    objects: &Objects<T>,
    root: &Arc<str>,
    own: &Arc<str>,
) -> Vec<Arc<T>> {
    let own = (root != own).then(|| of_namespace(objects, own));
    let all = of_namespace(objects, root).chain(own.into_iter().flatten());
    all.cloned().collect()
}

/// Whether both lists are the same objects.
pub(super) fn are_same<T>(one: &[Arc<T>], other: &[Arc<T>]) -> bool {
    let same = |(one, other): (&Arc<T>, &Arc<T>)| Arc::ptr_eq(one, other);
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// The oldest sorts first; those of one age by their names.
pub(super) fn age(meta: &Meta) -> (Option<Timestamp>, &str) {
    (meta.creation_timestamp, meta.name())
}
