//! Who the table is for, and what holds for the whole mesh.

use crate::{
    AutoAllocate, EgressMode, ForbiddenNetworks, Locality, PathNormalization, Target,
    TlsTermination,
};
use ipnet::IpNet;
use model::{Labels, OutboundMode};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The proxy a table is compiled for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proxy {
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace: what must be exported to it is, and its own objects come first.
    pub namespace: Arc<str>,
    /// What `Gateway.spec.selector` is matched against.
    pub labels: Labels,
    /// Where it is. Unknown: no endpoint is nearer than another because of its place.
    pub locality: Locality,
}

/// Istio's MeshConfig, as far as it shapes the table or the requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mesh {
    /// What a short host name ends in. Default `cluster.local`.
    pub domain_suffix: Arc<str>,
    /// DestinationRules there hold for everybody. Default `istio-system`.
    pub root_namespace: Arc<str>,
    /// How paths are normalised before they are matched and forwarded. Default [`PathNormalization::Base`].
    pub path_normalization: PathNormalization,
    /// Whether upstreams on HTTP ports are spoken to in HTTP/2 unless a DestinationRule says otherwise. Default false.
    pub h2_upgrade: bool,
    /// How long a TCP connection to an upstream may take. Default 10 s.
    pub connect_timeout: Duration,
    /// Whether a mirrored request's host gets the suffix `-shadow`, as it did up to Istio 1.27. Default false.
    pub shadow_host_suffix: bool,
    /// What becomes of what is not in the registry. Default `REGISTRY_ONLY`, unlike Istio's.
    pub outbound_traffic_policy: OutboundMode,
    /// The trust domain of the mesh's identities. Default `cluster.local`.
    pub trust_domain: Arc<str>,
    /// Trust domains whose identities are those of the mesh's own. Default none.
    pub trust_domain_aliases: Vec<Arc<str>>,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            domain_suffix: "cluster.local".into(),
            root_namespace: "istio-system".into(),
            path_normalization: PathNormalization::default(),
            h2_upgrade: false,
            connect_timeout: Duration::from_secs(10),
            shadow_host_suffix: false,
            outbound_traffic_policy: OutboundMode::RegistryOnly,
            trust_domain: "cluster.local".into(),
            trust_domain_aliases: Vec::new(),
        }
    }
}

/// Whom a [`Compiler`](super::Compiler) compiles for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CompileOptions {
    /// The proxy.
    pub proxy: Proxy,
    /// What holds for the whole mesh.
    pub mesh: Mesh,
    /// Addresses that no name may stand for.
    pub forbidden: ForbiddenNetworks,
    /// Whether endpoints in the mesh are spoken to in its TLS where no DestinationRule says anything about TLS. Default
    /// false: the proxy has no identity to show.
    pub auto_mtls: bool,
    /// The forward proxy. Absent: there is none.
    pub forward_proxy: Option<ForwardProxyOptions>,
    /// What it does as the sidecar of a workload, which is then the proxy's own namespace and labels. Absent: it is
    /// none.
    pub sidecar: Option<SidecarOptions>,
    /// What the workload may ask for by name. Absent: nobody asks, so there are no names and no virtual addresses.
    pub names: Option<NameOptions>,
}

/// A sidecar that is to be compiled.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SidecarOptions {
    /// Where what the workload sends is redirected to. Absent: nowhere.
    pub outbound: Option<SocketAddr>,
    /// Where what the workload receives is redirected to. Absent: nowhere.
    pub inbound: Option<SocketAddr>,
    /// Whether the workload gets what it receives on loopback, as in Istio before 1.10, rather than on the address
    /// that was connected to.
    pub inbound_on_loopback: bool,
    /// Services that the workload reaches at addresses of its own.
    pub ports: Vec<LocalPortOptions>,
    /// The ports of the workload's containers that have a name. Of others the Pods among the resources tell.
    pub named_ports: BTreeMap<String, u16>,
}

/// A service at an address of a sidecar's workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalPortOptions {
    /// Where the sidecar listens.
    pub address: SocketAddr,
    /// The service. A short name is one of the workload's namespace.
    pub service: Target,
}

/// What a workload may ask for by name, where its DNS is answered here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NameOptions {
    /// Which virtual addresses are given to ServiceEntries without addresses, and to Services of files that do not
    /// say theirs. Default none. Kinds that the workload has no route for do it no good.
    pub auto_allocate: AutoAllocate,
}

/// A forward proxy that is to be compiled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForwardProxyOptions {
    /// Where it listens.
    pub address: SocketAddr,
    /// How TLS ends there. Absent: it is in clear.
    pub tls: Option<TlsTermination>,
    /// Clients that are told apart, the first that fits counts.
    pub clients: Vec<ClientOptions>,
    /// The workload that all others are taken for. Absent: they are refused.
    pub others: Option<CallerOptions>,
    /// Whether what is not allowed is refused.
    pub mode: EgressMode,
}

/// Clients that see the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientOptions {
    /// Their addresses. Empty: any.
    pub networks: Vec<IpNet>,
    /// Names in their certificates, exact or ending in `*`. Empty: they need none.
    pub principals: Vec<String>,
    /// The workload that they are taken for.
    pub caller: CallerOptions,
}

/// A workload as rules see it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct CallerOptions {
    /// Its namespace: what must be exported to it is.
    pub namespace: Arc<str>,
    /// Its labels, which Sidecars and `sourceLabels` select by.
    pub labels: Labels,
}
