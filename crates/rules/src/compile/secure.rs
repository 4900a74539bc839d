//! Servers of TLS ports by the names that clients ask for, and the routes of connections.

use super::bindings::Bindings;
use super::gateways::{PlannedListener, PlannedServer, ServerHosts, domain_of};
use super::part::{ConnectionRoute, Layer, Part};
use super::routes::shadowed;
use super::run::Run;
use super::spelled::SpelledClusters;
use super::termination::termination;
use super::virtual_hosts::HostPlans;
use crate::{
    HostMap, ListenerKey, TcpRoute, TcpRoutes, TlsAction, TlsServer, TlsTermination, alpn,
};
use model::{Diagnostic, Origin, ServerKind, ServerTlsMode};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// The servers of a TLS port, by domain.
pub(super) type NamedServers = BTreeMap<Arc<str>, Arc<TlsServer>>;

/// The identity of a TLS server between compilations.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct ServerKey {
    listener: ListenerKey,
    /// `namespace/gateway/port-name`
    server: Arc<str>,
    /// PASSTHROUGH: the name that its routes are for.
    sni: Option<Arc<str>>,
}

/// A TLS server, and the Gateway server that it was made of.
#[derive(Debug)]
pub(super) struct CompiledServer {
    of: PlannedServer,
    server: Arc<TlsServer>,
}

