//! What is said about TLS to endpoints that verifies less than its authors may think.

use super::diagnostics::{Help, warning};
use super::policy_levels::{block, levels};
use super::resolve::Resolved;
use super::services::Source;
use crate::ClusterKey;
use model::{ClientTlsMode, Diagnostic, ServiceEntry};

/// Whoever is connected to must be the workload that is meant, as far as somebody says which that is.
pub(super) fn upstream_tls_findings(key: &ClusterKey, resolved: &Resolved) -> Option<Diagnostic> {
    let levels = levels(resolved.rule.as_ref()?, key.subset.as_deref());
    let block = block(
        &levels,
        key.port,
        |settings| settings.tls.as_ref(),
        |policy| policy.tls.as_ref(),
    )?;
    let tls = block.settings;
    let Source::Entry(entry) = &resolved.service.as_ref()?.source else {
        return None;
    };
    let is_named = !tls.subject_alt_names.is_empty() || !entry.subject_alt_names.is_empty();
    let skips = tls.insecure_skip_verify == Some(true);
    if tls.mode != ClientTlsMode::IstioMutual || is_named || skips || names_accounts(entry) {
        return None;
    }
    let path = format!("{}.tls", block.path);
    let message = format!(
        "without subjectAltNames any workload of the mesh is taken for an endpoint of {} that names no account",
        entry.meta.reference
    );
    let told = warning(block.meta, "any_identity", path, tls.at, message);
    Some(told.help(
        "name the `serviceAccount` of its endpoints, or list subjectAltNames: [spiffe://cluster.local/ns/shop/sa/cart]",
    ))
}

/// Pods always have one, and of WorkloadEntries it is told where they stand.
fn names_accounts(entry: &ServiceEntry) -> bool {
    let mut endpoints = entry.endpoints.iter();
    let has_any = !entry.endpoints.is_empty() || entry.workload_selector.is_some();
    has_any && endpoints.all(|endpoint| endpoint.service_account.is_some())
}
