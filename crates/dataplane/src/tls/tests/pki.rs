//! Authorities and certificates made for a case.

use certificates::{Authorities, Credential};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// An authority.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key: KeyPair,
    serial: SerialNumber,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Root");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// For servers.
    pub(crate) fn server(&self, names: &[&str]) -> Issued {
        self.server_with(names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn server_with(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
    ) -> Issued {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names.iter().map(|name| alt_name(name)).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, KeyPair::generate_for(algorithm).unwrap())
    }

    /// For a client called `CN=client,O=Shop`, with these names, changed as the case wants.
    pub(crate) fn client_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names.iter().map(|name| alt_name(name)).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Shop");
        params.distinguished_name.push(DnType::CommonName, "client");
        change(&mut params);
        self.issue(params, KeyPair::generate().unwrap())
    }

    pub(crate) fn client(&self, names: &[&str]) -> Issued {
        self.client_with(names, |_| {})
    }

    fn issue(&self, mut params: CertificateParams, key: KeyPair) -> Issued {
        let serial = SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed));
        params.serial_number = Some(serial.clone());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key,
            serial,
        }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.authorities().certificates[0].clone()
    }

    pub(crate) fn authorities(&self) -> Arc<Authorities> {
        Arc::new(Authorities::from_pem(self.pem.as_bytes(), None).unwrap())
    }

    /// With those of another trust domain beside them.
    pub(crate) fn authorities_beside(&self, domain: &str, other: &Self) -> Arc<Authorities> {
        let mut authorities = Authorities::clone(&self.authorities());
        let federated = &mut authorities.federated;
        federated.insert(domain.parse().unwrap(), other.authorities());
        Arc::new(authorities)
    }

    /// With a list that revokes this certificate.
    pub(crate) fn authorities_without(&self, revoked: &Issued) -> Arc<Authorities> {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2050, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: revoked.serial.clone(),
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap().pem().unwrap();
        Arc::new(Authorities::from_pem(self.pem.as_bytes(), Some(list.as_bytes())).unwrap())
    }
}

fn alt_name(name: &str) -> SanType {
    let text = name.try_into().unwrap();
    if name.contains("://") {
        SanType::URI(text)
    } else if name.contains('@') {
        SanType::Rfc822Name(text)
    } else if let Ok(address) = name.parse() {
        SanType::IpAddress(address)
    } else {
        SanType::DnsName(text)
    }
}

impl Issued {
    pub(crate) fn credential(&self) -> Arc<Credential> {
        let key = self.key.serialize_pem();
        Arc::new(Credential::from_pem(self.pem.as_bytes(), key.as_bytes()).unwrap())
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}
