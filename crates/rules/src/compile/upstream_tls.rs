//! Istio's `ClientTLSSettings` to how TLS is begun with endpoints.

use crate::{ClusterKey, CredentialRef, ServerVerification, UpstreamTls};
use model::{ClientTlsMode, ClientTlsSettings};
use std::sync::Arc;

/// What stands for the authorities of the system.
const SYSTEM: &str = "system";

/// How TLS is begun with the endpoints of a cluster. `None`: it is not.
///
/// The names that the service itself says its certificates have count where the DestinationRule names none.
pub(super) fn upstream_tls(
    tls: &ClientTlsSettings,
    key: &ClusterKey,
    names_of_service: &[String],
) -> Option<UpstreamTls> {
    let mesh = match tls.mode {
        ClientTlsMode::Disable => return None,
        ClientTlsMode::Simple | ClientTlsMode::Mutual => false,
        ClientTlsMode::IstioMutual => true,
    };
    Some(UpstreamTls {
        certificate: certificate(tls),
        verification: verification(tls, names_of_service),
        sni: match &tls.sni {
            Some(sni) => Some(sni.as_str().into()),
            None => mesh.then(|| spelt(key)),
        },
        mesh,
    })
}

fn certificate(tls: &ClientTlsSettings) -> Option<CredentialRef> {
    match (tls.mode, &tls.credential_name) {
        (ClientTlsMode::IstioMutual, _) => Some(CredentialRef::Workload),
        (ClientTlsMode::Mutual, Some(name)) => Some(CredentialRef::Named(name.as_str().into())),
        (ClientTlsMode::Mutual, None) => Some(CredentialRef::Files {
            certificate: tls.client_certificate.as_deref()?.into(),
            key: tls.private_key.as_deref()?.into(),
        }),
        _ => None,
    }
}

fn verification(tls: &ClientTlsSettings, names_of_service: &[String]) -> ServerVerification {
    if tls.insecure_skip_verify == Some(true) {
        return ServerVerification::Nothing;
    }
    let names = match tls.subject_alt_names.as_slice() {
        [] => names_of_service,
        names => names,
    };
    let names = names.iter().map(|name| Arc::from(name.as_str()));
    ServerVerification::Verified {
        authorities: authorities(tls),
        subject_alt_names: names.collect(),
    }
}

/// `None`: the system's.
fn authorities(tls: &ClientTlsSettings) -> Option<CredentialRef> {
    match (&tls.ca_certificates, &tls.credential_name) {
        _ if tls.mode == ClientTlsMode::IstioMutual => Some(CredentialRef::WorkloadAuthorities),
        (Some(system), _) if system == SYSTEM => None,
        (Some(path), _) => Some(CredentialRef::AuthorityFiles {
            authorities: path.as_str().into(),
            revocations: tls.ca_crl.as_deref().map(Into::into),
        }),
        (None, Some(name)) => Some(CredentialRef::AuthoritiesNamed(name.as_str().into())),
        (None, None) => None,
    }
}

/// The name that the mesh gives a cluster in TLS: `outbound_.80_.v1_.shop.default.svc.cluster.local`.
fn spelt(key: &ClusterKey) -> Arc<str> {
    let subset = key.subset.as_deref().unwrap_or_default();
    format!("outbound_.{}_.{subset}_.{}", key.port, key.host).into()
}
