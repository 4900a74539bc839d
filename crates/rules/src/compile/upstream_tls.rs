//! Istio's `ClientTLSSettings`, or that there are none, to how TLS is begun with endpoints.

use super::services::{ServiceView, Source};
use super::{CompileOptions, Mesh};
use crate::{
    ClusterKey, CredentialRef, ServerNames, ServerVerification, UpstreamSecurity, UpstreamTls,
    WorkloadNames,
};
use model::{ClientTlsMode, ClientTlsSettings, Resolution};
use std::sync::Arc;

/// What stands for the authorities of the system.
const SYSTEM: &str = "system";

/// Which endpoints of a cluster TLS is begun with, and how. What a DestinationRule says counts, also that it is not.
pub(super) fn security(
    told: Option<&ClientTlsSettings>,
    key: &ClusterKey,
    service: &ServiceView,
    options: &CompileOptions,
) -> UpstreamSecurity {
    let compiled = |tls| upstream_tls(tls, key, service.subject_alt_names(), &options.mesh);
    match told {
        Some(tls) => match compiled(tls) {
            Some(tls) => UpstreamSecurity::Rule(Arc::new(tls)),
            None => UpstreamSecurity::ClearText,
        },
        None if options.auto_mtls && may_be_in_mesh(service) => {
            let of_mesh = ClientTlsSettings {
                mode: ClientTlsMode::IstioMutual,
                ..ClientTlsSettings::default()
            };
            let tls = compiled(&of_mesh).map(Arc::new);
            tls.map_or(UpstreamSecurity::ClearText, UpstreamSecurity::Auto)
        }
        None => UpstreamSecurity::ClearText,
    }
}

/// As in Istio, only of endpoints that somebody has listed is it known whether they are in the mesh.
fn may_be_in_mesh(service: &ServiceView) -> bool {
    let are_listed = match &service.source {
        Source::Service(_) => true,
        Source::Entry(entry) => {
            !matches!(entry.resolution, Resolution::None | Resolution::DynamicDns)
        }
    };
    are_listed && !service.is_external()
}

/// How TLS is begun with the endpoints of a cluster. `None`: it is not.
///
/// The names that the service itself says its certificates have count where the DestinationRule names none.
fn upstream_tls(
    tls: &ClientTlsSettings,
    key: &ClusterKey,
    names_of_service: &[String],
    mesh: &Mesh,
) -> Option<UpstreamTls> {
    let is_mesh = match tls.mode {
        ClientTlsMode::Disable => return None,
        ClientTlsMode::Simple | ClientTlsMode::Mutual => false,
        ClientTlsMode::IstioMutual => true,
    };
    Some(UpstreamTls {
        certificate: certificate(tls),
        verification: verification(tls, names_of_service, mesh),
        sni: match &tls.sni {
            Some(sni) => Some(sni.as_str().into()),
            None => is_mesh.then(|| spelt(key)),
        },
        mesh: is_mesh,
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

fn verification(
    tls: &ClientTlsSettings,
    names_of_service: &[String],
    mesh: &Mesh,
) -> ServerVerification {
    if tls.insecure_skip_verify == Some(true) {
        return ServerVerification::Nothing;
    }
    ServerVerification::Verified {
        authorities: authorities(tls),
        names: names(tls, names_of_service, mesh),
    }
}

fn names(tls: &ClientTlsSettings, names_of_service: &[String], mesh: &Mesh) -> ServerNames {
    let shared = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
    let of_rule = &tls.subject_alt_names;
    if !of_rule.is_empty() {
        return ServerNames::Listed(shared(of_rule));
    }
    if tls.mode == ClientTlsMode::IstioMutual {
        let aliases = mesh.trust_domain_aliases.iter().cloned();
        return ServerNames::Workload(WorkloadNames {
            trust_domains: std::iter::once(mesh.trust_domain.clone())
                .chain(aliases)
                .collect(),
            others: shared(names_of_service),
        });
    }
    match names_of_service {
        [] => ServerNames::Sent,
        names => ServerNames::Listed(shared(names)),
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
///
/// The star of a wildcard is no part of a name that can be sent. Nobody routes by it.
fn spelt(key: &ClusterKey) -> Arc<str> {
    let subset = key.subset.as_deref().unwrap_or_default();
    let host = key.host.strip_prefix("*.").unwrap_or(&key.host);
    format!("outbound_.{}_.{subset}_.{host}", key.port).into()
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
        upstream_tls(&tls, &key, &[], &Mesh::default())
    }

    fn of_mode(mode: ClientTlsMode) -> ClientTlsSettings {
        ClientTlsSettings {
            mode,
            ..ClientTlsSettings::default()
        }
    }

    fn verified_by(authorities: Option<CredentialRef>, names: ServerNames) -> ServerVerification {
        ServerVerification::Verified { authorities, names }
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
            assert_eq!(tls.verification, verified_by(None, ServerNames::Sent));
            assert_eq!((tls.certificate, tls.sni, tls.mesh), (None, None, false));
        }
        let named = ClientTlsSettings {
            credential_name: Some("web".into()),
            ..simple
        };
        let named = compiled(named).unwrap();
        let authorities = CredentialRef::AuthoritiesNamed("web".into());
        assert_eq!(
            named.verification,
            verified_by(Some(authorities), ServerNames::Sent)
        );
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
                names: ServerNames::Listed(vec!["a.test".into()]),
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
        let names = ServerNames::Workload(WorkloadNames {
            trust_domains: vec!["cluster.local".into()],
            others: Vec::new(),
        });
        assert_eq!(tls.verification, verified_by(Some(authorities), names));
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
