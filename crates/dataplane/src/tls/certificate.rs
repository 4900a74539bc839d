//! Reading certificates: names, subject and key.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use x509_parser::der_parser::oid::Oid;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Another name of a certificate's holder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SubjectAltName {
    Dns(String),
    Uri(String),
    Email(String),
    Address(IpAddr),
}

impl fmt::Display for SubjectAltName {
    /// Quoted, since somebody else wrote it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(text) | Self::Uri(text) | Self::Email(text) => write!(f, "{text:?}"),
            Self::Address(address) => write!(f, "\"{address}\""),
        }
    }
}

/// A certificate that could be read.
pub(crate) struct Parsed<'c>(X509Certificate<'c>);

impl<'c> Parsed<'c> {
    /// `None`: it is none that is understood here, though webpki may have.
    pub(crate) fn new(der: &'c [u8]) -> Option<Self> {
        X509Certificate::from_der(der)
            .ok()
            .map(|(_, parsed)| Self(parsed))
    }

    /// The public key with its algorithm, as DER.
    pub(super) fn public_key(&self) -> &'c [u8] {
        self.0.tbs_certificate.subject_pki.raw
    }

    pub(crate) fn names(&self) -> Vec<SubjectAltName> {
        let Ok(Some(extension)) = self.0.subject_alternative_name() else {
            return Vec::new();
        };
        let names = extension.value.general_names.iter();
        names.filter_map(subject_alt_name).collect()
    }

    /// The first of its names that is a URI: who it is in a mesh.
    pub(super) fn uri(&self) -> Option<String> {
        self.names().into_iter().find_map(|name| match name {
            SubjectAltName::Uri(uri) => Some(uri),
            _ => None,
        })
    }

    /// The subject as RFC 2253 writes it: `CN=client,O=Shop,C=DE`.
    pub(super) fn subject(&self) -> String {
        rfc2253(&self.0.tbs_certificate.subject)
    }
}

fn subject_alt_name(name: &GeneralName<'_>) -> Option<SubjectAltName> {
    match name {
        GeneralName::DNSName(name) => Some(SubjectAltName::Dns((*name).to_owned())),
        GeneralName::URI(uri) => Some(SubjectAltName::Uri((*uri).to_owned())),
        GeneralName::RFC822Name(email) => Some(SubjectAltName::Email((*email).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(SubjectAltName::Address)
        }
        _ => None,
    }
}

/// Istio compares whole identities; a `*` at the end of one is an extension.
pub(crate) fn is_uri(presented: &str, entry: &str) -> bool {
    match entry.strip_suffix('*') {
        // Of a list for hosts, `*` alone would be anybody.
        Some(prefix) if prefix.contains("://") => presented.starts_with(prefix),
        _ => presented == entry,
    }
}

/// The last part comes first, and what is not printable ASCII is written as `\XX`, so that the result can
/// stand in a header.
fn rfc2253(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter()
        .map(|part| {
            let attributes: Vec<String> = part.iter().map(attribute).collect();
            attributes.join("+")
        })
        .collect();
    let reversed: Vec<&str> = parts.iter().rev().map(String::as_str).collect();
    reversed.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let (Some(name), Ok(value)) = (short_name(attribute.attr_type()), attribute.as_str()) else {
        let raw = attribute.as_slice();
        return format!("{}=#{}", attribute.attr_type(), super::digest::hex(raw));
    };
    let mut text = format!("{name}=");
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let special = matches!(byte, b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';')
            || (at == 0 && byte == b'#')
            || ((at == 0 || at == last) && byte == b' ');
        // Writing to a string cannot fail.
        let _ = match byte {
            _ if special => write!(text, "\\{}", char::from(byte)),
            b' '..=b'~' => write!(text, "{}", char::from(byte)),
            _ => write!(text, "\\{byte:02X}"),
        };
    }
    text
}

/// Names of attributes as OpenSSL shortens them.
fn short_name(oid: &Oid<'_>) -> Option<&'static str> {
    const NAMES: [(&str, &str); 14] = [
        ("2.5.4.3", "CN"),
        ("2.5.4.4", "SN"),
        ("2.5.4.5", "serialNumber"),
        ("2.5.4.6", "C"),
        ("2.5.4.7", "L"),
        ("2.5.4.8", "ST"),
        ("2.5.4.9", "street"),
        ("2.5.4.10", "O"),
        ("2.5.4.11", "OU"),
        ("2.5.4.12", "title"),
        ("2.5.4.42", "GN"),
        ("0.9.2342.19200300.100.1.1", "UID"),
        ("0.9.2342.19200300.100.1.25", "DC"),
        ("1.2.840.113549.1.9.1", "emailAddress"),
    ];
    let oid = oid.to_id_string();
    NAMES
        .iter()
        .find(|(known, _)| *known == oid)
        .map(|(_, name)| *name)
}
