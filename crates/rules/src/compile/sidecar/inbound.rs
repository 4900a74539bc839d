//! What a workload receives: the ports that services have of it, or its Sidecar says it has.

use super::super::outbound::{Limits, Surroundings, connection_route, forwarding};
use super::super::{CompileOptions, SidecarOptions, pool};
use super::ingress;
use super::own_ports::{self, OwnPort};
use super::{own_origin, tls};
use crate::{AuthorizationCompiler, ForbiddenNetworks, PeerMtlsCompiler};
use crate::{
    Cluster, ClusterKey, ClusterTarget, ConnectionPool, Endpoint, EndpointAddr, Inbound,
    InboundPort, OnDemand, OutboundProtocol, PeerMtls, RouteSet, ServicePort, TcpRoutes, TlsAction,
    TlsServer, TlsTermination, UpstreamProtocol, VirtualHost, VirtualHosts,
};
use ahash::HashMap;
use model::{Diagnostic, Origin};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Envoy's name for the route of what a workload receives.
const DEFAULT: &str = "default";

/// Compiles what a workload receives again and again.
#[derive(Debug, Default)]
pub(super) struct InboundCompiler {
    planned: Plan,
    /// The workload's own.
    namespace: Arc<str>,
    mtls: PeerMtlsCompiler,
    authorization: AuthorizationCompiler,
    last: Option<Arc<Inbound>>,
    clusters: Vec<Arc<Cluster>>,
    endpoints: Vec<(ServicePort, Arc<[Endpoint]>)>,
    diagnostics: Vec<Diagnostic>,
}

/// What is to be compiled. As long as it is the same, so is the outcome.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    ports: Vec<PortPlan>,
    otherwise: Option<PortPlan>,
}

/// A port of the workload.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PortPlan {
    /// The workload's port. Absent: all that nobody has.
    pub(super) number: Option<u16>,
    pub(super) protocol: OutboundProtocol,
    /// The service that has it. Absent: none.
    pub(super) service: Option<ServiceNames>,
    /// What is spoken to the application.
    pub(super) upstream: UpstreamProtocol,
    pub(super) to: Application,
    pub(super) pool: ConnectionPool,
    /// The listener's own TLS, which is ended where the mesh's is not.
    pub(super) tls: Option<TlsTermination>,
    pub(super) origin: Arc<Origin>,
}

/// A service, for metrics labels.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ServiceNames {
    pub(super) host: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) namespace: Arc<str>,
}

/// Where an application listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Application {
    /// At the address that was connected to, on this port. Absent: on the port that was connected to.
    Instance(Option<u16>),
    /// At an address of its own.
    At(EndpointAddr),
}

impl InboundCompiler {
    /// What the workload receives: the same `Arc` as long as nothing about it changes.
    pub(super) fn compile(
        &mut self,
        options: &CompileOptions,
        of: &SidecarOptions,
        limits: &Limits,
        around: &mut Surroundings<'_>,
    ) -> Arc<Inbound> {
        self.diagnostics = Vec::new();
        let mtls = self.mtls.compile(options, around.resources);
        let plan = self.plan(options, of, limits, &mtls, around);
        let authorization = self.authorization.compile(options, around.resources);
        if let Some(last) = &self.last
            && self.planned == plan
            && Arc::ptr_eq(&last.mtls, &mtls)
            && Arc::ptr_eq(&last.authorization, &authorization)
        {
            return last.clone();
        }
        self.namespace = options.proxy.namespace.clone();
        let (ports, otherwise) = self.ports(&plan);
        let inbound = Arc::new(Inbound {
            ports,
            otherwise,
            mtls,
            authorization,
            server: Arc::new(tls::server(&options.mesh, own_origin("capture.inbound"))),
        });
        self.planned = plan;
        self.last.insert(inbound).clone()
    }

    fn plan(
        &mut self,
        options: &CompileOptions,
        of: &SidecarOptions,
        limits: &Limits,
        mtls: &PeerMtls,
        around: &mut Surroundings<'_>,
    ) -> Plan {
        let told = &mut self.diagnostics;
        let sidecar = limits.sidecar();
        let for_all = sidecar.and_then(|sidecar| sidecar.inbound_connection_pool.as_ref());
        let for_all = for_all.map(|settings| pool::of_settings(settings, &options.mesh));
        let own = own_ports::of_workload(options, around, told);
        let mut ports = match sidecar.filter(|sidecar| !sidecar.ingress.is_empty()) {
            Some(sidecar) => {
                let around = ingress::Around {
                    options,
                    of,
                    own: &own,
                    for_all: for_all.as_ref(),
                    mtls,
                };
                ingress::ports(sidecar, &around, told)
            }
            None => {
                let own = own.iter();
                own.map(|own| plan_of(own, for_all.as_ref(), of)).collect()
            }
        };
        ports.sort_by_key(|port| port.number);
        Plan {
            ports,
            otherwise: Some(PortPlan {
                number: None,
                protocol: OutboundProtocol::Unspecified,
                service: None,
                upstream: UpstreamProtocol::AsClient,
                to: instance(of, None),
                pool: for_all.unwrap_or_else(|| pool::of_mesh(&options.mesh)),
                tls: None,
                origin: own_origin("capture.inbound"),
            }),
        }
    }

