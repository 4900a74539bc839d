//! The webhook's own certificate authority and certificate, as they lie in a Secret.

use certificates::{Credential, InvalidCredential};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long an authority is valid. Nobody but its own webhook configurations trusts it.
pub(crate) const AUTHORITY_LIFE: Duration = days(365);

/// How long a certificate is valid.
pub(crate) const LEAF_LIFE: Duration = days(30);

/// How far clocks may be apart: what is made is valid this much earlier.
pub(crate) const SKEW: Duration = Duration::from_secs(60 * 60);

/// More authorities than there are at any time. Others may have written the Secret.
const MAX_RETIRED: usize = 8;

pub(crate) const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

/// The data of a Secret.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// What the data are called.
const CURRENT: [&str; 2] = ["ca.crt", "ca.key"];
const NEXT: [&str; 2] = ["next-ca.crt", "next-ca.key"];
const LEAF: [&str; 2] = ["tls.crt", "tls.key"];
const RETIRED: &str = "retired-ca.crt";

/// Authorities and a certificate that belong together: the certificate is of the current authority.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// The one that signs.
    pub(crate) current: Authority,
    /// The one that will, once everybody trusts it.
    pub(crate) next: Option<Authority>,
    /// Those that have signed, the oldest first.
    pub(crate) retired: Vec<Trusted>,
    /// What servers show.
    pub(crate) leaf: Leaf,
}

/// From when on, and until when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// The certificate of an authority.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    pem: String,
    der: CertificateDer<'static>,
    name: String,
    pub(crate) validity: Validity,
}

/// An authority that signs.
#[derive(Clone)]
pub(crate) struct Authority {
    pub(crate) trusted: Trusted,
    /// PEM.
    key: String,
}

/// A server's certificate.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) credential: Credential,
    chain: String,
    /// PEM.
    key: String,
}

