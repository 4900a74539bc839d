//! The kinds of objects that are followed.

use kube::core::ApiResource;

/// A kind of objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Kind {
    /// Its name: `VirtualService`.
    pub(crate) name: &'static str,
    /// The group of its API. Empty: the core.
    pub(crate) group: &'static str,
    /// The versions in which it is read, the first preferred. The API server has the same object in all that it serves.
    pub(crate) versions: &'static [&'static str],
    plural: &'static str,
    /// Whether its objects have namespaces.
    pub(crate) is_namespaced: bool,
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";

/// Secrets, which are followed in one namespace alone.
pub(crate) const SECRETS: Kind = core("Secret", "secrets");

/// All others.
pub(crate) const KINDS: [Kind; 12] = [
    core("Service", "services"),
    Kind {
        name: "EndpointSlice",
        group: "discovery.k8s.io",
        versions: &["v1"],
        plural: "endpointslices",
        is_namespaced: true,
    },
    core("Pod", "pods"),
    Kind {
        is_namespaced: false,
        ..core("Node", "nodes")
    },
    istio(NETWORKING, "Gateway", "gateways"),
    istio(NETWORKING, "VirtualService", "virtualservices"),
    istio(NETWORKING, "DestinationRule", "destinationrules"),
    istio(NETWORKING, "ServiceEntry", "serviceentries"),
    istio(NETWORKING, "WorkloadEntry", "workloadentries"),
    istio(NETWORKING, "Sidecar", "sidecars"),
    istio(SECURITY, "PeerAuthentication", "peerauthentications"),
    istio(SECURITY, "AuthorizationPolicy", "authorizationpolicies"),
];

const fn core(name: &'static str, plural: &'static str) -> Kind {
    Kind {
        name,
        group: "",
        versions: &["v1"],
        plural,
        is_namespaced: true,
    }
}

const fn istio(group: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind {
        name,
        group,
        versions: &["v1", "v1beta1", "v1alpha3"],
        plural,
        is_namespaced: true,
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
