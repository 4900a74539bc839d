//! TLS of servers.

use super::check::{check_bytes, check_http, check_tls};
use super::crypto::{certificate_hash, cipher_suites, spki_hash};
use super::names::names_of_clients;
use crate::decode::{Cursor, Fields};
use crate::{ServerTlsMode, ServerTlsSettings, TlsCertificate, TlsVersion};

const SERVER_MODES: &[(&str, ServerTlsMode)] = &[
    ("PASSTHROUGH", ServerTlsMode::Passthrough),
    ("SIMPLE", ServerTlsMode::Simple),
    ("MUTUAL", ServerTlsMode::Mutual),
    ("AUTO_PASSTHROUGH", ServerTlsMode::AutoPassthrough),
    ("ISTIO_MUTUAL", ServerTlsMode::IstioMutual),
    ("OPTIONAL_MUTUAL", ServerTlsMode::OptionalMutual),
];

const VERSIONS: &[(&str, TlsVersion)] = &[
    ("TLS_AUTO", TlsVersion::Auto),
    ("TLSV1_0", TlsVersion::V1_0),
    ("TLSV1_1", TlsVersion::V1_1),
    ("TLSV1_2", TlsVersion::V1_2),
    ("TLSV1_3", TlsVersion::V1_3),
];

/// What the server's port speaks.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(in crate::decode) enum PortSpeaks {
    Tls,
    /// HTTP in clear.
    Http,
    /// Something else in clear.
    Bytes,
}

/// `Server.tls`, or `IstioIngressListener.tls`.
pub(in crate::decode) fn server_tls(
    cursor: &Cursor<'_>,
    port: PortSpeaks,
) -> Option<ServerTlsSettings> {
    cursor.object(|fields| {
        let settings = server_fields(fields);
        match port {
            PortSpeaks::Tls => check_tls(fields, &settings),
            PortSpeaks::Http => check_http(fields),
            PortSpeaks::Bytes => check_bytes(fields, &settings),
        }
        Some(settings)
    })
}

fn server_fields(fields: &Fields<'_>) -> ServerTlsSettings {
    let version = |name| {
        fields
            .maybe(name, |cursor| cursor.one_of(VERSIONS))
            .unwrap_or_default()
    };
    ServerTlsSettings {
        at: fields.at(),
        https_redirect: fields.flag("httpsRedirect"),
        mode: fields
            .maybe("mode", |mode| mode.one_of(SERVER_MODES))
            .unwrap_or_default(),
        server_certificate: fields.string("serverCertificate"),
        private_key: fields.string("privateKey"),
        ca_certificates: fields.string("caCertificates"),
        ca_crl: fields.string("caCrl"),
        credential_name: fields.string("credentialName"),
        credential_names: at_most_two(fields, "credentialNames", Cursor::text),
        ca_cert_credential_name: fields.string("caCertCredentialName"),
        tls_certificates: at_most_two(fields, "tlsCertificates", certificate),
        subject_alt_names: names_of_clients(fields),
        verify_certificate_spki: fields.each("verifyCertificateSpki", spki_hash),
        verify_certificate_hash: fields.each("verifyCertificateHash", certificate_hash),
        min_protocol_version: version("minProtocolVersion"),
        max_protocol_version: version("maxProtocolVersion"),
        cipher_suites: fields
            .maybe("cipherSuites", cipher_suites)
            .unwrap_or_default(),
        insecure_skip_verify: fields.flag("insecureSkipVerify"),
    }
}

fn at_most_two<'a, T>(
    fields: &Fields<'a>,
    name: &'static str,
    decode: impl Fn(&Cursor<'a>) -> Option<T>,
) -> Vec<T> {
    let items = fields.items(name);
    if let Some(third) = items.get(2) {
        third.error(
            "invalid_value",
            format!("{name} takes two at most, for an RSA and an ECDSA key"),
        );
    }
    items.iter().filter_map(decode).collect()
}

fn certificate(cursor: &Cursor<'_>) -> Option<TlsCertificate> {
    cursor.object(|fields| {
        let server_certificate = fields
            .required("serverCertificate")
            .and_then(|path| path.text());
        let private_key = fields.required("privateKey").and_then(|path| path.text());
        let ca_certificates = fields.string("caCertificates");
        Some(TlsCertificate {
            server_certificate: server_certificate?,
            private_key: private_key?,
            ca_certificates,
        })
    })
}
