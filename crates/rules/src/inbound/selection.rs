//! Policies of a workload.

use model::{Meta, Objects, Timestamp};
use std::sync::Arc;

/// The objects of the root namespace, then those of the workload's own.
pub(super) fn of_mesh_and_namespace<T>(
    objects: &Objects<T>,
    root: &Arc<str>,
    own: &Arc<str>,
) -> Vec<Arc<T>> {
    let own = (root != own).then(|| objects.of_namespace(own));
    let all = objects.of_namespace(root).chain(own.into_iter().flatten());
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
