//! Where a Gateway names a credential.

use super::problem::Problem;
use model::{ObjectKey, Objects, Origin, ServerTlsSettings};
use rules::CredentialRef;

/// The field that names a credential, at the server of `origin`; the server itself where there is none.
pub(super) fn of(
    gateways: &Objects<model::Gateway>,
    origin: &Origin,
    reference: &CredentialRef,
    problem: &Problem,
) -> Origin {
    let gateway = gateways.get(&ObjectKey::from(&origin.resource));
    let Some((gateway, index)) = gateway.zip(index_of(&origin.path)) else {
        return origin.clone();
    };
    let tls = gateway
        .servers
        .get(index)
        .and_then(|server| server.tls.as_ref());
    tls.map_or_else(
        || origin.clone(),
        |tls| {
            let path = format!(
                "spec.servers[{index}].tls{}",
                field(tls, reference, problem)
            );
            gateway.meta.origin(path, tls.at)
        },
    )
}

/// 2 of `spec.servers[2].tls`.
fn index_of(path: &str) -> Option<usize> {
    let (index, _) = path.strip_prefix("spec.servers[")?.split_once(']')?;
    index.parse().ok()
}

/// Empty for what no field names: the mesh identity comes with the mode.
fn field(tls: &ServerTlsSettings, reference: &CredentialRef, problem: &Problem) -> String {
    let is = |written: &Option<String>, name: &str| written.as_deref() == Some(name);
    let among = |name: &str| tls.credential_names.iter().position(|one| one == name);
    match reference {
        CredentialRef::AuthoritiesNamed(name) if is(&tls.ca_cert_credential_name, name) => {
            ".caCertCredentialName".to_owned()
        }
        CredentialRef::Named(name) | CredentialRef::AuthoritiesNamed(name) => match among(name) {
            Some(index) => format!(".credentialNames[{index}]"),
            None => ".credentialName".to_owned(),
        },
        CredentialRef::Files { certificate, .. } => {
            let mut pairs = tls.tls_certificates.iter();
            match pairs.position(|pair| *pair.server_certificate == **certificate) {
                Some(index) => format!(".tlsCertificates[{index}].serverCertificate"),
                None => ".serverCertificate".to_owned(),
            }
        }
        CredentialRef::AuthorityFiles { .. } if problem.is_of_revocations() => ".caCrl".to_owned(),
        CredentialRef::AuthorityFiles { .. } => ".caCertificates".to_owned(),
        CredentialRef::Workload | CredentialRef::WorkloadAuthorities => ".mode".to_owned(),
    }
}
