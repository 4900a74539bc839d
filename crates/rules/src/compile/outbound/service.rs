//! Services of the registry: their names, and the way to them where no rules say otherwise.

use super::super::CompileOptions;
use super::super::clusters::{Clusters, Traffic};
use super::super::resolve::Resolved;
use super::super::services::{ServiceView, Source, place_of};
use crate::on_demand::without_clothes;
use crate::{
    Action, Cluster, ClusterKey, ClusterTarget, ForwardAction, MissingCluster, Predicate, Route,
    RouteSet, Target, TcpDestination, TcpRoute, VirtualHost, WeightedDestination,
};
use ipnet::IpNet;
use model::{At, Origin};
use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::{Arc, OnceLock};

/// What Istio calls the route of a service without rules.
const DEFAULT: &str = "default";

/// The way to a host on a port where no rules say otherwise.
#[derive(Debug)]
pub(super) struct Plain {
    resolved: Arc<Resolved>,
    host: Arc<str>,
    port: u16,
    target: ClusterTarget,
    origin: Arc<Origin>,
    virtual_host: OnceLock<Arc<VirtualHost>>,
    route: OnceLock<Arc<TcpRoute>>,
}

impl Plain {
    /// To the service of `resolved`.
    pub(super) fn new(
        (port, host): &(u16, Arc<str>),
        resolved: Arc<Resolved>,
        view: Option<&Arc<str>>,
        clusters: &mut Clusters,
        options: &CompileOptions,
        origin: &Arc<Origin>,
    ) -> Self {
        let key = ClusterKey {
            host: resolved.host.clone(),
            subset: None,
            port: *port,
            view: view.cloned(),
        };
        let found = clusters.find(key.clone(), Traffic::Bytes, &resolved, options);
        let target = match found {
            Ok(cluster) => ClusterTarget::Cluster(cluster),
            Err(_) => ClusterTarget::Missing(MissingCluster {
                reason: format!("no service and port of the registry is {key}").into(),
                key,
            }),
        };
        Self {
            resolved,
            host: host.clone(),
            port: *port,
            target,
            origin: origin.clone(),
            virtual_host: OnceLock::new(),
            route: OnceLock::new(),
        }
    }

    /// Whether it was made of the same.
    pub(super) fn is_of(&self, resolved: &Arc<Resolved>) -> bool {
        Arc::ptr_eq(&self.resolved, resolved)
    }

    /// Where it leads.
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        match &self.target {
            ClusterTarget::Cluster(cluster) => Some(cluster),
            ClusterTarget::Missing(_) => None,
        }
    }

    /// For requests.
    pub(super) fn virtual_host(&self) -> Arc<VirtualHost> {
        let make = || {
            let route = forwarding(DEFAULT, &self.target, &self.origin);
            Arc::new(VirtualHost {
                name: format!("{}:{}", self.host, self.port).into(),
                domain: self.host.clone(),
                https_redirect: None,
                routes: Arc::new(RouteSet::new(vec![Arc::new(route)])),
            })
        };
        self.virtual_host.get_or_init(make).clone()
    }

    /// For connections.
    pub(super) fn route(&self) -> Arc<TcpRoute> {
        let make = || connection_route(&self.target, &self.origin);
        self.route.get_or_init(make).clone()
    }
}

/// A route that takes every request to one cluster, with Istio's defaults.
pub(crate) fn forwarding(name: &str, target: &ClusterTarget, origin: &Arc<Origin>) -> Route {
    let destination = WeightedDestination::to(target.clone(), origin.clone());
    Route {
        name: name.into(),
        predicate: Predicate::default(),
        action: Action::Forward(Box::new(ForwardAction::to(vec![destination]))),
        origin: origin.clone(),
    }
}

/// A route that takes every connection to one cluster.
pub(crate) fn connection_route(target: &ClusterTarget, origin: &Arc<Origin>) -> Arc<TcpRoute> {
    Arc::new(TcpRoute {
        matches: Vec::new(),
        destinations: vec![TcpDestination {
            weight: 1,
            cluster: target.clone(),
            origin: origin.clone(),
        }],
        total_weight: 1,
        origin: origin.clone(),
    })
}

/// The object that provides a host, and where it names it.
pub(super) fn origin_of(service: &ServiceView) -> Origin {
    match &service.source {
        Source::Service(service) => service.meta.origin(String::new(), At::default()),
        Source::Entry(entry) => {
            let place = place_of(entry, &service.host);
            let (path, at) = place.unwrap_or_else(|| ("spec.hosts".to_owned(), At::default()));
            entry.meta.origin(path, at)
        }
    }
}

/// A host as targets spell it, which is another way than that of resources for an address of IPv6.
pub(super) fn spelled(host: &str) -> Cow<'_, str> {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => Cow::Owned(Target::of_address(address.into(), 0).authority().to_owned()),
        Err(_) => Cow::Borrowed(host),
    }
}

/// Other names of a service for a workload of `namespace`.
pub(super) fn aliases(service: &ServiceView, namespace: &str) -> Vec<String> {
    let mut names = Vec::new();
    if let Source::Service(service) = &service.source {
        let (name, own) = (service.meta.name(), service.meta.namespace());
        if *own == *namespace {
            names.push(name.to_owned());
        }
        names.extend([format!("{name}.{own}"), format!("{name}.{own}.svc")]);
    }
    names
}

/// The addresses of a service.
pub(super) fn networks(service: &ServiceView) -> Vec<IpNet> {
    match &service.source {
        Source::Service(service) => {
            let addresses = service.cluster_ips.iter();
            addresses.map(|address| IpNet::from(*address)).collect()
        }
        Source::Entry(entry) => entry
            .addresses
            .iter()
            .copied()
            .map(without_clothes)
            .collect(),
    }
}
