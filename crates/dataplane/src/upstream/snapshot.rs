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
    /// Those that the snapshot before had not.
    fresh: Vec<Arc<Cluster>>,
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
        let next = match is_same {
            true => NextClusters {
                all: self.clusters.clone(),
                swept: self.swept.clone(),
                fresh: Vec::new(),
            },
            false => self.next_clusters(&table, endpoints, &client_tls, around),
        };
        Self {
            swept: next.swept,
            fresh: next.fresh,
            services: endpoints.services.clone(),
            headless: endpoints.headless.clone(),
            workloads: self.workloads.next(&endpoints.workloads),
            table,
            clusters: next.all,
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
    ) -> NextClusters {
        let same_tls = std::ptr::eq(&*self.client_tls, client_tls);
        let mut all = Clusters::with_capacity(table.clusters.len());
        let (mut fresh, mut known) = (Vec::new(), 0);
        for (key, definition) in table.clusters.iter() {
            let parts = parts(definition, endpoints, client_tls);
            let before = self.clusters.get(key);
            known += usize::from(before.is_some());
            let cluster = match before {
                // What is there is of the store that was there.
                Some(before) if before.is_of(&parts, same_tls) => before.clone(),
                _ => {
                    let cluster = Cluster::build(&parts, before.map(Arc::as_ref), around);
                    fresh.push(Arc::new(cluster));
                    fresh[fresh.len() - 1].clone()
                }
            };
            all.insert(key.clone(), cluster);
        }
        if known < self.clusters.len() {
            let is_gone = |one: &&Arc<Cluster>| !all.contains_key(&one.definition.key);
            for gone in self.clusters.values().filter(is_gone) {
                gone.retire(around);
            }
        }
        // One that is there already begins to need it never.
        let stays = |one: &&Arc<Cluster>| {
            let now = all.get(&one.definition.key);
            now.is_some_and(|now| Arc::ptr_eq(now, one))
        };
        let swept = self.swept.iter().filter(stays).chain(&fresh);
        let swept = swept.filter(|cluster| cluster.needs_sweeps());
        NextClusters {
            swept: swept.cloned().collect(),
            all: Arc::new(all),
            fresh,
        }
    }

    /// Has rotations follow what happened to endpoints after they were computed, when those in force were others.
    pub(crate) fn catch_up(&self, now: Instant) {
        for cluster in &self.fresh {
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
        let next = self.client_tls.next(table, credentials);
        match next.is(&self.client_tls) {
            true => self.client_tls.clone(),
            false => Arc::new(next),
        }
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
}

/// The clusters of the next snapshot.
struct NextClusters {
    all: Arc<Clusters>,
    swept: Arc<[Arc<Cluster>]>,
    fresh: Vec<Arc<Cluster>>,
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
