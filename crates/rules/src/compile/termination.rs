//! Istio's `ServerTLSSettings` to how TLS ends.

use crate::{ClientCertificate, ClientVerification, CredentialRef, TlsTermination};
use model::{ServerTlsMode, ServerTlsSettings, TlsVersion};

/// How TLS ends at a server, which offers the protocols of `alpn`.
pub(crate) fn termination(tls: &ServerTlsSettings, alpn: &[&'static str]) -> TlsTermination {
    TlsTermination {
        certificates: certificates(tls),
        client: client(tls),
        // Nothing older is spoken, which was told when it was read.
        min_version: match tls.min_protocol_version {
            TlsVersion::V1_3 => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        },
        max_version: match tls.max_protocol_version {
            TlsVersion::V1_2 => TlsVersion::V1_2,
            _ => TlsVersion::V1_3,
        },
        cipher_suites: tls.cipher_suites.clone(),
        alpn: alpn.to_vec(),
    }
}

fn certificates(tls: &ServerTlsSettings) -> Vec<CredentialRef> {
    if tls.mode == ServerTlsMode::IstioMutual {
        return vec![CredentialRef::Workload];
    }
    let secrets = credential_names(tls).map(|name| CredentialRef::Named(name.into()));
    let pairs = tls.tls_certificates.iter().map(|pair| {
        let (certificate, key) = (&pair.server_certificate, &pair.private_key);
        files(certificate, key)
    });
    let pair = tls
        .server_certificate
        .as_ref()
        .zip(tls.private_key.as_ref());
    let pair = pair.map(|(certificate, key)| files(certificate, key));
    secrets.chain(pairs).chain(pair).collect()
}

fn credential_names(tls: &ServerTlsSettings) -> impl Iterator<Item = &str> {
    let all = tls.credential_name.iter().chain(&tls.credential_names);
    all.map(String::as_str)
}

fn files(certificate: &str, key: &str) -> CredentialRef {
    CredentialRef::Files {
        certificate: certificate.into(),
        key: key.into(),
    }
}

fn client(tls: &ServerTlsSettings) -> ClientVerification {
    let mode = match tls.mode {
        ServerTlsMode::Mutual if tls.insecure_skip_verify => ClientCertificate::Unverified,
        ServerTlsMode::Mutual | ServerTlsMode::IstioMutual => ClientCertificate::Required,
        ServerTlsMode::OptionalMutual => ClientCertificate::Optional,
        _ => return ClientVerification::default(),
    };
    let is_verified = mode != ClientCertificate::Unverified;
    ClientVerification {
        mode,
        authorities: is_verified.then(|| authorities(tls)).flatten(),
        subject_alt_names: tls.subject_alt_names.clone(),
        spki: tls.verify_certificate_spki.clone(),
        hashes: tls.verify_certificate_hash.clone(),
        is_identity: tls.mode == ServerTlsMode::IstioMutual,
    }
}

/// A Secret named for them alone comes first, then paths, then the Secret with the server's own certificate.
fn authorities(tls: &ServerTlsSettings) -> Option<CredentialRef> {
    if tls.mode == ServerTlsMode::IstioMutual {
        return Some(CredentialRef::WorkloadAuthorities);
    }
    if let Some(name) = &tls.ca_cert_credential_name {
        return Some(CredentialRef::AuthoritiesNamed(name.as_str().into()));
    }
    let of_pairs = || {
        let mut pairs = tls.tls_certificates.iter();
        pairs.find_map(|pair| pair.ca_certificates.as_ref())
    };
    if let Some(path) = tls.ca_certificates.as_ref().or_else(of_pairs) {
        return Some(CredentialRef::AuthorityFiles {
            authorities: path.as_str().into(),
            revocations: tls.ca_crl.as_deref().map(Into::into),
        });
    }
    let name = credential_names(tls).next()?;
    Some(CredentialRef::AuthoritiesNamed(name.into()))
}
