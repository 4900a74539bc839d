//! Where a Gateway or a DestinationRule names a credential.

use super::problem::Problem;
use model::{
    ClientTlsMode, ClientTlsSettings, DestinationRule, Gateway, ObjectKey, Origin, Resources,
    ServerTlsSettings, TrafficPolicy,
};
use rules::CredentialRef;

/// The field that names a credential, at the server or cluster of `origin`; that itself where there is none.
pub(super) fn of(
    resources: &Resources,
    origin: &Origin,
    reference: &CredentialRef,
    problem: &Problem,
) -> Origin {
    let key = ObjectKey::from(&origin.resource);
    let place = if &*origin.resource.kind == "DestinationRule" {
        let rule = resources.destination_rules.get(&key);
        rule.and_then(|rule| in_rule(rule, origin, reference, problem))
    } else {
        let gateway = resources.gateways.get(&key);
        gateway.and_then(|gateway| in_gateway(gateway, origin, reference, problem))
    };
    place.unwrap_or_else(|| origin.clone())
}

fn in_gateway(
    gateway: &Gateway,
    origin: &Origin,
    reference: &CredentialRef,
    problem: &Problem,
) -> Option<Origin> {
    let index = index_of(&origin.path, "spec.servers[")?;
    let tls = gateway.servers.get(index)?.tls.as_ref()?;
    let field = field(tls, reference, problem);
    let path = format!("spec.servers[{index}].tls{field}");
    Some(gateway.meta.origin(path, tls.at))
}

/// A cluster's origin is a subset or the policy for all, and either may have what the other does not say.
fn in_rule(
    rule: &DestinationRule,
    origin: &Origin,
    reference: &CredentialRef,
    problem: &Problem,
) -> Option<Origin> {
    let subset = index_of(&origin.path, "spec.subsets[").and_then(|index| {
        let policy = rule.subsets.get(index)?.traffic_policy.as_ref()?;
        Some((format!("spec.subsets[{index}].trafficPolicy"), policy))
    });
    let of_all = rule.traffic_policy.as_ref();
    let of_all = of_all.map(|policy| ("spec.trafficPolicy".to_owned(), policy));
    let policies = subset.into_iter().chain(of_all);
    let mut blocks = policies.flat_map(|(path, policy)| tls_blocks(path, policy));
    blocks.find_map(|(path, tls)| {
        let field = client_field(tls, reference, problem)?;
        Some(rule.meta.origin(format!("{path}.tls{field}"), tls.at))
    })
}

fn tls_blocks(
    path: String,
    policy: &TrafficPolicy,
) -> impl Iterator<Item = (String, &ClientTlsSettings)> {
    let ports = policy.port_level_settings.iter().enumerate();
    let mut blocks: Vec<_> = ports
        .filter_map(|(index, port)| {
            let tls = port.tls.as_ref()?;
            Some((format!("{path}.portLevelSettings[{index}]"), tls))
        })
        .collect();
    blocks.extend(policy.tls.as_ref().map(|tls| (path, tls)));
    blocks.into_iter()
}

/// 2 of `spec.servers[2].tls`.
fn index_of(path: &str, list: &str) -> Option<usize> {
    let (index, _) = path.strip_prefix(list)?.split_once(']')?;
    index.parse().ok()
}

fn is(written: &Option<String>, name: &str) -> bool {
    written.as_deref() == Some(name)
}

/// `None`: these settings name something else.
fn client_field(
    tls: &ClientTlsSettings,
    reference: &CredentialRef,
    problem: &Problem,
) -> Option<&'static str> {
    let (is_named, field) = match reference {
        CredentialRef::Named(name) | CredentialRef::AuthoritiesNamed(name) => {
            (is(&tls.credential_name, name), ".credentialName")
        }
        CredentialRef::Files { certificate, .. } => (
            is(&tls.client_certificate, certificate),
            ".clientCertificate",
        ),
        CredentialRef::AuthorityFiles { authorities, .. } => {
            let field = match problem.is_of_revocations() {
                true => ".caCrl",
                false => ".caCertificates",
            };
            (is(&tls.ca_certificates, authorities), field)
        }
        CredentialRef::Workload | CredentialRef::WorkloadAuthorities => {
            (tls.mode == ClientTlsMode::IstioMutual, ".mode")
        }
    };
    is_named.then_some(field)
}

/// Empty for what no field names: the mesh identity comes with the mode.
fn field(tls: &ServerTlsSettings, reference: &CredentialRef, problem: &Problem) -> String {
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
