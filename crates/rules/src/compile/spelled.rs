//! AUTO_PASSTHROUGH: the clusters that clients of the mesh name in their SNI.

use super::CompileOptions;
use super::clusters::{Clusters, Traffic};
use super::gateways::PlannedServer;
use super::resolve::{Resolved, Resolver};
use super::services::ServiceView;
use crate::{Cluster, ClusterKey, ClusterTarget, HostMap};
use std::sync::Arc;

/// The clusters of a server by their spelling, and what they were made of.
#[derive(Debug)]
pub(crate) struct SpelledClusters {
    server: PlannedServer,
    revision: u64,
    hosts: Vec<Arc<Resolved>>,
    /// The clusters.
    pub(crate) clusters: Vec<Arc<Cluster>>,
    /// The spellings, sorted.
    pub(crate) names: Vec<Arc<str>>,
    /// Both together.
    pub(crate) map: Arc<HostMap<ClusterTarget>>,
}

impl SpelledClusters {
    /// The clusters of all services of the mesh whose hosts `server` covers, as `before` if nothing changed.
    pub(crate) fn of(
        server: &PlannedServer,
        before: Option<Arc<Self>>,
        options: &CompileOptions,
        resolver: &mut Resolver,
        clusters: &mut Clusters,
    ) -> Arc<Self> {
        let before = before.filter(|before| before.server.is(server));
        let revision = resolver.revision();
        if let Some(before) = &before
            && before.revision == revision
        {
            return before.clone();
        }
        let hosts = covered(server, options, resolver);
        let mut compiled = Self::compile(server, revision, hosts, options, clusters);
        if let Some(before) = before
            && before.has_same(&compiled)
        {
            compiled.map = before.map.clone();
        }
        Arc::new(compiled)
    }

    fn compile(
        server: &PlannedServer,
        revision: u64,
        hosts: Vec<Arc<Resolved>>,
        options: &CompileOptions,
        clusters: &mut Clusters,
    ) -> Self {
        let mut compiled = Self {
            server: server.clone(),
            revision,
            hosts: Vec::new(),
            clusters: Vec::new(),
            names: Vec::new(),
            map: Arc::default(),
        };
        let mut map = HostMap::default();
        for resolved in &hosts {
            for key in keys(resolved) {
                let name = spelling(&key);
                let found = clusters.find(key, Traffic::Bytes, resolved, options);
                let Ok(cluster) = found else {
                    continue; // a port or subset that is not there is not spelt either
                };
                compiled.clusters.push(cluster.clone());
                map.add(&name, Arc::new(ClusterTarget::Cluster(cluster)));
                compiled.names.push(name);
            }
        }
        compiled.hosts = hosts;
        compiled.map = Arc::new(map);
        compiled
    }

    fn has_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<Cluster>, &Arc<Cluster>)| Arc::ptr_eq(one, other);
        self.names == other.names && self.clusters.iter().zip(&other.clusters).all(same)
    }
}

/// What is known of the services that a server's hosts cover, by host.
fn covered(
    server: &PlannedServer,
    options: &CompileOptions,
    resolver: &mut Resolver,
) -> Vec<Arc<Resolved>> {
    let is_covered = |service: &&Arc<ServiceView>| {
        let mut hosts = server.server().hosts.iter();
        is_of_the_mesh(service)
            && hosts
                .any(|host| host.host.matches(&service.host) && host.admits(service.namespace()))
    };
    let services = resolver.services().iter().filter(is_covered);
    let mut hosts: Vec<_> = services.map(|service| service.host.clone()).collect();
    hosts.sort();
    hosts
        .iter()
        .map(|host| resolver.resolve(host, &options.proxy, &options.mesh))
        .collect()
}

/// What is outside of the mesh is not reached through it, and a wildcard names nobody.
fn is_of_the_mesh(service: &ServiceView) -> bool {
    !service.is_external() && !service.host.starts_with('*')
}

/// Every port, as a whole and in its subsets.
fn keys(resolved: &Resolved) -> Vec<ClusterKey> {
    let ports = resolved.service.iter().flat_map(|service| &service.ports);
    let subsets: Vec<Option<Arc<str>>> = match &resolved.rule {
        None => vec![None],
        Some(rule) => {
            let named = rule.subset_names().map(|name| Some(name.into()));
            std::iter::once(None).chain(named).collect()
        }
    };
    let of_port = |port: u16| {
        subsets.iter().map(move |subset| ClusterKey {
            view: None,
            host: resolved.host.clone(),
            subset: subset.clone(),
            port,
        })
    };
    ports.flat_map(|port| of_port(port.number)).collect()
}

/// `outbound_.80_.v1_.reviews.default.svc.cluster.local`
fn spelling(key: &ClusterKey) -> Arc<str> {
    let subset = key.subset.as_deref().unwrap_or_default();
    let name = format!("outbound_.{}_.{subset}_.{}", key.port, key.host);
    name.to_ascii_lowercase().into()
}