/// Who has a name.
enum Claim<'p> {
    /// A server as a whole.
    Server(&'p PlannedServer, Arc<TlsServer>),
    /// Routes of a server whose TLS goes through.
    Routes(&'p PlannedServer, RoutePlan),
}

type Claims<'p> = BTreeMap<Arc<str>, Claim<'p>>;

impl Run<'_> {
    /// The servers of a TLS port. A name that several ask for is the oldest's.
    pub(super) fn tls_servers(
        &mut self,
        planned: &PlannedListener,
        bindings: &Bindings,
    ) -> NamedServers {
        let mut claims = Claims::new();
        for server in &planned.servers {
            match server.mode() {
                ServerTlsMode::Passthrough => {
                    self.claim_routes(server, planned.key, bindings, &mut claims);
                }
                ServerTlsMode::AutoPassthrough => {
                    self.claim_spellings(server, planned.key, &mut claims);
                }
                _ => self.claim_hosts(server, planned.key, bindings, &mut claims),
            }
        }
        let mut servers = NamedServers::new();
        for (name, claim) in claims {
            let server = match claim {
                Claim::Server(_, server) => server,
                Claim::Routes(of, plan) => {
                    let key = ServerKey {
                        listener: planned.key,
                        server: of.name(),
                        sni: Some(name.clone()),
                    };
                    let routes = TcpRoutes(plan.routes);
                    self.keep(key, of, TlsAction::Passthrough(routes))
                }
            };
            servers.insert(name, server);
        }
        servers
    }

    /// A server that ends TLS has all its hosts, with and without a VirtualService.
    fn claim_hosts<'p>(
        &mut self,
        of: &'p PlannedServer,
        listener: ListenerKey,
        bindings: &Bindings,
        claims: &mut Claims<'p>,
    ) {
        let key = ServerKey {
            listener,
            server: of.name(),
            sni: None,
        };
        let action = match of.server().kind() {
            ServerKind::Https => self.https(of, &key, bindings),
            _ => self.ended_tcp(of, &key, bindings),
        };
        let server = self.keep(key, of, action);
        for (index, host) in of.server().hosts.iter().enumerate() {
            match claims.entry(domain_of(&host.host)) {
                Entry::Vacant(free) => {
                    free.insert(Claim::Server(of, server.clone()));
                }
                Entry::Occupied(held) if held.get().of().is(of) => {}
                Entry::Occupied(held) => {
                    let message = format!(
                        "connections for {:?} are taken by {} already",
                        held.key(),
                        held.get().of().origin()
                    );
                    self.findings
                        .push(of.host_warning(index, "sni_conflict", message));
                }
            }
        }
    }

    /// A server that lets TLS through has the names for which VirtualServices have rules.
    fn claim_routes<'p>(
        &mut self,
        of: &'p PlannedServer,
        listener: ListenerKey,
        bindings: &Bindings,
        claims: &mut Claims<'p>,
    ) {
        let via = of.via();
        let mut served = ServerHosts::default();
        served.add(of.server());
        for service in bindings.of(&via, of.server(), &self.before.options) {
            if service.tls.is_empty() {
                continue;
            }
            let part = self.part(service, Layer::Tls, listener.port, &via);
            let namespace = service.meta.namespace();
            for one in &part.connections {
                let Some(sni) = one.sni.as_ref().filter(|sni| served.cover(sni, namespace)) else {
                    continue;
                };
                let claim = claims
                    .entry(domain_of(sni))
                    .or_insert_with(|| Claim::Routes(of, RoutePlan::default()));
                self.findings.extend(claim.add(one, &part));
            }
        }
    }

    /// A server that knows clusters by their spelling has all that nobody else has.
    fn claim_spellings<'p>(
        &mut self,
        of: &'p PlannedServer,
        listener: ListenerKey,
        claims: &mut Claims<'p>,
    ) {
        let key = ServerKey {
            listener,
            server: of.name(),
            sni: None,
        };
        let spelled = SpelledClusters::of(
            of,
            self.before.spelled.get(&key).cloned(),
            &self.before.options,
            &mut self.before.resolver,
            &mut self.before.clusters,
        );
        let action = TlsAction::AutoPassthrough(spelled.map.clone());
        let server = self.keep(key.clone(), of, action);
        let mut taken = Taken::default();
        for name in &spelled.names {
            let claim = claims
                .entry(name.clone())
                .or_insert_with(|| Claim::Server(of, server.clone()));
            taken.note(name, claim.of(), of);
        }
        self.findings.extend(taken.warning(of));
        self.spelled.insert(key, spelled);
    }

    fn https(&mut self, of: &PlannedServer, key: &ServerKey, bindings: &Bindings) -> TlsAction {
        let mut plans = HostPlans::new();
        self.plan_server(of, key.listener.port, bindings, &mut plans);
        let action = self
            .before
            .servers
            .get(key)
            .map(|before| &before.server.action);
        let (held, hosts) = match action {
            Some(TlsAction::Https {
                virtual_hosts,
                hosts,
                ..
            }) => (Some(virtual_hosts.clone()), Some(hosts.clone())),
            _ => (None, None),
        };
        let others = self.virtual_hosts(key.listener, Some(&key.server), plans, held.as_deref());
        let before = self.before.servers.get(key);
        let hosts = hosts.filter(|_| before.is_some_and(|before| before.of.is(of)));
        TlsAction::Https {
            tls: tls(of, before, alpn::HTTP),
            virtual_hosts: match (others, held) {
                (None, Some(held)) => held,
                (others, _) => Arc::new(others.unwrap_or_default()),
            },
            hosts: hosts.unwrap_or_else(|| Arc::new(named_hosts(of))),
        }
    }

    fn ended_tcp(&mut self, of: &PlannedServer, key: &ServerKey, bindings: &Bindings) -> TlsAction {
        TlsAction::Tcp {
            routes: self.tcp_routes(of, key.listener.port, bindings),
            tls: tls(of, self.before.servers.get(key), &[]),
        }
    }

    /// The `tcp` rules of the VirtualServices that have a host in common with a server, until one takes every
    /// connection.
    pub(super) fn tcp_routes(
        &mut self,
        of: &PlannedServer,
        port: u16,
        bindings: &Bindings,
    ) -> TcpRoutes {
        let via = of.via();
        let mut served = ServerHosts::default();
        served.add(of.server());
        let mut plan = RoutePlan::default();
        for service in bindings.of(&via, of.server(), &self.before.options) {
            if service.tcp.is_empty() || self.domains(service, &served).is_empty() {
                continue;
            }
            let part = self.part(service, Layer::Tcp, port, &via);
            for one in &part.connections {
                self.findings.extend(plan.add(one, &part));
            }
        }
        TcpRoutes(plan.routes)
    }

    /// The server as it was, if it was made of the same.
    fn keep(&mut self, key: ServerKey, of: &PlannedServer, action: TlsAction) -> Arc<TlsServer> {
        let before = self.before.servers.get(&key);
        let unchanged = before
            .filter(|before| before.of.is(of) && is_same_action(&before.server.action, &action));
        let server = match unchanged {
            Some(before) => before.server.clone(),
            None => Arc::new(TlsServer {
                name: key.server.clone(),
                action,
                origin: Arc::new(of.origin()),
            }),
        };
        let compiled = CompiledServer {
            of: of.clone(),
            server: server.clone(),
        };
        self.servers.insert(key, compiled);
        server
    }
}

