//! What is said about TLS to endpoints that verifies less than its authors may think.

use super::diagnostics::{Help, warning};
use super::policy_levels::{block, levels};
use super::resolve::Resolved;
use crate::ClusterKey;
use model::{ClientTlsMode, Diagnostic};

/// In a mesh the control plane lists the accounts of a service. Nobody does so here.
pub(super) fn upstream_tls_findings(key: &ClusterKey, resolved: &Resolved) -> Option<Diagnostic> {
    let levels = levels(resolved.rule.as_ref()?, key.subset.as_deref());
    let block = block(
        &levels,
        key.port,
        |settings| settings.tls.as_ref(),
        |policy| policy.tls.as_ref(),
    )?;
    let tls = block.settings;
    let of_service = resolved.service.as_ref()?.subject_alt_names();
    let is_named = !tls.subject_alt_names.is_empty() || !of_service.is_empty();
    let skips = tls.insecure_skip_verify == Some(true);
    if tls.mode != ClientTlsMode::IstioMutual || is_named || skips {
        return None;
    }
    let path = format!("{}.tls", block.path);
    let message = "without subjectAltNames any workload of the mesh is taken for this service";
    let told = warning(block.meta, "any_identity", path, tls.at, message);
    Some(told.help("list its accounts: subjectAltNames: [spiffe://cluster.local/ns/shop/sa/cart]"))
}
