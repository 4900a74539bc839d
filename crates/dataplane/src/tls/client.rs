//! Verifying the certificates of clients.

use super::certificate::{Parsed, SubjectAltName, is_uri};
use super::digest::{Sha256, from_hex, sha256};
use super::federated::Federated;
use super::signatures::verify_signatures;
use super::suites;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use certificates::{Authorities, SpiffeId};
use rules::{ClientCertificate, ClientVerification};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DistinguishedName, Error};
use std::collections::HashSet;
use std::sync::Arc;

/// What a server asks of its clients, ready for handshakes. `None`: nothing.
pub(super) fn verifier(
    client: &ClientVerification,
    authorities: Option<&Authorities>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let algorithms = suites::default_provider().signature_verification_algorithms;
    let chains = match client.mode {
        ClientCertificate::Ignored => return Ok(None),
        ClientCertificate::Unverified => None,
        ClientCertificate::Optional | ClientCertificate::Required => {
            let authorities =
                authorities.ok_or("there are no authorities for client certificates")?;
            let chains = Chains::new(client, authorities);
            Some(chains.map_err(|error| error.to_string())?)
        }
    };
    Ok(Some(Arc::new(Verifier {
        // Without one, a list of what is allowed could be passed by showing nothing.
        mandatory: client.mode != ClientCertificate::Optional,
        chains,
        algorithms,
        allowed: Allowed::new(client),
        is_identity: client.is_identity,
    })))
}

/// As with Envoy, a list of revocations must be there for every authority of a chain, or for none.
fn chain(authorities: &Authorities) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    WebPkiClientVerifier::builder_with_provider(
        authorities.roots.clone(),
        suites::default_provider(),
    )
    .with_crls(authorities.revocations.iter().cloned())
    .build()
}

/// What chains are verified by.
#[derive(Debug)]
struct Chains {
    own: Arc<dyn ClientCertVerifier>,
    /// For identities of other trust domains.
    federated: Federated<Arc<dyn ClientCertVerifier>>,
    /// The subjects of all authorities: a client may choose by them what it shows.
    subjects: Vec<DistinguishedName>,
}

impl Chains {
    /// Other trust domains count where the list of names lets theirs in. Without a list everybody of the mesh is let
    /// in, who they are not.
    fn new(
        client: &ClientVerification,
        authorities: &Authorities,
    ) -> Result<Self, VerifierBuilderError> {
        let own = chain(authorities)?;
        let mut subjects = own.root_hint_subjects().to_vec();
        let mut federated = Vec::new();
        if !client.subject_alt_names.is_empty() {
            for (domain, authorities) in &authorities.federated {
                let chain = chain(authorities)?;
                subjects.extend_from_slice(chain.root_hint_subjects());
                federated.push((domain.clone(), chain));
            }
        }
        Ok(Self {
            own,
            federated: federated.into_iter().collect(),
            subjects,
        })
    }

    /// Verifies a chain by the authorities of the domain that the certificate says it is of. Returns the names that
    /// these vouch for.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<impl Fn(&SubjectAltName) -> bool, Error> {
        let signer = self.federated.signer(leaf);
        let chain = signer.map_or(&self.own, |(_, chain)| chain);
        chain.verify_client_cert(leaf, intermediates, now)?;
        let signer = signer.map(|(domain, _)| domain);
        Ok(move |name: &SubjectAltName| self.federated.vouches(signer, name))
    }
}

/// Chain, time and revocation by webpki, then the lists of what is allowed.
#[derive(Debug)]
struct Verifier {
    mandatory: bool,
    /// Absent: certificates are asked for, and not verified.
    chains: Option<Chains>,
    algorithms: WebPkiSupportedAlgorithms,
    allowed: Allowed,
    is_identity: bool,
}

/// Lists of which a certificate must match one entry each. Those that are absent allow all.
#[derive(Debug)]
struct Allowed {
    names: Option<Vec<String>>,
    keys: Option<HashSet<Sha256>>,
    certificates: Option<HashSet<Sha256>>,
}

impl Allowed {
    /// An entry that cannot be read allows nothing.
    fn new(client: &ClientVerification) -> Self {
        let key = |text: &String| BASE64_STANDARD.decode(text.trim()).ok()?.try_into().ok();
        let list = |entries: &[String], read: &dyn Fn(&String) -> Option<Sha256>| {
            (!entries.is_empty()).then(|| entries.iter().filter_map(read).collect())
        };
        let names = &client.subject_alt_names;
        Self {
            names: (!names.is_empty()).then(|| names.clone()),
            keys: list(&client.spki, &key),
            certificates: list(&client.hashes, &|text| from_hex(text)),
        }
    }

    /// Of the names of a certificate some may not count.
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        counts: impl Fn(&SubjectAltName) -> bool,
    ) -> Result<(), Error> {
        if self.names.is_none() && self.keys.is_none() && self.certificates.is_none() {
            return Ok(());
        }
        let parsed = Parsed::new(leaf).ok_or(CertificateError::BadEncoding)?;
        let named = |names: &Vec<String>| {
            let own = parsed.names();
            let mut own = own.iter().filter(|name| counts(name));
            own.any(|name| is_among(name, names))
        };
        let holds = |hashes: &HashSet<Sha256>, of: &[u8]| {
            sha256(of).is_some_and(|hash| hashes.contains(&hash))
        };
        let allowed = self.names.as_ref().is_none_or(named)
            && self
                .keys
                .as_ref()
                .is_none_or(|keys| holds(keys, parsed.public_key()))
            && self
                .certificates
                .as_ref()
                .is_none_or(|known| holds(known, leaf));
        if allowed {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }
}

/// Names of hosts have no case.
fn is_among(name: &SubjectAltName, allowed: &[String]) -> bool {
    allowed.iter().any(|allowed| match name {
        SubjectAltName::Dns(name) => name.eq_ignore_ascii_case(allowed),
        SubjectAltName::Address(address) => allowed.parse() == Ok(*address),
        SubjectAltName::Uri(uri) => is_uri(uri, allowed),
        SubjectAltName::Email(email) => email == allowed,
    })
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.as_ref().map_or(&[], |chains| &chains.subjects)
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match &self.chains {
            Some(chains) => {
                let counts = chains.verify(leaf, intermediates, now)?;
                self.allowed.check(leaf, counts)?;
            }
            None => self.allowed.check(leaf, |_| true)?,
        }
        if self.is_identity && SpiffeId::of_certificate(leaf).is_err() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    verify_signatures!();
}
