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

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(tls: ClientTlsSettings) -> Option<UpstreamTls> {
        let key = ClusterKey {
            view: None,
            host: "shop.test".into(),
            subset: Some("v1".into()),
            port: 80,
        };
        upstream_tls(&tls, &key, &[])
    }

    fn of_mode(mode: ClientTlsMode) -> ClientTlsSettings {
        ClientTlsSettings {
            mode,
            ..ClientTlsSettings::default()
        }
    }

    fn verified_by(authorities: Option<CredentialRef>) -> ServerVerification {
        ServerVerification::Verified {
            authorities,
            subject_alt_names: Vec::new(),
        }
    }

    #[test]
    fn disable_is_no_tls() {
        assert_eq!(compiled(of_mode(ClientTlsMode::Disable)), None);
    }

    #[test]
    fn simple_trusts_the_system_unless_something_else_is_named() {
        let simple = of_mode(ClientTlsMode::Simple);
        let system = ClientTlsSettings {
            ca_certificates: Some("system".into()),
            ..simple.clone()
        };
        for tls in [simple.clone(), system] {
            let tls = compiled(tls).unwrap();
            assert_eq!(tls.verification, verified_by(None));
            assert_eq!((tls.certificate, tls.sni, tls.mesh), (None, None, false));
        }
        let named = ClientTlsSettings {
            credential_name: Some("web".into()),
            ..simple
        };
        let named = compiled(named).unwrap();
        let authorities = CredentialRef::AuthoritiesNamed("web".into());
        assert_eq!(named.verification, verified_by(Some(authorities)));
        assert_eq!(named.certificate, None);
    }

    #[test]
    fn mutual_shows_what_is_named() {
        let mutual = ClientTlsSettings {
            client_certificate: Some("c.crt".into()),
            private_key: Some("c.key".into()),
            ca_certificates: Some("ca.crt".into()),
            ca_crl: Some("crl.pem".into()),
            sni: Some("sni.test".into()),
            subject_alt_names: vec!["a.test".into()],
            ..of_mode(ClientTlsMode::Mutual)
        };
        let want = UpstreamTls {
            certificate: Some(CredentialRef::Files {
                certificate: "c.crt".into(),
                key: "c.key".into(),
            }),
            verification: ServerVerification::Verified {
                authorities: Some(CredentialRef::AuthorityFiles {
                    authorities: "ca.crt".into(),
                    revocations: Some("crl.pem".into()),
                }),
                subject_alt_names: vec!["a.test".into()],
            },
            sni: Some("sni.test".into()),
            mesh: false,
        };
        assert_eq!(compiled(mutual), Some(want));
    }

    #[test]
    fn the_mesh_has_its_own_identity_authorities_and_spelling() {
        let tls = compiled(of_mode(ClientTlsMode::IstioMutual)).unwrap();
        assert_eq!(tls.certificate, Some(CredentialRef::Workload));
        let authorities = CredentialRef::WorkloadAuthorities;
        assert_eq!(tls.verification, verified_by(Some(authorities)));
        assert_eq!(tls.sni.as_deref(), Some("outbound_.80_.v1_.shop.test"));
        assert!(tls.mesh);
    }

    #[test]
    fn nothing_is_verified_where_that_is_skipped() {
        let skipping = ClientTlsSettings {
            insecure_skip_verify: Some(true),
            ..of_mode(ClientTlsMode::Simple)
        };
        let verification = compiled(skipping).unwrap().verification;
        assert_eq!(verification, ServerVerification::Nothing);
    }
}
