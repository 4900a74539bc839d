//! One generation of the configuration together with the endpoints of the moment.

use super::Cluster;
use super::cluster::{Parts, Surroundings};
use super::tls::ClientTlsStore;
use crate::labels::Workloads;
use crate::tls::Terminations;
use ahash::{HashMap, HashMapExt};
use certificates::Credentials;
use rules::{ClusterKey, Endpoint, Endpoints, Headless, ServicePort, Table};
use std::sync::Arc;
use std::time::Instant;

/// Clusters by their keys.
type Clusters = HashMap<ClusterKey, Arc<Cluster>>;

/// What a request is served by, from its first byte to its last.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The rules.
    pub table: Arc<Table>,
    /// The clusters of the table, with their endpoints.
    pub clusters: Arc<HashMap<ClusterKey, Arc<Cluster>>>,
    /// What their endpoints are of.
    services: Arc<HashMap<ServicePort, Arc<[Endpoint]>>>,
    /// Endpoints that clients connect to by their addresses.
    pub(crate) headless: Headless,
    /// Whose addresses are whose.
    pub(crate) workloads: Arc<Workloads>,
    /// The certificates that its TLS servers name.
    pub credentials: Arc<Credentials>,
    /// How its TLS servers end TLS.
    pub(crate) terminations: Arc<Terminations>,
    /// How TLS is begun with its clusters.
    pub(super) client_tls: Arc<ClientTlsStore>,
    /// The clusters that somebody has to look after as time goes by.
    swept: Arc<[Arc<Cluster>]>,
}

impl Snapshot {
    /// The snapshot after this one. Clusters that did not change are shared; in those that did, endpoints
    /// keep their counters.
    pub(crate) fn next(
        &self,
        table: Arc<Table>,
        endpoints: &Endpoints,
        credentials: Arc<Credentials>,
        around: &Surroundings<'_>,
    ) -> Self {
        let terminations = self.terminations(&table, &credentials);
        let client_tls = self.client_tls(&table, &credentials);
        // Most changes of rules lead to the clusters that there are, of which there may be ten thousand.
        let is_same = Arc::ptr_eq(&self.table.clusters, &table.clusters)
            && Arc::ptr_eq(&self.services, &endpoints.services)
            && Arc::ptr_eq(&self.client_tls, &client_tls);
        let (clusters, swept) = match is_same {
            true => (self.clusters.clone(), self.swept.clone()),
            false => self.next_clusters(&table, endpoints, &client_tls, around),
        };
        Self {
            swept,
            services: endpoints.services.clone(),
            headless: endpoints.headless.clone(),
            workloads: self.workloads.next(&endpoints.workloads),
            table,
            clusters,
            credentials,
            terminations,
            client_tls,
        }
    }

    fn next_clusters(
        &self,
        table: &Table,
        endpoints: &Endpoints,
        client_tls: &ClientTlsStore,
        around: &Surroundings<'_>,
    ) -> (Arc<Clusters>, Arc<[Arc<Cluster>]>) {
        let mut clusters = Clusters::with_capacity(table.clusters.len());
        for (key, definition) in table.clusters.iter() {
            let parts = parts(definition, endpoints, client_tls);
            clusters.insert(key.clone(), self.cluster(&parts, around));
        }
        for gone in self
            .clusters
            .values()
            .filter(|one| !clusters.contains_key(&one.definition.key))
        {
            gone.retire(around);
        }
        let swept = clusters.values().filter(|cluster| cluster.needs_sweeps());
        let swept = swept.cloned().collect();
        (Arc::new(clusters), swept)
    }

    /// Has rotations follow what happened to endpoints after they were computed, when those in force were others.
    pub(crate) fn catch_up(&self, before: &Self, now: Instant) {
        if Arc::ptr_eq(&self.clusters, &before.clusters) {
            return;
        }
        for cluster in self.clusters.values() {
            cluster.endpoints.refresh(now);
        }
    }

    /// Whether there is such a cluster, and clients ask it for hosts.
    pub(super) fn finds_on_demand(&self, key: &ClusterKey) -> bool {
        let cluster = self.clusters.get(key);
        cluster.is_some_and(|cluster| cluster.is_to_be_found())
    }

    /// The clusters that somebody has to look after as time goes by.
    pub(super) fn swept(&self) -> &[Arc<Cluster>] {
        &self.swept
    }

    fn client_tls(
        &self,
        table: &Arc<Table>,
        credentials: &Arc<Credentials>,
    ) -> Arc<ClientTlsStore> {
        let same = Arc::ptr_eq(&self.table.clusters, &table.clusters)
            && Arc::ptr_eq(&self.credentials, credentials);
        if same {
            return self.client_tls.clone();
        }
        Arc::new(self.client_tls.next(table, credentials))
    }

    fn terminations(
        &self,
        table: &Arc<Table>,
        credentials: &Arc<Credentials>,
    ) -> Arc<Terminations> {
        // Most of what is published are endpoints.
        let same = Arc::ptr_eq(&self.table, table) && Arc::ptr_eq(&self.credentials, credentials);
        if same {
            return self.terminations.clone();
        }
        Arc::new(self.terminations.next(table, credentials))
    }

    fn cluster(&self, parts: &Parts<'_>, around: &Surroundings<'_>) -> Arc<Cluster> {
        let before = self.clusters.get(&parts.definition.key);
        match before {
            Some(before) if before.is_of(parts) => before.clone(),
            _ => Arc::new(Cluster::build(parts, before.map(Arc::as_ref), around)),
        }
    }
}

fn parts<'p>(
    definition: &'p Arc<rules::Cluster>,
    endpoints: &'p Endpoints,
    client_tls: &'p ClientTlsStore,
) -> Parts<'p> {
    let service = definition.key.service();
    Parts {
        definition,
        source: endpoints.services.get(&service),
        tls: client_tls,
    }
}
