//! One generation of the configuration together with the endpoints of the moment.

use super::Cluster;
use crate::tls::Terminations;
use ahash::HashMap;
use certificates::Credentials;
use rules::{ClusterKey, Endpoints, ServicePort, Table};
use std::sync::Arc;

/// What a request is served by, from its first byte to its last.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The rules.
    pub table: Arc<Table>,
    /// The clusters of the table, with their endpoints.
    pub clusters: HashMap<ClusterKey, Arc<Cluster>>,
    /// The certificates that its TLS servers name.
    pub credentials: Arc<Credentials>,
    /// How its TLS servers end TLS.
    pub(crate) terminations: Arc<Terminations>,
}

impl Snapshot {
    /// The snapshot after this one. Clusters that did not change are shared; in those that did, endpoints
    /// keep their counters.
    pub(crate) fn next(
        &self,
        table: Arc<Table>,
        endpoints: &Endpoints,
        credentials: Arc<Credentials>,
    ) -> Self {
        let clusters = table.clusters.iter();
        let clusters = clusters
            .map(|(key, definition)| (key.clone(), self.cluster(key, definition, endpoints)))
            .collect();
        let terminations = self.terminations(&table, &credentials);
        Self {
            table,
            clusters,
            credentials,
            terminations,
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

    fn cluster(
        &self,
        key: &ClusterKey,
        definition: &Arc<rules::Cluster>,
        endpoints: &Endpoints,
    ) -> Arc<Cluster> {
        let service = ServicePort {
            host: key.host.clone(),
            port: key.port,
        };
        let source = endpoints.services.get(&service);
        let before = self.clusters.get(key);
        match before {
            Some(before) if before.is_of(definition, source) => before.clone(),
            _ => Arc::new(Cluster::build(
                definition.clone(),
                source.cloned(),
                before.map(Arc::as_ref),
            )),
        }
    }
}
