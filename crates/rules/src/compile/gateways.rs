//! Gateways to listeners: which servers are this proxy's, and which of them share a port.

use super::Proxy;
use super::diagnostics::{Help, warning};
use crate::ListenerKey;
use ahash::{HashMap, HashMapExt};
use model::{
    Bind, Diagnostic, Gateway, GatewayHost, GatewayRef, Origin, Resources, Server, ServerKind,
    ServerTlsMode, selects,
};
use std::sync::Arc;

/// How many hosts a message lists.
const MAX_SHOWN: usize = 5;

/// The Gateways that select the proxy, the oldest first.
pub(crate) fn selected(proxy: &Proxy, resources: &Resources) -> Vec<Arc<Gateway>> {
    let mut gateways: Vec<_> = resources
        .gateways
        .values()
        .filter(|gateway| selects(&gateway.selector, &proxy.labels))
        .cloned()
        .collect();
    gateways.sort_by(|one, other| age(one).cmp(&age(other)));
    gateways
}

fn age(gateway: &Gateway) -> (Option<model::Timestamp>, &str, &str) {
    let meta = &gateway.meta;
    (meta.creation_timestamp, meta.name(), meta.namespace())
}

/// How a VirtualService names a Gateway.
pub(crate) fn named(gateway: &Gateway) -> GatewayRef {
    let reference = &gateway.meta.reference;
    GatewayRef::Gateway {
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
    }
}

/// A port to be opened, and the servers that share it in order.
pub(crate) struct PlannedListener {
    /// Its identity.
    pub(crate) key: ListenerKey,
    /// At least one; the first decides what the port speaks.
    pub(crate) servers: Vec<PlannedServer>,
}

/// A server of a Gateway.
#[derive(Clone, Debug)]
pub(crate) struct PlannedServer {
    gateway: Arc<Gateway>,
    index: usize,
}

impl PlannedServer {
    /// The server.
    pub(crate) fn server(&self) -> &Server {
        &self.gateway.servers[self.index]
    }

    /// How a VirtualService names its Gateway.
    pub(crate) fn via(&self) -> GatewayRef {
        named(&self.gateway)
    }

    /// `namespace/gateway/port-name`
    pub(crate) fn name(&self) -> Arc<str> {
        let meta = &self.gateway.meta;
        let port = &self.server().port.name;
        format!("{}/{}/{port}", meta.namespace(), meta.name()).into()
    }

    /// What it does with TLS.
    pub(crate) fn mode(&self) -> ServerTlsMode {
        let tls = self.server().tls.as_ref();
        tls.map(|tls| tls.mode).unwrap_or_default()
    }

    /// Whether it is the same, unchanged.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.index == other.index && Arc::ptr_eq(&self.gateway, &other.gateway)
    }

    /// Where it stands.
    pub(crate) fn origin(&self) -> Origin {
        self.gateway.meta.origin(self.path(), self.server().at)
    }

    fn path(&self) -> String {
        format!("spec.servers[{}]", self.index)
    }

    /// A warning about it as a whole.
    pub(crate) fn warning(&self, code: &'static str, message: String) -> Diagnostic {
        warning(
            &self.gateway.meta,
            code,
            self.path(),
            self.server().at,
            message,
        )
    }

    /// A warning about one of its hosts.
    pub(crate) fn host_warning(
        &self,
        index: usize,
        code: &'static str,
        message: String,
    ) -> Diagnostic {
        let at = self.server().hosts[index].at;
        let path = format!("{}.hosts[{index}]", self.path());
        warning(&self.gateway.meta, code, path, at, message)
    }
}