    /// The ports that something has, and all others.
    fn ports(&mut self, plan: &Plan) -> (HashMap<u16, Arc<InboundPort>>, Arc<InboundPort>) {
        self.clusters = Vec::new();
        self.endpoints = Vec::new();
        let mut ports = HashMap::default();
        for port in &plan.ports {
            if let Some(number) = port.number {
                ports.insert(number, Arc::new(self.port(port)));
            }
        }
        let otherwise = plan.otherwise.as_ref().map(|port| self.port(port));
        (ports, Arc::new(otherwise.unwrap_or_else(nothing)))
    }

    fn port(&mut self, plan: &PortPlan) -> InboundPort {
        let cluster = self.cluster(plan);
        let target = ClusterTarget::Cluster(cluster);
        let mut virtual_hosts = VirtualHosts::default();
        if matches!(
            plan.protocol,
            OutboundProtocol::Http | OutboundProtocol::Unspecified
        ) {
            let number = plan.number.unwrap_or_default();
            let route = forwarding(DEFAULT, &target, &plan.origin);
            let host = VirtualHost {
                name: format!("inbound|http|{number}").into(),
                domain: "*".into(),
                https_redirect: None,
                routes: Arc::new(RouteSet::new(vec![Arc::new(route)])),
            };
            virtual_hosts.add("*", Arc::new(host));
        }
        InboundPort {
            protocol: plan.protocol,
            virtual_hosts,
            routes: TcpRoutes(vec![connection_route(&target, &plan.origin)]),
            tls: plan.tls.as_ref().map(|tls| Arc::new(tls_server(plan, tls))),
            origin: plan.origin.clone(),
        }
    }

    fn cluster(&mut self, plan: &PortPlan) -> Arc<Cluster> {
        let key = ClusterKey::inbound(plan.number);
        let mut cluster = Cluster::plain(key, plan.upstream);
        cluster.pool = plan.pool.clone();
        cluster.from_sidecar = true;
        cluster.service_host = "".into();
        cluster.namespace = self.namespace.clone();
        if let Some(service) = &plan.service {
            cluster.service_host = service.host.clone();
            cluster.service_name = service.name.clone();
            cluster.namespace = service.namespace.clone();
        }
        match &plan.to {
            Application::Instance(port) => cluster.on_demand = Some(Arc::new(instances(*port))),
            Application::At(address) => {
                let endpoint = Endpoint::at(address.clone());
                self.endpoints
                    .push((cluster.key.service(), Arc::new([endpoint])));
            }
        }
        let cluster = Arc::new(cluster);
        self.clusters.push(cluster.clone());
        cluster
    }

    /// The clusters that it leads to.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.iter()
    }

    /// The endpoints of those that have addresses of their own.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = (ServicePort, Arc<[Endpoint]>)> {
        self.endpoints.iter().cloned()
    }

    /// What is to be said about it.
    pub(super) fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> {
        let own = self.diagnostics.iter().cloned();
        let of_policies = self
            .mtls
            .diagnostics()
            .chain(self.authorization.diagnostics());
        own.chain(of_policies)
    }
}

/// A port that a service has. Limits of the Sidecar come before those of the service's DestinationRule.
fn plan_of(own: &OwnPort, for_all: Option<&ConnectionPool>, of: &SidecarOptions) -> PortPlan {
    PortPlan {
        number: Some(own.number),
        protocol: own.protocol.into(),
        service: Some(own.service.clone()),
        upstream: spoken(own.protocol),
        to: instance(of, Some(own.number)),
        pool: for_all.unwrap_or(&own.pool).clone(),
        tls: None,
        origin: own.origin.clone(),
    }
}

/// What is spoken to the application on a port. Where it may be either, what the client spoke.
pub(super) fn spoken(protocol: model::PortProtocol) -> UpstreamProtocol {
    match protocol {
        one if one.is_http2() => UpstreamProtocol::Http2,
        one if one.is_tls() => UpstreamProtocol::Tcp,
        _ => UpstreamProtocol::AsClient,
    }
}

/// Where the application is, unless its Sidecar says otherwise. `port`: the workload's. Absent: any.
pub(super) fn instance(of: &SidecarOptions, port: Option<u16>) -> Application {
    match (of.inbound_on_loopback, port) {
        (true, Some(port)) => loopback(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        _ => Application::Instance(None),
    }
}

/// A port of loopback.
pub(super) fn loopback(address: IpAddr, port: u16) -> Application {
    Application::At(EndpointAddr::Tcp(SocketAddr::new(address, port)))
}

/// The address that was connected to is one of the workload's own, whatever it is.
fn instances(port: Option<u16>) -> OnDemand {
    OnDemand {
        names: None,
        addresses: Vec::new(),
        any_address: true,
        port,
        forbidden: ForbiddenNetworks::new([]),
    }
}

fn tls_server(plan: &PortPlan, tls: &TlsTermination) -> TlsServer {
    TlsServer {
        name: format!("inbound|{}", plan.number.unwrap_or_default()).into(),
        action: TlsAction::Workload(Arc::new(tls.clone())),
        origin: plan.origin.clone(),
    }
}

fn nothing() -> InboundPort {
    InboundPort {
        protocol: OutboundProtocol::Unspecified,
        virtual_hosts: VirtualHosts::default(),
        routes: TcpRoutes::default(),
        tls: None,
        origin: own_origin("capture.inbound"),
    }
}
