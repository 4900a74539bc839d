//! DestinationRule: how a service is spoken to once a request goes there.

mod load_balancer;
mod policy;

pub use load_balancer::*;
pub use policy::*;

use crate::{At, ExportTo, HostPattern, Labels, Located, Meta};

/// Policies of a service and its subsets.
///
/// Source: Istio `DestinationRule`.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationRule {
    /// Identity.
    pub meta: Meta,
    /// The service; a short name stands for a service of the object's namespace. `*` is allowed.
    pub host: Located<HostPattern>,
    /// For all subsets that say nothing else.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named parts of the service. Names are unique.
    pub subsets: Vec<Subset>,
    /// Who sees it.
    pub export_to: ExportTo,
    /// `workloadSelector.matchLabels`: only clients with these labels in the object's namespace use it.
    /// Absent: all.
    pub workload_selector: Option<Labels>,
}

/// The endpoints of a service that have some labels.
///
/// Source: Istio `Subset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subset {
    /// Where it stands.
    pub at: At,
    /// A DNS label.
    pub name: String,
    /// Labels an endpoint must have. Empty: all endpoints.
    pub labels: Labels,
    /// Replaces the service's policy block by block.
    pub traffic_policy: Option<TrafficPolicy>,
}
