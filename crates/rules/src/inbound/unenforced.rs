//! Policies that somebody relies on and nobody enforces.

use super::selection::of_mesh_and_namespace;
use crate::CompileOptions;
use crate::compile::{Help, warning};
use model::{At, Diagnostic, Meta, Resources, selects};

/// What is to be said about policies for this proxy, when it does not receive what its workload is sent: only
/// what is redirected to a sidecar is held against them.
pub(crate) fn unenforced(options: &CompileOptions, resources: &Resources) -> Vec<Diagnostic> {
    let sidecar = options.sidecar.as_ref();
    if sidecar.is_some_and(|sidecar| sidecar.inbound.is_some()) {
        return Vec::new();
    }
    let root = &options.mesh.root_namespace;
    let (own, labels) = (&options.proxy.namespace, &options.proxy.labels);
    let policies = of_mesh_and_namespace(&resources.authorization_policies, root, own);
    let policies = policies
        .iter()
        .filter(|policy| policy.target_refs.is_empty() && selects(&policy.selector, labels));
    let mut told: Vec<_> = policies.map(|policy| nobody(&policy.meta)).collect();
    // As in Istio, a gateway's TLS is what its Gateways say.
    if sidecar.is_some() {
        let modes = of_mesh_and_namespace(&resources.peer_authentications, root, own);
        let modes = modes
            .iter()
            .filter(|policy| selects(&policy.selector, labels));
        told.extend(modes.map(|policy| nobody(&policy.meta)));
    }
    told
}

fn nobody(meta: &Meta) -> Diagnostic {
    let message = "is for this proxy, which does not enforce it yet: nobody is kept out by it";
    warning(meta, "not_honoured", "", At::default(), message)
        .help("it is enforced by the inbound listener of a sidecar")
}
