//! The compiled configuration: listeners, virtual hosts, routes, clusters.

use crate::{
    Action, Cluster, ClusterKey, ForwardProxy, HostMap, Inbound, OutboundListener, ServicePort,
    TcpRoutes, TlsServer, VirtualHosts,
};
use ahash::HashMap;
use model::{ArcMap, Origin};
use std::net::IpAddr;
use std::sync::Arc;

/// One generation of the configuration. Immutable; parts that did not change are shared with the one before.
#[derive(Debug, Default)]
pub struct Table {
    /// Counts up from 1 with each published configuration; 0 is the empty table before the first.
    pub generation: u64,
    /// All listeners, by key.
    pub listeners: HashMap<ListenerKey, Arc<Listener>>,
    /// All clusters that a route leads to, by key.
    pub clusters: ArcMap<ClusterKey, Cluster>,
}

impl Table {
    /// The clusters whose endpoints are those of a service port.
    pub fn clusters_of<'t>(
        &'t self,
        service: &ServicePort,
    ) -> impl Iterator<Item = &'t ClusterKey> {
        let first = ClusterKey {
            host: service.host.clone(),
            subset: None,
            port: 0,
            view: None,
        };
        let from = self.clusters.starting_at(first).map(|(key, _)| key);
        from.take_while(|key| key.host == service.host)
            .filter(|key| key.port == service.port && key.view == service.view)
    }

    /// The listener of a connection that came on `key`, to the address `local`. When that listener is gone, one
    /// that would accept such connections takes over: the server's `bind` has changed, and what was accepted
    /// meanwhile must not suffer from it.
    pub fn listener(&self, key: &ListenerKey, local: IpAddr) -> Option<&Arc<Listener>> {
        self.listeners.get(key).or_else(|| {
            let heirs = self.listeners.values().filter(|one| {
                one.key.port == key.port && one.key.bind.is_none_or(|bind| bind == local)
            });
            heirs.max_by_key(|one| one.key)
        })
    }
}

/// What a listener is bound to: the Gateway server's `bind` and port number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListenerKey {
    /// Source: Istio `Server.bind`. Absent: the address of the bootstrap file.
    pub bind: Option<IpAddr>,
    /// Source: Istio `Server.port.number`; the bootstrap file may map it to another.
    pub port: u16,
}

/// A port, and what is served on it.
#[derive(Debug)]
pub struct Listener {
    /// Its identity.
    pub key: ListenerKey,
    /// What is done with its connections.
    pub serves: Serves,
    /// The Gateway servers that asked for it.
    pub origins: Vec<Arc<Origin>>,
}

/// What is done with a listener's connections.
#[derive(Debug)]
pub enum Serves {
    /// HTTP in clear.
    Http(VirtualHosts),
    /// TLS: the name that a client asks for (SNI) chooses the server. A client that names nobody, or nobody
    /// known, is served by the server of `*`, or has its handshake ended.
    Tls(HostMap<TlsServer>),
    /// Bytes in clear.
    Tcp(TcpRoutes),
    /// Requests and tunnels to wherever a client wants to go, as far as it may.
    ForwardProxy(Arc<ForwardProxy>),
    /// What a sidecar's workload sends.
    Outbound(Arc<OutboundListener>),
    /// What a sidecar's workload receives.
    Inbound(Arc<Inbound>),
}

impl Listener {
    /// The virtual hosts for requests on a connection in clear.
    pub fn virtual_hosts(&self) -> Option<&VirtualHosts> {
        match &self.serves {
            Serves::Http(hosts) => Some(hosts),
            _ => None,
        }
    }

    /// The TLS server for a client that asked for `sni`. Absent `sni`: it named nobody.
    pub fn tls_server(&self, sni: Option<&str>) -> Option<&Arc<TlsServer>> {
        let Serves::Tls(servers) = &self.serves else {
            return None;
        };
        match sni {
            Some(name) => servers.lookup(name),
            None => servers.any(),
        }
    }
}

/// Domains that share ordered routes.
#[derive(Debug)]
pub struct VirtualHost {
    /// `host:port`, as Istio names it.
    pub name: Arc<str>,
    /// The domain: exact, `*.suffix` or `*`. Lower case.
    pub domain: Arc<str>,
    /// The Gateway server of this host that asks to redirect everything to HTTPS; of several the first.
    pub https_redirect: Option<Arc<Origin>>,
    /// The ordered routes with their index, shared by hosts that have the same.
    pub routes: Arc<crate::RouteSet>,
}

/// One match with its action.
#[derive(Debug)]
pub struct Route {
    /// `HTTPRoute.name`, with the match's name after a dot. Empty when unnamed.
    pub name: Arc<str>,
    /// When it applies.
    pub predicate: crate::Predicate,
    /// What it does.
    pub action: Action,
    /// The VirtualService's rule.
    pub origin: Arc<Origin>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TlsAction;
    use crate::testing::origin;

    /// A listener with a server of each domain.
    fn tls(domains: &[&str]) -> Listener {
        let mut servers = HostMap::default();
        for domain in domains {
            let server = TlsServer {
                name: (*domain).into(),
                action: TlsAction::Passthrough(TcpRoutes::default()),
                origin: origin(),
            };
            servers.add(domain, Arc::new(server));
        }
        listener(Serves::Tls(servers))
    }

    fn listener(serves: Serves) -> Listener {
        let key = ListenerKey {
            bind: None,
            port: 443,
        };
        Listener {
            key,
            serves,
            origins: Vec::new(),
        }
    }

    #[track_caller]
    fn check(domains: &[&str], cases: &[(Option<&str>, Option<&str>)]) {
        let listener = tls(domains);
        for (sni, want) in cases {
            let found = listener.tls_server(*sni).map(|server| &*server.name);
            assert_eq!(found, *want, "{sni:?}");
        }
    }

    #[test]
    fn the_most_specific_server_takes_a_name_in_any_case() {
        check(
            &["a.test", "*.test", "*.b.test"],
            &[
                (Some("A.Test"), Some("a.test")),
                (Some("x.TEST"), Some("*.test")),
                (Some("x.y.b.test"), Some("*.b.test")),
                (Some("b.test"), Some("*.test")),
                (Some("test"), None),
                (Some("other"), None),
            ],
        );
    }

    #[test]
    fn who_names_nobody_is_served_by_the_star_only() {
        check(&["a.test", "*.test"], &[(None, None), (Some(""), None)]);
        check(
            &["a.test", "*"],
            &[
                (None, Some("*")),
                (Some(""), Some("*")),
                (Some("other"), Some("*")),
                (Some("a.test"), Some("a.test")),
            ],
        );
    }

    #[test]
    fn a_thousand_names_are_told_apart() {
        let domains: Vec<String> = (0..1000).map(|number| format!("s{number}.test")).collect();
        let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
        let cases: Vec<_> = domains
            .iter()
            .map(|name| (Some(*name), Some(*name)))
            .collect();
        check(&domains, &cases);
        check(&domains, &[(Some("s1000.test"), None), (None, None)]);
    }

    #[test]
    fn only_a_tls_port_has_tls_servers() {
        let in_clear = [
            Serves::Http(VirtualHosts::default()),
            Serves::Tcp(TcpRoutes::default()),
        ];
        for serves in in_clear {
            assert!(listener(serves).tls_server(Some("a.test")).is_none());
        }
        assert!(tls(&["*"]).virtual_hosts().is_none());
    }
}
