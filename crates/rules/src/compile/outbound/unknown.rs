//! What becomes of clients that ask for what is not in the registry.

use super::super::clusters::Traffic;
use super::super::diagnostics::{Help, warning};
use super::build::Build;
use super::service::{connection_route, forwarding};
use crate::{
    ALLOW_ANY, Cluster, ClusterKey, ClusterTarget, EgressMode, ForbiddenNetworks, HostMap,
    MissingCluster, OnDemand, Otherwise, RouteSet, TcpRoutes, UnknownPolicy, UpstreamProtocol,
    VirtualHost,
};
use model::{Destination, HostPattern, Meta, Origin, OutboundMode, ResourceRef};
use std::sync::Arc;

/// The cluster of the last compilation.
#[derive(Debug, Default)]
pub(super) struct Kept(Option<Arc<Cluster>>);

impl Kept {
    /// Where what is let through goes.
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.0.as_ref()
    }

    fn keep(&mut self, cluster: Cluster) -> Arc<Cluster> {
        match &self.0 {
            Some(known) if **known == cluster => known.clone(),
            _ => self.0.insert(Arc::new(cluster)).clone(),
        }
    }
}

impl Build<'_> {
    /// What the Sidecar says, else the mesh; in a mode that enforces nothing everything is let through.
    pub(super) fn unknown(
        &mut self,
        mode: EgressMode,
        redirected: bool,
        kept: &mut Kept,
    ) -> Otherwise {
        let limits = self.of.limits;
        let own = limits.policy();
        let of_mesh = self.of.options.mesh.outbound_traffic_policy;
        let policy = match own.map_or(of_mesh, |own| own.mode) {
            OutboundMode::AllowAny => UnknownPolicy::Passed,
            OutboundMode::RegistryOnly if mode == EgressMode::Enforce => UnknownPolicy::Refused,
            OutboundMode::RegistryOnly => UnknownPolicy::Noted,
        };
        if policy == UnknownPolicy::Refused {
            kept.0 = None;
            return Otherwise::default();
        }
        let proxy = own.and_then(|own| own.egress_proxy.as_ref());
        let (target, origin) = match (limits.sidecar(), proxy) {
            (Some(sidecar), Some(proxy)) => {
                let at = proxy.at;
                let path = "spec.outboundTrafficPolicy.egressProxy";
                let origin = sidecar.meta.origin(path.into(), at);
                (self.egress_proxy(&sidecar.meta, proxy, kept), origin)
            }
            (Some(sidecar), None) if own.is_some() => {
                let origin = sidecar.meta.origin(
                    "spec.outboundTrafficPolicy".into(),
                    own.map(|own| own.at).unwrap_or_default(),
                );
                (self.passthrough(redirected, kept), origin)
            }
            _ => (self.passthrough(redirected, kept), self.of_mesh()),
        };
        passed(policy, &target, &Arc::new(origin))
    }

    /// Where the client wants to go itself. A redirected connection names an address, and its workload could have
    /// dialled that itself.
    fn passthrough(&self, redirected: bool, kept: &mut Kept) -> ClusterTarget {
        let options = self.of.options;
        let (key, names, forbidden) = match redirected {
            true => (
                ClusterKey::passthrough_of_redirected(),
                None,
                ForbiddenNetworks::new([]),
            ),
            false => (
                ClusterKey::passthrough(),
                Some(HostPattern::any()),
                options.forbidden.clone(),
            ),
        };
        let mut cluster = Cluster::plain(key, UpstreamProtocol::AsClient);
        cluster.service_host = "".into();
        cluster.namespace = "".into();
        cluster.pool.connect_timeout = options.mesh.connect_timeout;
        cluster.on_demand = Some(Arc::new(OnDemand {
            names,
            addresses: Vec::new(),
            any_address: true,
            port: None,
            forbidden,
        }));
        ClusterTarget::Cluster(kept.keep(cluster))
    }

    /// The service that the Sidecar names.
    fn egress_proxy(&mut self, meta: &Meta, proxy: &Destination, kept: &mut Kept) -> ClusterTarget {
        let options = self.of.options;
        let suffix = &options.mesh.domain_suffix;
        let host = proxy.host.expand(meta.namespace(), suffix).shared();
        let resolver = &mut self.of.resolver;
        let resolved = resolver.resolve(&host, &options.proxy, &options.mesh);
        let key = ClusterKey {
            host,
            subset: proxy.subset.as_deref().map(Arc::from),
            // Without it the Sidecar would have been refused.
            port: proxy.port.unwrap_or_default(),
            view: self.of.view.cloned(),
        };
        let clusters = &mut self.of.clusters;
        match clusters.find(key.clone(), Traffic::Bytes, &resolved, options) {
            Ok(cluster) => {
                kept.0 = Some(cluster.clone());
                ClusterTarget::Cluster(cluster)
            }
            Err(_) => {
                let message = format!("no service, port or subset of the registry is {key}");
                let path = "spec.outboundTrafficPolicy.egressProxy";
                let told = warning(meta, "unknown_destination", path, proxy.at, message.clone());
                let help = "what is not in the registry is answered 503 until it exists";
                self.diagnostics.push(told.help(help));
                kept.0 = None;
                ClusterTarget::Missing(MissingCluster {
                    key,
                    reason: message.into(),
                })
            }
        }
    }

    fn of_mesh(&self) -> Origin {
        Origin {
            resource: ResourceRef {
                kind: "MeshConfig".into(),
                namespace: self.of.options.mesh.root_namespace.clone(),
                name: "outboundTrafficPolicy".into(),
            },
            path: String::new(),
            position: None,
        }
    }
}

fn passed(policy: UnknownPolicy, target: &ClusterTarget, origin: &Arc<Origin>) -> Otherwise {
    let route = Arc::new(forwarding(ALLOW_ANY, target, origin));
    let host = VirtualHost {
        name: ALLOW_ANY.into(),
        domain: "*".into(),
        https_redirect: None,
        routes: Arc::new(RouteSet::new(vec![route])),
    };
    let mut virtual_hosts = HostMap::default();
    virtual_hosts.add("*", Arc::new(host));
    Otherwise {
        policy,
        virtual_hosts,
        routes: TcpRoutes(vec![connection_route(target, origin)]),
    }
}
