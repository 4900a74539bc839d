//! WorkloadEntry: a process that is no Pod.

use crate::{At, Hostname, Labels, Meta};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A workload outside Kubernetes.
///
/// Source: Istio `WorkloadEntry`.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadEntry {
    /// Identity.
    pub meta: Meta,
    /// The spec; its labels and the object's are one.
    pub workload: Workload,
}

/// An address that serves: the spec of a WorkloadEntry, or an endpoint of a ServiceEntry.
///
/// Source: Istio `WorkloadEntry`.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Where it stands.
    pub at: At,
    /// Absent only when there is a `network`.
    pub address: Option<WorkloadAddress>,
    /// Port by the service port's name. Not with a Unix socket.
    pub ports: BTreeMap<String, u16>,
    /// Labels that subsets and selectors look at.
    pub labels: Labels,
    /// Its network.
    pub network: Option<String>,
    /// `region/zone/subzone`
    pub locality: Option<String>,
    /// Relative share. Absent or 0 in the source: 1.
    pub weight: Option<u32>,
    /// Its service account.
    pub service_account: Option<String>,
}

/// Where a workload listens.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum WorkloadAddress {
    /// An address.
    Ip(IpAddr),
    /// A name to resolve.
    Host(Hostname),
    /// The path of a Unix domain socket, an abstract one with a leading `@`.
    Unix(String),
}
