//! ServiceEntry: services outside the cluster, or made of workloads.

use crate::{At, ExportTo, HostPattern, Labels, Located, Meta, PortProtocol, Workload};
use ipnet::IpNet;

/// A service that Kubernetes does not know.
///
/// Source: Istio `ServiceEntry`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEntry {
    /// Identity.
    pub meta: Meta,
    /// 1 to 256 names; never `*`.
    pub hosts: Vec<Located<HostPattern>>,
    /// Virtual addresses; a network only with resolution NONE or STATIC.
    pub addresses: Vec<IpNet>,
    /// Numbers and names are unique.
    pub ports: Vec<ServiceEntryPort>,
    /// Default outside the mesh.
    pub location: Location,
    /// Default none.
    pub resolution: Resolution,
    /// Its endpoints. Excludes `workload_selector`.
    pub endpoints: Vec<Workload>,
    /// `workloadSelector.labels`: WorkloadEntries and Pods of the namespace are its endpoints.
    pub workload_selector: Option<Labels>,
    /// Who sees it.
    pub export_to: ExportTo,
    /// Names of which a server's certificate must have one when TLS is originated.
    pub subject_alt_names: Vec<String>,
}

/// A port of a [`ServiceEntry`].
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEntryPort {
    /// Where it stands.
    pub at: At,
    /// 1 to 65535.
    pub number: u16,
    /// [`PortProtocol::Unspecified`] when absent.
    pub protocol: PortProtocol,
    /// A DNS label.
    pub name: String,
    /// The endpoints' port. Absent: `number`.
    pub target_port: Option<u16>,
}

/// Whether a service belongs to the mesh.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Location {
    /// No mesh TLS; external in metrics.
    #[default]
    MeshExternal,
    /// As a service of the mesh.
    MeshInternal,
}

/// How a service's addresses are found.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Resolution {
    /// The caller's own destination.
    #[default]
    None,
    /// The endpoints' addresses.
    Static,
    /// Names of the endpoints, or the host, resolved; all addresses are used.
    Dns,
    /// As DNS, but the first address only.
    DnsRoundRobin,
    /// The host of each request, resolved.
    DynamicDns,
}
