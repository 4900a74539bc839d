//! Istio's `Destination` to a cluster.

use super::Scope;
use super::balancer_findings::balancer_findings;
use super::clusters::{NoCluster, Traffic};
use super::diagnostics::{Help, warning};
use super::part::{Layer, Part};
use super::resolve::Resolved;
use super::upstream_tls_findings::upstream_tls_findings;
use crate::{ClusterKey, ClusterTarget, MissingCluster};
use model::{Destination, Diagnostic, PortProtocol, VirtualService};
use std::sync::Arc;

impl Scope<'_> {
    /// The cluster that `destination`, which stands at `path` of `owner`, leads to.
    pub(super) fn target(
        &mut self,
        destination: &Destination,
        owner: &VirtualService,
        path: &str,
        part: &mut Part,
    ) -> ClusterTarget {
        let host = destination
            .host
            .expand(owner.meta.namespace(), &self.options.mesh.domain_suffix)
            .shared();
        let resolved = self
            .resolver
            .resolve(&host, &self.options.proxy, &self.options.mesh);
        let key = ClusterKey {
            view: self.view.cloned(),
            host,
            subset: destination.subset.as_deref().map(Arc::from),
            port: self.port_of(destination, &resolved),
        };
        part.use_host(&resolved);
        let traffic = match self.layer {
            Layer::Http => Traffic::Http,
            Layer::Tls | Layer::Tcp => Traffic::Bytes,
        };
        let found = self
            .clusters
            .find(key.clone(), traffic, &resolved, self.options);
        let site = Site {
            destination,
            traffic,
            owner,
            path,
            key: &key,
            resolved: &resolved,
        };
        match found {
            Ok(cluster) => {
                let told = balancer_findings(&key, &resolved, &self.options.proxy);
                part.diagnostics.extend(told);
                let told = upstream_tls_findings(&key, &resolved);
                part.diagnostics.extend(told);
                part.use_cluster(&cluster);
                ClusterTarget::Cluster(cluster)
            }
            Err(why) => {
                let diagnostic = site.missing(why, &self.options.proxy.namespace);
                let reason = diagnostic.message.as_str().into();
                part.diagnostics.push(diagnostic);
                ClusterTarget::Missing(MissingCluster { key, reason })
            }
        }
    }

    /// Without a port: the service's only one, else the listener's.
    fn port_of(&self, destination: &Destination, resolved: &Resolved) -> u16 {
        let only = match resolved
            .service
            .as_ref()
            .map(|service| service.ports.as_slice())
        {
            Some([port]) => Some(port.number),
            _ => None,
        };
        destination.port.or(only).unwrap_or(self.port)
    }
}

/// A destination where it stands, and what is known of it.
struct Site<'s> {
    destination: &'s Destination,
    traffic: Traffic,
    owner: &'s VirtualService,
    path: &'s str,
    key: &'s ClusterKey,
    resolved: &'s Resolved,
}

impl Site<'_> {
    fn warning(&self, code: &'static str, field: &str, message: String) -> Diagnostic {
        let path = format!("{}{field}", self.path);
        warning(&self.owner.meta, code, path, self.destination.at, message)
    }

    fn missing(&self, why: NoCluster, proxy_namespace: &str) -> Diagnostic {
        match why {
            NoCluster::Service => self.no_service(proxy_namespace),
            NoCluster::Port => self.no_port(),
            NoCluster::Subset => self.no_subset(),
            NoCluster::PortTls(protocol) => self.no_tls(protocol),
        }
    }

    fn no_service(&self, proxy_namespace: &str) -> Diagnostic {
        let host = &self.key.host;
        let message = match &self.resolved.hidden {
            Some(provider) => {
                format!(
                    "{provider} provides host {host:?}, but is not exported to namespace {proxy_namespace:?}"
                )
            }
            None => format!("no Service or ServiceEntry provides host {host:?}"),
        };
        let diagnostic = self.warning("unknown_destination", ".host", message);
        if self.resolved.hidden.is_none() && self.destination.host.is_short() {
            let namespace = self.owner.meta.namespace();
            let help = format!(
                "a name without a dot stands for a service of the object's namespace, {namespace:?}"
            );
            return diagnostic.help(help);
        }
        diagnostic.help(format!("{} until it exists", self.consequence()))
    }

    fn no_port(&self) -> Diagnostic {
        let ports = self
            .resolved
            .service
            .iter()
            .flat_map(|service| &service.ports);
        let ports: Vec<_> = ports.map(|port| port.number.to_string()).collect();
        let has = match ports.as_slice() {
            [] => "it has none".to_owned(),
            ports => format!("it has {}", ports.join(", ")),
        };
        let (host, port) = (&self.key.host, self.key.port);
        let message = format!("service {host:?} has no port {port}; {has}");
        let diagnostic = self.warning("unknown_destination_port", ".port", message);
        if self.destination.port.is_some() {
            return diagnostic;
        }
        diagnostic
            .help("without `port.number` the listener's port is taken when the service has several")
    }

    fn no_subset(&self) -> Diagnostic {
        let subset = self.key.subset.as_deref().unwrap_or_default();
        let message = match &self.resolved.rule {
            Some(rule) => format!(
                "{} defines no subset {subset:?}",
                rule.first().meta.reference
            ),
            None => format!(
                "no DestinationRule for {:?} defines subset {subset:?}",
                self.key.host
            ),
        };
        self.warning("unknown_subset", ".subset", message)
    }

    fn no_tls(&self, protocol: PortProtocol) -> Diagnostic {
        let (host, port) = (&self.key.host, self.key.port);
        let message = format!(
            "port {port} of {host:?} speaks {protocol}, and no DestinationRule says how TLS is begun with it"
        );
        let help = format!(
            "{}, since nothing is sent there in clear text; add a DestinationRule with `trafficPolicy.tls`",
            self.consequence()
        );
        self.warning("upstream_tls", "", message).help(help)
    }

    /// What becomes of what would be sent there.
    fn consequence(&self) -> &'static str {
        match self.traffic {
            Traffic::Http => "requests are answered 503",
            Traffic::Bytes => "connections are closed",
        }
    }
}
