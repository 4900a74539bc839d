//! One generation of the configuration together with the endpoints of the moment.

use super::Cluster;
use super::cluster::{Parts, Surroundings};
use super::tls::ClientTlsStore;
use crate::labels::Workloads;
use crate::tls::Terminations;
use certificates::Credentials;
use model::{ArcMap, Difference};
use rules::{ClusterKey, Endpoint, Endpoints, Headless, ServicePort, Table};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// Clusters by their keys. A clone shares them.
type Clusters = imbl::GenericHashMap<
    ClusterKey,
    Arc<Cluster>,
    ahash::RandomState,
    imbl::shared_ptr::DefaultSharedPtr,
>;

/// What a request is served by, from its first byte to its last.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The rules.
    pub table: Arc<Table>,
    /// The clusters of the table, with their endpoints.
    pub clusters: Clusters,
    /// What their endpoints are of.
    services: ArcMap<ServicePort, [Endpoint]>,
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
    /// The snapshot after this one. Clusters that did not change are shared, and not looked at; in those that did,
    /// endpoints keep their counters.
    pub(crate) fn next(
        &self,
        table: Arc<Table>,
        endpoints: &Endpoints,
        credentials: Arc<Credentials>,
        around: &Surroundings<'_>,
    ) -> Self {
        let terminations = self.terminations(&table, &credentials);
        let client_tls = self.client_tls(&table, &credentials);
        let (clusters, fresh) = self.next_clusters(&table, endpoints, &client_tls, around);
        Self {
            swept: self.next_swept(&clusters, &fresh),
            fresh,
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

    /// All clusters, and those of them that are not as they were.
    fn next_clusters(
        &self,
        table: &Table,
        endpoints: &Endpoints,
        client_tls: &Arc<ClientTlsStore>,
        around: &Surroundings<'_>,
    ) -> (Clusters, Vec<Arc<Cluster>>) {
        // What is there is of the store that was there.
        let same_tls = Arc::ptr_eq(&self.client_tls, client_tls);
        let (mut all, mut fresh) = (self.clusters.clone(), Vec::new());
        for key in self.touched(table, endpoints, client_tls) {
            let before = self.clusters.get(key);
            let Some(definition) = table.clusters.get(key) else {
                if let Some(gone) = all.remove(key) {
                    gone.retire(around);
                }
                continue;
            };
            let parts = parts(definition, endpoints, client_tls);
            if before.is_some_and(|before| before.is_of(&parts, same_tls)) {
                continue;
            }
            let cluster = Arc::new(Cluster::build(&parts, before.map(Arc::as_ref), around));
            all.insert(key.clone(), cluster.clone());
            fresh.push(cluster);
        }
        (all, fresh)
    }

    /// The clusters that may have become others: of ten thousand most changes touch few.
    fn touched<'t>(
        &'t self,
        table: &'t Table,
        endpoints: &Endpoints,
        client_tls: &Arc<ClientTlsStore>,
    ) -> BTreeSet<&'t ClusterKey> {
        let others = table.clusters.keys_since(&self.table.clusters);
        let mut touched: BTreeSet<_> = others.collect();
        for service in endpoints.services.keys_since(&self.services) {
            touched.extend(table.clusters_of(service));
        }
        if !Arc::ptr_eq(&self.client_tls, client_tls) {
            touched.extend(table.clusters.keys());
        }
        touched
    }

    fn next_swept(&self, clusters: &Clusters, fresh: &[Arc<Cluster>]) -> Arc<[Arc<Cluster>]> {
        // One that is there already begins to need it never.
        let stays = |one: &&Arc<Cluster>| {
            let now = clusters.get(&one.definition.key);
            now.is_some_and(|now| Arc::ptr_eq(now, one))
        };
        let swept = self.swept.iter().filter(stays).chain(fresh);
        let swept = swept.filter(|cluster| cluster.needs_sweeps());
        swept.cloned().collect()
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
        let others = table.clusters.since(&self.table.clusters);
        let begins_tls = |cluster: &Arc<rules::Cluster>| cluster.tls.settings().is_some();
        let has_tls = |(before, now): &Difference<'_, rules::Cluster>| {
            before.is_some_and(begins_tls) || now.is_some_and(begins_tls)
        };
        if Arc::ptr_eq(&self.credentials, credentials) && !others.iter().any(has_tls) {
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