impl Claim<'_> {
    fn of(&self) -> &PlannedServer {
        match self {
            Self::Server(of, _) | Self::Routes(of, _) => of,
        }
    }

    /// Adds a route behind those that are there, or says why it is never reached.
    fn add(&mut self, one: &ConnectionRoute, part: &Part) -> Option<Diagnostic> {
        match self {
            Self::Routes(_, plan) => plan.add(one, part),
            Self::Server(of, _) => {
                let why = "has this name on the same port";
                Some(hidden(one, part, &of.origin(), why))
            }
        }
    }
}

/// The spellings of a server that others have. They are told together: a mesh has thousands.
#[derive(Default)]
struct Taken {
    /// The first of them, and where its server stands.
    first: Option<(Arc<str>, Origin)>,
    count: usize,
}

impl Taken {
    /// Counts a name that is not `of`'s but `holder`'s.
    fn note(&mut self, name: &Arc<str>, holder: &PlannedServer, of: &PlannedServer) {
        if holder.is(of) {
            return;
        }
        self.count += 1;
        self.first
            .get_or_insert_with(|| (name.clone(), holder.origin()));
    }

    fn warning(self, of: &PlannedServer) -> Option<Diagnostic> {
        let (name, holder) = self.first?;
        let mut message = format!("connections for {name:?} are taken by {holder} already");
        if self.count > 1 {
            message += &format!("; of the names of this server, {} are taken", self.count);
        }
        Some(of.warning("sni_conflict", message))
    }
}

/// Routes of several VirtualServices, in order.
#[derive(Default)]
struct RoutePlan {
    routes: Vec<Arc<TcpRoute>>,
}

impl RoutePlan {
    /// Adds a route, or says which one of another VirtualService leaves nothing for it.
    fn add(&mut self, one: &ConnectionRoute, part: &Part) -> Option<Diagnostic> {
        let is_known = |route: &Arc<TcpRoute>| Arc::ptr_eq(route, &one.route);
        if self.routes.iter().any(is_known) {
            return None;
        }
        let Some(earlier) = self.routes.last().filter(|route| route.takes_all()) else {
            self.routes.push(one.route.clone());
            return None;
        };
        // Of its own rules it was told already.
        (earlier.origin.resource != part.virtual_service.meta.reference)
            .then(|| hidden(one, part, &earlier.origin, "takes every connection"))
    }
}

fn hidden(one: &ConnectionRoute, part: &Part, earlier: &Origin, why: &str) -> Diagnostic {
    let place = (&part.virtual_service.meta, one.path.as_str(), one.at);
    Diagnostic {
        code: "shadowed_by_other",
        ..shadowed(place, earlier, why)
    }
}

/// How TLS ends at a server: the same `Arc` as before when nothing about it changed.
fn tls(
    of: &PlannedServer,
    before: Option<&CompiledServer>,
    alpn: &[&'static str],
) -> Arc<TlsTermination> {
    let held = before.and_then(|before| before.server.termination());
    if let (Some(before), Some(held)) = (before, held)
        && before.of.is(of)
    {
        return held.clone();
    }
    let settings = of.server().tls.clone().unwrap_or_default();
    let fresh = termination(&settings, alpn);
    match held.filter(|held| ***held == fresh) {
        Some(before) => before.clone(),
        None => Arc::new(fresh),
    }
}

fn named_hosts(of: &PlannedServer) -> HostMap<()> {
    let mut hosts = HostMap::default();
    for host in &of.server().hosts {
        hosts.add(&domain_of(&host.host), Arc::new(()));
    }
    hosts
}

fn is_same_action(one: &TlsAction, other: &TlsAction) -> bool {
    match (one, other) {
        (
            TlsAction::Https {
                tls,
                virtual_hosts,
                hosts,
            },
            TlsAction::Https {
                tls: other_tls,
                virtual_hosts: other_virtual_hosts,
                hosts: other_hosts,
            },
        ) => {
            Arc::ptr_eq(tls, other_tls)
                && Arc::ptr_eq(virtual_hosts, other_virtual_hosts)
                && Arc::ptr_eq(hosts, other_hosts)
        }
        (
            TlsAction::Tcp { tls, routes },
            TlsAction::Tcp {
                tls: other_tls,
                routes: other_routes,
            },
        ) => Arc::ptr_eq(tls, other_tls) && routes.is(other_routes),
        (TlsAction::Passthrough(routes), TlsAction::Passthrough(other)) => routes.is(other),
        (TlsAction::AutoPassthrough(map), TlsAction::AutoPassthrough(other)) => {
            Arc::ptr_eq(map, other)
        }
        _ => false,
    }
}