/// Why the data of a Secret are no keys. Never says what is in a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidKeys {
    #[error("{0} is missing, or no text")]
    Missing(&'static str),
    #[error("{0} is not the certificate of an authority: {1}")]
    Certificate(&'static str, String),
    #[error("{0} is no private key")]
    Key(&'static str),
    #[error("the private key of {0} is that of another certificate")]
    Mismatch(&'static str),
    #[error("retired-ca.crt has more than {MAX_RETIRED} certificates")]
    TooMany,
    #[error("tls.crt: {0}")]
    Leaf(#[from] InvalidCredential),
    #[error("tls.crt is not signed by ca.crt: {0}")]
    Unsigned(webpki::Error),
}

impl Keys {
    /// New ones: an authority, and its certificate for these names.
    pub(crate) fn new(names: &[String], now: SystemTime) -> Result<Self, rcgen::Error> {
        let current = Authority::new(now)?;
        let leaf = current.sign(names, now)?;
        Ok(Self {
            current,
            next: None,
            retired: Vec::new(),
            leaf,
        })
    }

    /// Reads the data of a Secret.
    pub(crate) fn read(data: &Data) -> Result<Self, InvalidKeys> {
        let current = Authority::read(data, CURRENT)?;
        let next = match NEXT.iter().any(|name| data.contains_key(*name)) {
            true => Some(Authority::read(data, NEXT)?),
            false => None,
        };
        let leaf = Leaf::read(data)?;
        leaf.is_of(&current.trusted)
            .map_err(InvalidKeys::Unsigned)?;
        Ok(Self {
            current,
            next,
            retired: read_retired(data)?,
            leaf,
        })
    }

    /// The data of a Secret that reads the same.
    pub(crate) fn write(&self) -> Data {
        let mut data = Data::new();
        let mut put = |name: &str, text: &str| data.insert(name.to_owned(), text.into());
        let authorities = [(CURRENT, Some(&self.current)), (NEXT, self.next.as_ref())];
        for ([certificate, key], authority) in authorities {
            if let Some(authority) = authority {
                put(certificate, &authority.trusted.pem);
                put(key, &authority.key);
            }
        }
        put(LEAF[0], &self.leaf.chain);
        put(LEAF[1], &self.leaf.key);
        if !self.retired.is_empty() {
            put(RETIRED, &pem_of(self.retired.iter()));
        }
        data
    }

    /// What API servers are to trust, PEM: every authority whose certificates are or may be in use.
    pub(crate) fn bundle(&self) -> String {
        let current = [&self.current.trusted].into_iter();
        let next = self.next.iter().map(|authority| &authority.trusted);
        pem_of(self.retired.iter().chain(current).chain(next))
    }
}

fn pem_of<'t>(all: impl Iterator<Item = &'t Trusted>) -> String {
    all.map(|trusted| &*trusted.pem).collect()
}

fn read_retired(data: &Data) -> Result<Vec<Trusted>, InvalidKeys> {
    if !data.contains_key(RETIRED) {
        return Ok(Vec::new());
    }
    let text = text(data, RETIRED)?;
    let retired = CertificateDer::pem_slice_iter(text.as_bytes());
    let retired: Vec<_> = retired.take(MAX_RETIRED + 1).collect();
    if retired.len() > MAX_RETIRED {
        return Err(InvalidKeys::TooMany);
    }
    let invalid = |why: String| InvalidKeys::Certificate(RETIRED, why);
    let read = |der: Result<CertificateDer<'static>, _>| {
        let der = der.map_err(|_| invalid("it is no PEM".to_owned()))?;
        Trusted::new(der).map_err(invalid)
    };
    retired.into_iter().map(read).collect()
}

fn text<'d>(data: &'d Data, name: &'static str) -> Result<&'d str, InvalidKeys> {
    let bytes = data.get(name).ok_or(InvalidKeys::Missing(name))?;
    std::str::from_utf8(bytes).map_err(|_| InvalidKeys::Missing(name))
}

impl Validity {
    /// Begins early enough for a clock that is behind.
    fn from_now(now: SystemTime, life: Duration) -> Self {
        Self {
            not_before: now - SKEW,
            not_after: now + life,
        }
    }

    /// When it was made, by the clock of who made it.
    pub(crate) fn made(&self) -> SystemTime {
        self.not_before + SKEW
    }

    /// Whether two thirds of its life are over.
    pub(crate) fn is_due(&self, now: SystemTime) -> bool {
        let life = self.not_after.duration_since(self.made());
        now >= self.made() + life.unwrap_or_default() / 3 * 2
    }

    /// Whether a server can still use it. What was made by a clock that is ahead of all others cannot be.
    pub(crate) fn is_usable(&self, now: SystemTime) -> bool {
        now < self.not_after && self.not_before <= now + SKEW
    }
}

impl Trusted {
    fn new(der: CertificateDer<'static>) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|why| why.to_string())?;
        if !certificate.is_ca() {
            return Err("it signs no others".to_owned());
        }
        let name = certificate.subject().iter_common_name().next();
        let name = name.and_then(|name| name.as_str().ok());
        let name = name.ok_or("it has no name")?.to_owned();
        let time = |time: x509_parser::time::ASN1Time| {
            let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        let validity = Validity {
            not_before: time(certificate.validity().not_before),
            not_after: time(certificate.validity().not_after),
        };
        Ok(Self {
            pem: pem(&der),
            name,
            validity,
            der,
        })
    }
}

/// As API servers take it.
fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in encoded.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

impl Authority {
    pub(crate) fn new(now: SystemTime) -> Result<Self, rcgen::Error> {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH);
        let name = format!("tidegate webhook {}", seconds.unwrap_or_default().as_secs());
        let mut params = params_of(&name, Validity::from_now(now, AUTHORITY_LIFE));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let trusted = Trusted::new(certificate.der().clone());
        Ok(Self {
            trusted: trusted.map_err(|_| rcgen::Error::CouldNotParseCertificate)?,
            key: key.serialize_pem(),
        })
    }

    fn read(data: &Data, [name, key_name]: [&'static str; 2]) -> Result<Self, InvalidKeys> {
        let invalid = |why: String| InvalidKeys::Certificate(name, why);
        let der = CertificateDer::from_pem_slice(text(data, name)?.as_bytes());
        let der = der.map_err(|_| invalid("it is no PEM".to_owned()))?;
        let trusted = Trusted::new(der).map_err(invalid)?;
        let key = text(data, key_name)?;
        let pair = KeyPair::from_pem(key).map_err(|_| InvalidKeys::Key(key_name))?;
        let certificate =
            X509Certificate::from_der(&trusted.der).map(|(_, certificate)| certificate);
        let is_of = certificate.is_ok_and(|certificate| {
            certificate.public_key().subject_public_key.data == pair.public_key_raw()
        });
        if !is_of {
            return Err(InvalidKeys::Mismatch(name));
        }
        Ok(Self {
            trusted,
            key: key.to_owned(),
        })
    }

    /// A certificate of a server of these names, which ends no later than its authority does.
    pub(crate) fn sign(&self, names: &[String], now: SystemTime) -> Result<Leaf, rcgen::Error> {
        let mut validity = Validity::from_now(now, LEAF_LIFE);
        validity.not_after = validity.not_after.min(self.trusted.validity.not_after);
        let mut params = params_of("tidegate webhook", validity);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let own = &self.trusted;
        let issuer = Issuer::new(
            params_of(&own.name, own.validity),
            KeyPair::from_pem(&self.key)?,
        );
        let chain = params.signed_by(&key, &issuer)?.pem();
        let leaf = Leaf::new(chain, key.serialize_pem());
        leaf.map_err(|_| rcgen::Error::CouldNotParseCertificate)
    }
}

fn params_of(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    params
}

impl Leaf {
    fn new(chain: String, key: String) -> Result<Self, InvalidCredential> {
        let credential = Credential::from_pem(chain.as_bytes(), key.as_bytes())?;
        Ok(Self {
            credential,
            chain,
            key,
        })
    }

    fn read(data: &Data) -> Result<Self, InvalidKeys> {
        let [chain, key] = LEAF;
        Ok(Self::new(
            text(data, chain)?.to_owned(),
            text(data, key)?.to_owned(),
        )?)
    }

    pub(crate) fn validity(&self) -> Validity {
        Validity {
            not_before: self.credential.not_before,
            not_after: self.credential.not_after,
        }
    }

    /// Whether this authority has signed it.
    fn is_of(&self, authority: &Trusted) -> Result<(), webpki::Error> {
        let validity = self.validity();
        // When both are valid, if there is such a time.
        let time = validity.not_before.max(authority.validity.not_before);
        let time = time.duration_since(SystemTime::UNIX_EPOCH);
        let anchor = anchor_from_trusted_cert(&authority.der)?;
        let [leaf, chain @ ..] = &self.credential.certified_key.cert[..] else {
            return Err(webpki::Error::BadDer);
        };
        EndEntityCert::try_from(leaf)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor],
                chain,
                UnixTime::since_unix_epoch(time.unwrap_or_default()),
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map(drop)
    }
}

impl fmt::Debug for Authority {
    /// Without its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authority").field(&self.trusted).finish()
    }
}

impl fmt::Debug for Leaf {
    /// Without its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leaf").field(&self.credential).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + days(365 * 56)
    }

    fn names() -> Vec<String> {
        vec!["webhook.tidegate.svc".to_owned(), "::1".to_owned()]
    }

    fn keys() -> Keys {
        let mut keys = Keys::new(&names(), now()).unwrap();
        keys.next = Some(Authority::new(now() + days(1)).unwrap());
        keys.retired = vec![
            Authority::new(now() - days(2)).unwrap().trusted,
            Authority::new(now() - days(1)).unwrap().trusted,
        ];
        keys
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let keys = keys();
        let read = Keys::read(&keys.write()).unwrap();
        assert_eq!(read.write(), keys.write());
        assert_eq!(read.bundle(), keys.bundle());
        assert_eq!(read.bundle().matches("BEGIN CERTIFICATE").count(), 4);
        assert_eq!(read.leaf.credential.names, names());
        let made = read.current.trusted.validity;
        assert_eq!(
            (made.made(), made.not_after),
            (now(), now() + AUTHORITY_LIFE)
        );
        assert_eq!(read.leaf.validity().not_after, now() + LEAF_LIFE);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (good, other) = (keys().write(), keys().write());
        let refused = |change: &dyn Fn(&mut Data)| {
            let mut data = good.clone();
            change(&mut data);
            Keys::read(&data).unwrap_err().to_string()
        };
        let from_other = |name: &'static str| {
            let other = other[name].clone();
            refused(&move |data| drop(data.insert(name.to_owned(), other.clone())))
        };
        for (name, want) in [
            (
                "ca.crt",
                "the private key of ca.crt is that of another certificate",
            ),
            (
                "ca.key",
                "the private key of ca.crt is that of another certificate",
            ),
            (
                "next-ca.key",
                "the private key of next-ca.crt is that of another certificate",
            ),
            (
                "tls.key",
                "tls.crt: the private key is not that of the certificate",
            ),
        ] {
            assert_eq!(from_other(name), want, "{name}");
        }
        let whole_other = refused(&|data| {
            for name in CURRENT {
                data.insert(name.to_owned(), other[name].clone());
            }
        });
        assert!(
            whole_other.starts_with("tls.crt is not signed by ca.crt"),
            "{whole_other}"
        );
        for name in ["ca.crt", "ca.key", "next-ca.crt", "tls.crt", "tls.key"] {
            let missing = refused(&|data| drop(data.remove(name)));
            assert!(missing.starts_with(name), "{missing}");
            let garbage = refused(&|data| drop(data.insert(name.to_owned(), b"x\xff".to_vec())));
            assert!(garbage.contains(name), "{garbage}");
            let garbage = refused(&|data| drop(data.insert(name.to_owned(), b"x".to_vec())));
            assert!(!garbage.is_empty());
        }
        let leaf = good["tls.crt"].clone();
        let no_authority = refused(&|data| drop(data.insert("ca.crt".to_owned(), leaf.clone())));
        assert!(
            no_authority.contains("it signs no others"),
            "{no_authority}"
        );
        let many = refused(&|data| {
            let retired = data[RETIRED].repeat(5);
            data.insert(RETIRED.to_owned(), retired);
        });
        assert!(many.contains("more than 8"), "{many}");
        assert!(matches!(
            Keys::read(&Data::new()),
            Err(InvalidKeys::Missing("ca.crt"))
        ));
    }

    #[test]
    fn no_key_is_shown() {
        let keys = keys();
        let shown = format!("{keys:?}");
        assert!(
            !shown.contains("PRIVATE") && !shown.contains(&keys.leaf.key[40..80]),
            "{shown}"
        );
    }

    #[test]
    fn what_is_due_and_usable_follows_from_its_time() {
        let validity = Validity::from_now(now(), days(30));
        assert!(!validity.is_due(now() + days(19)) && validity.is_due(now() + days(20)));
        for (at, want) in [
            (now() - SKEW * 3, false),
            (now() - SKEW * 2, true),
            (now(), true),
            (now() + days(30), false),
        ] {
            assert_eq!(validity.is_usable(at), want);
        }
    }
}
