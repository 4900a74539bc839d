//! Certificates as tests need them: good ones, and each kind of bad one.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, with a key of its own.
    ///
    /// # Panics
    ///
    /// Never, as long as keys can be made.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        Self { issuer }
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its certificate.
    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A certificate for servers and clients with these DNS names or IP addresses; what begins with `spiffe://` is a URI.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.sign(params(names))
    }

    /// One whose time is over.
    pub fn issue_expired(&self, names: &[&str]) -> Certificate {
        let mut params = params(names);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign(params)
    }

    /// Its list of revoked certificates, PEM.
    ///
    /// # Panics
    ///
    /// Never, as long as its key can sign.
    pub fn revocations(&self, revoked: &[&Certificate]) -> String {
        let revoked = revoked.iter().map(|certificate| RevokedCertParams {
            serial_number: certificate.serial.into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2999, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.issuer).expect("a list");
        signed.pem().expect("PEM")
    }

    fn sign(&self, mut params: CertificateParams) -> Certificate {
        static NEXT: AtomicU64 = AtomicU64::new(0x1000);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certificate {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            serial,
        }
    }
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// PEM.
    pub chain: String,
    /// PEM.
    pub key: String,
    /// Unlike any other's of this process.
    pub serial: u64,
}

impl Certificate {
    /// The certificate itself, DER.
    pub fn der(&self) -> Vec<u8> {
        self.parts().0[0].to_vec()
    }

    /// Its parts as TLS libraries take them.
    pub(crate) fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM");
        (chain, key)
    }

    /// Puts it into a folder as `tls.crt` and `tls.key`, which only the owner can read. The folder is made
    /// when there is none; what lies there is replaced as careful tools do.
    ///
    /// # Panics
    ///
    /// When the folder cannot be written.
    pub fn put(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("the folder can be made");
        put_secret(&folder.join("tls.key"), &self.key);
        put_secret(&folder.join("tls.crt"), &self.chain);
    }
}

/// Writes a file that only its owner can read: beside, then renamed.
///
/// # Panics
///
/// When the folder cannot be written.
pub fn put_secret(path: &Path, content: &str) {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600);
    let mut file = file.open(&beside).expect("the folder can be written");
    file.write_all(content.as_bytes())
        .expect("the file is written");
    fs::rename(&beside, path).expect("the file can be renamed");
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(names.first().copied().unwrap_or("nobody"));
    params.subject_alt_names = names.iter().map(|name| alternative_name(name)).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn alternative_name(name: &str) -> SanType {
    if let Ok(address) = name.parse() {
        return SanType::IpAddress(address);
    }
    let text = name.try_into().expect("ASCII");
    if name.starts_with("spiffe://") {
        SanType::URI(text)
    } else {
        SanType::DnsName(text)
    }
}
