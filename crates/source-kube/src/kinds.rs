//! The kinds of objects that are followed.

use kube::core::ApiResource;

/// A kind of objects.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Kind {
    /// Its name: `VirtualService`.
    pub(crate) name: &'static str,
    /// The group of its API. Empty: the core.
    pub(crate) group: &'static str,
    /// The versions in which it is read, the first preferred. The API server has the same object in all that it serves.
    pub(crate) versions: &'static [&'static str],
    plural: &'static str,
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";

/// Secrets, of which those alone are followed that are wanted.
pub(crate) const SECRETS: Kind = core("Secret", "secrets");

/// Nodes, which have no namespace.
pub(crate) const NODES: Kind = core("Node", "nodes");

/// What says how much a workload sees.
pub(crate) const SIDECARS: Kind = istio(NETWORKING, "Sidecar", "sidecars");

/// Of a workload's own namespace, and of the root namespace for everybody's.
pub(crate) const AUTHORIZATION_POLICIES: Kind =
    istio(SECURITY, "AuthorizationPolicy", "authorizationpolicies");

const GATEWAYS: Kind = istio(NETWORKING, "Gateway", "gateways");

const SERVICES: Kind = core("Service", "services");

const ENDPOINT_SLICES: Kind = Kind {
    name: "EndpointSlice",
    group: "discovery.k8s.io",
    versions: &["v1"],
    plural: "endpointslices",
};

const PODS: Kind = core("Pod", "pods");

const VIRTUAL_SERVICES: Kind = istio(NETWORKING, "VirtualService", "virtualservices");

const SERVICE_ENTRIES: Kind = istio(NETWORKING, "ServiceEntry", "serviceentries");

const WORKLOAD_ENTRIES: Kind = istio(NETWORKING, "WorkloadEntry", "workloadentries");

const DESTINATION_RULES: Kind = istio(NETWORKING, "DestinationRule", "destinationrules");

const PEER_AUTHENTICATIONS: Kind = istio(SECURITY, "PeerAuthentication", "peerauthentications");

/// What a namespace's services are, where they are, and how they are reached. Pods have the labels that subsets are made
/// of, say whether they take the mesh's TLS, and as whom.
pub(crate) const OF_SERVICES: [Kind; 6] = [
    SERVICES,
    ENDPOINT_SLICES,
    PODS,
    VIRTUAL_SERVICES,
    SERVICE_ENTRIES,
    WORKLOAD_ENTRIES,
];

/// What says more of a namespace's services, and in the root namespace of everybody's.
pub(crate) const OF_EVERYBODY: [Kind; 2] = [DESTINATION_RULES, PEER_AUTHENTICATIONS];

/// All that have namespaces, but for Secrets.
pub(crate) const KINDS: [Kind; 11] = [
    SERVICES,
    ENDPOINT_SLICES,
    PODS,
    GATEWAYS,
    VIRTUAL_SERVICES,
    DESTINATION_RULES,
    SERVICE_ENTRIES,
    WORKLOAD_ENTRIES,
    SIDECARS,
    PEER_AUTHENTICATIONS,
    AUTHORIZATION_POLICIES,
];

const fn core(name: &'static str, plural: &'static str) -> Kind {
    Kind {
        name,
        group: "",
        versions: &["v1"],
        plural,
    }
}

const fn istio(group: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind {
        name,
        group,
        versions: &["v1", "v1beta1", "v1alpha3"],
        plural,
    }
}

impl Kind {
    /// Whether its objects are of Istio's kinds, whose `status` is for who serves them.
    pub(crate) fn has_status(&self) -> bool {
        matches!(self.group, NETWORKING | SECURITY)
    }

    /// What is asked for in this version.
    pub(crate) fn resource(&self, version: &str) -> ApiResource {
        let api_version = match self.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        ApiResource {
            group: self.group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: self.name.to_owned(),
            plural: self.plural.to_owned(),
        }
    }
}