/// Groups the servers of `gateways` by where they listen.
///
/// The first server on a port decides what the port speaks; others that speak something else are left out.
pub(crate) fn listeners(
    gateways: &[Arc<Gateway>],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<PlannedListener> {
    let mut plan: Vec<PlannedListener> = Vec::new();
    let mut places: HashMap<Place, usize> = HashMap::new();
    let mut ports: Vec<Vec<PlannedServer>> = Vec::new();
    for server in servers(gateways) {
        let place = Place::of(server.server());
        let port = *places.entry(place).or_insert_with(|| {
            ports.push(Vec::new());
            ports.len() - 1
        });
        match ports[port].first() {
            Some(first) if !can_share(first.server().kind(), server.server().kind()) => {
                diagnostics.push(conflict(first, &server));
            }
            _ => ports[port].push(server),
        }
    }
    for servers in ports {
        plan.extend(planned(servers, diagnostics));
    }
    plan
}

fn servers(gateways: &[Arc<Gateway>]) -> impl Iterator<Item = PlannedServer> {
    gateways.iter().flat_map(|gateway| {
        let indices = 0..gateway.servers.len();
        indices.map(|index| PlannedServer {
            gateway: gateway.clone(),
            index,
        })
    })
}

#[derive(Clone, Eq, Hash, PartialEq)]
struct Place {
    bind: Option<Bind>,
    port: u16,
}

impl Place {
    fn of(server: &Server) -> Self {
        Self {
            bind: server.bind.clone(),
            port: server.port.number,
        }
    }
}

fn can_share(first: ServerKind, later: ServerKind) -> bool {
    match first {
        ServerKind::Http => later == ServerKind::Http,
        ServerKind::Tcp => false,
        ServerKind::Https | ServerKind::TlsTerminated | ServerKind::TlsPassthrough => {
            !matches!(later, ServerKind::Http | ServerKind::Tcp)
        }
    }
}

fn conflict(first: &PlannedServer, later: &PlannedServer) -> Diagnostic {
    let (kept, left) = (first.server(), later.server());
    let message = format!(
        "port {} already speaks {} for {}, so this {} server is left out",
        left.port.number,
        kept.port.protocol,
        first.origin(),
        left.port.protocol,
    );
    later
        .warning("server_conflict", message)
        .help("give one of the two servers another port number")
}

/// The listener of one port, if what it speaks is served.
fn planned(
    servers: Vec<PlannedServer>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<PlannedListener> {
    let first = servers.first()?.server();
    let bind = match &first.bind {
        None => None,
        Some(Bind::Ip(address)) => Some(*address),
        Some(Bind::Unix(_)) => {
            let unserved = |server: &PlannedServer| {
                server.warning(
                    "not_yet_served",
                    "servers on Unix sockets are not served yet".into(),
                )
            };
            diagnostics.extend(servers.iter().map(unserved));
            return None;
        }
    };
    let key = ListenerKey {
        bind,
        port: first.port.number,
    };
    let servers = match first.kind() {
        ServerKind::Http | ServerKind::Tcp => servers,
        _ => without_repeated_hosts(servers, diagnostics),
    };
    Some(PlannedListener { key, servers })
}

/// Leaves out servers of a TLS port that name a host, spelt the same, of an earlier one.
fn without_repeated_hosts(
    servers: Vec<PlannedServer>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<PlannedServer> {
    let mut named: HashMap<String, PlannedServer> = HashMap::new();
    let mut kept = Vec::with_capacity(servers.len());
    for server in servers {
        let hosts = &server.server().hosts;
        let repeated = hosts
            .iter()
            .find_map(|host| Some((host, named.get(&host.to_string())?)));
        if let Some((host, earlier)) = repeated {
            diagnostics.push(repeats(&server, host, earlier));
            continue;
        }
        named.extend((hosts.iter()).map(|host| (host.to_string(), server.clone())));
        kept.push(server);
    }
    kept
}

fn repeats(later: &PlannedServer, host: &GatewayHost, earlier: &PlannedServer) -> Diagnostic {
    let message = format!(
        "port {} already serves host {:?} for {}, so this server is left out",
        later.server().port.number,
        host.to_string(),
        earlier.origin(),
    );
    later
        .warning("server_conflict", message)
        .help("name each host in one server of the port only")
}

/// The hosts of some servers, to be intersected with those of VirtualServices.
#[derive(Default)]
pub(crate) struct ServerHosts<'s> {
    exact: HashMap<&'s str, Vec<&'s GatewayHost>>,
    wildcards: Vec<&'s GatewayHost>,
}

impl<'s> ServerHosts<'s> {
    /// Adds the hosts of a server.
    pub(crate) fn add(&mut self, server: &'s Server) {
        for host in &server.hosts {
            if host.host.is_wildcard() {
                self.wildcards.push(host);
            } else {
                self.exact.entry(host.host.as_str()).or_default().push(host);
            }
        }
    }

    /// Whether they are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty()
    }

    /// Whether one of them stands for all that `host` stands for, for a VirtualService of `namespace`.
    pub(crate) fn cover(&self, host: &model::HostPattern, namespace: &str) -> bool {
        let same = self.exact.get(host.as_str()).into_iter().flatten();
        let covering = (self.wildcards.iter()).filter(|server| server.host.covers(host));
        same.chain(covering).any(|server| server.admits(namespace))
    }

    /// Whether a VirtualService of `namespace` is served on one of the hosts that `host` stands for.
    pub(crate) fn serve(&self, host: &model::HostPattern, namespace: &str) -> bool {
        let mut found = false;
        self.each(host, namespace, &mut |_| found = true);
        found
    }

    /// Some of them, to be shown.
    pub(crate) fn first(&self) -> impl Iterator<Item = &GatewayHost> {
        let mut exact: Vec<_> = self.exact.values().flatten().copied().collect();
        exact.sort_by(|one, other| one.host.cmp(&other.host));
        exact
            .into_iter()
            .chain(self.wildcards.iter().copied())
            .take(MAX_SHOWN)
    }

    /// The hosts that a VirtualService of `namespace` for `host` is served on.
    pub(crate) fn each<'h>(
        &self,
        host: &'h model::HostPattern,
        namespace: &str,
        found: &mut impl FnMut(&'h model::HostPattern),
    ) where
        's: 'h,
    {
        let admitted = |server: &&&'s GatewayHost| server.admits(namespace);
        if host.is_wildcard() {
            let exact = self.exact.values().flatten();
            exact
                .chain(&self.wildcards)
                .filter(admitted)
                .for_each(|server| {
                    if let Some(common) = server.host.intersection(host) {
                        found(common);
                    }
                });
            return;
        }
        if self.cover(host, namespace) {
            found(host);
        }
    }
}

/// How a virtual host spells a host: IPv6 addresses stand in brackets, as in a `Host` header.
pub(crate) fn domain_of(host: &model::HostPattern) -> Arc<str> {
    match host.ip() {
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]").into(),
        _ => host.shared(),
    }
}
