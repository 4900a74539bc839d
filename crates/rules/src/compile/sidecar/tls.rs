//! How the mesh's TLS ends at a workload.

use super::super::Mesh;
use crate::{
    ClientCertificate, ClientVerification, CredentialRef, TlsAction, TlsServer, TlsTermination,
    alpn,
};
use model::{Origin, TlsVersion};
use std::sync::Arc;

/// What is spoken inside, the first preferred.
const ALPN: &[&str] = &[
    alpn::MESH_H2,
    alpn::MESH_HTTP1_1,
    alpn::MESH_HTTP1_0,
    alpn::MESH,
    alpn::H2,
    alpn::HTTP1_1,
];

/// Ends the mesh's TLS: with the proxy's identity, for identities of the mesh's trust domains.
///
/// Source: Istio, mutual TLS of sidecars.
pub(super) fn server(mesh: &Mesh, origin: Arc<Origin>) -> TlsServer {
    let domains = std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases);
    let tls = TlsTermination {
        certificates: vec![CredentialRef::Workload],
        client: ClientVerification {
            mode: ClientCertificate::Required,
            authorities: Some(CredentialRef::WorkloadAuthorities),
            subject_alt_names: domains
                .map(|domain| format!("spiffe://{domain}/*"))
                .collect(),
            is_identity: true,
            ..ClientVerification::default()
        },
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        cipher_suites: Vec::new(),
        alpn: ALPN.to_vec(),
    };
    TlsServer {
        name: "inbound".into(),
        action: TlsAction::Mesh(Arc::new(tls)),
        origin,
    }
}
