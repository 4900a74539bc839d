//! Where the VirtualServices that changed lead, and where they led.

use super::part::{Part, PartKey};
use crate::{Cluster, ClusterKey};
use ahash::{HashMap, HashSet};
use model::ArcMap;
use std::sync::Arc;

/// Where the VirtualServices that changed lead, and where they led. All others lead where they did.
pub(super) struct Moved {
    from: ArcMap<ClusterKey, Cluster>,
    to: ArcMap<ClusterKey, Cluster>,
}

impl Moved {
    /// Of the parts that they had and those that they have.
    pub(super) fn of<'p>(
        before: impl Iterator<Item = &'p Arc<Part>>,
        now: impl Iterator<Item = &'p Arc<Part>>,
    ) -> Self {
        Self {
            from: clusters_of(before),
            to: clusters_of(now),
        }
    }

    /// Brings `clusters` up to date, which are those of `parts`.
    pub(super) fn apply(
        self,
        parts: &HashMap<PartKey, Arc<Part>>,
        clusters: &mut ArcMap<ClusterKey, Cluster>,
    ) {
        let left = self.from.keys().filter(|key| !self.to.contains_key(key));
        let mut left: HashSet<&ClusterKey> = left.collect();
        if !left.is_empty() {
            // Others may lead there still.
            for cluster in parts.values().flat_map(|part| &part.clusters) {
                left.remove(&cluster.key);
            }
        }
        for key in left {
            clusters.remove(key);
        }
        let entries = self.to.iter();
        clusters.extend(entries.map(|(key, cluster)| (key.clone(), cluster.clone())));
    }
}

fn clusters_of<'p>(parts: impl Iterator<Item = &'p Arc<Part>>) -> ArcMap<ClusterKey, Cluster> {
    let clusters = parts.flat_map(|part| &part.clusters);
    let clusters = clusters.map(|cluster| (cluster.key.clone(), cluster.clone()));
    clusters.collect()
}
