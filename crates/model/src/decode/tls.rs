//! TLS settings of servers and clients.

use super::{Cursor, Fields};
use crate::{
    ClientTlsMode, ClientTlsSettings, ServerTlsMode, ServerTlsSettings, TlsCertificate, TlsVersion,
};
use std::collections::HashSet;

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

const CIPHER_SUITES: &[&str] = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// Fields that make no sense on a server that does not speak TLS.
const TLS_ONLY: &[&str] = &[
    "mode",
    "serverCertificate",
    "privateKey",
    "caCertificates",
    "caCrl",
    "credentialName",
    "credentialNames",
    "caCertCredentialName",
    "tlsCertificates",
    "subjectAltNames",
    "verifyCertificateSpki",
    "verifyCertificateHash",
    "minProtocolVersion",
    "maxProtocolVersion",
    "cipherSuites",
    "insecureSkipVerify",
];

/// Whether the server's port speaks TLS.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum PortSpeaks {
    Tls,
    Clear,
}

/// `Server.tls`, or `IstioIngressListener.tls`.
pub(super) fn server_tls(cursor: &Cursor<'_>, port: PortSpeaks) -> Option<ServerTlsSettings> {
    cursor.object(|fields| {
        let settings = server_fields(fields);
        match port {
            PortSpeaks::Tls => check_server(fields, &settings),
            PortSpeaks::Clear => check_clear(fields),
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
        subject_alt_names: fields.strings("subjectAltNames"),
        verify_certificate_spki: fields.strings("verifyCertificateSpki"),
        verify_certificate_hash: fields.strings("verifyCertificateHash"),
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

/// Unknown and repeated suites are ignored, as in Istio, but not silently.
fn cipher_suites(cursor: &Cursor<'_>) -> Option<Vec<String>> {
    let mut seen = HashSet::new();
    let mut keep = |suite: &Cursor<'_>| {
        let name = suite.string()?;
        if !CIPHER_SUITES.contains(&name.as_str()) {
            let problem = suite.warning(
                "ineffective",
                format!("unknown cipher suite {name:?} is ignored"),
            );
            problem.help(format!("one of {}", CIPHER_SUITES.join(", ")));
            return None;
        }
        if !seen.insert(name.clone()) {
            suite.warning(
                "ineffective",
                format!("cipher suite {name:?} is there twice"),
            );
            return None;
        }
        Some(name)
    };
    Some(cursor.items().iter().filter_map(&mut keep).collect())
}

fn check_clear(fields: &Fields<'_>) {
    for name in TLS_ONLY.iter().filter(|name| fields.has(name)) {
        let Some(field) = fields.field(name) else {
            continue;
        };
        field
            .error(
                "exclusive_fields",
                "server cannot have TLS settings for non HTTPS/TLS ports",
            )
            .help("only httpsRedirect is allowed here; or set port.protocol to HTTPS or TLS");
    }
}

fn check_server(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    if tls.https_redirect
        && let Some(field) = fields.field("httpsRedirect")
    {
        field.warning(
            "ineffective",
            "httpsRedirect has an effect on HTTP servers only",
        );
    }
    fields.exclusive(&["credentialName", "credentialNames"]);
    fields.exclusive(&["credentialName", "serverCertificate"]);
    fields.exclusive(&["credentialName", "privateKey"]);
    fields.exclusive(&["credentialName", "tlsCertificates"]);
    fields.exclusive(&["credentialNames", "serverCertificate"]);
    fields.exclusive(&["credentialNames", "tlsCertificates"]);
    fields.exclusive(&["serverCertificate", "tlsCertificates"]);
    check_versions(fields, tls);
    match tls.mode {
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => warn_of_certificates(fields),
        ServerTlsMode::IstioMutual => refuse_certificates(fields),
        ServerTlsMode::Simple => {
            require_certificate(fields, tls);
            if let Some(crl) = fields.field("caCrl") {
                crl.error(
                    "exclusive_fields",
                    "caCrl needs mode MUTUAL or OPTIONAL_MUTUAL",
                );
            }
        }
        ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
            require_certificate(fields, tls);
            require_authorities(fields, tls);
        }
    }
    if tls.insecure_skip_verify
        && tls.mode != ServerTlsMode::Mutual
        && let Some(field) = fields.field("insecureSkipVerify")
    {
        field.error("exclusive_fields", "insecureSkipVerify needs mode MUTUAL");
    }
}

fn check_versions(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    let rank = |version| {
        VERSIONS
            .iter()
            .position(|(_, known)| *known == version)
            .unwrap_or_default()
    };
    let (min, max) = (
        rank(tls.min_protocol_version),
        rank(tls.max_protocol_version),
    );
    if max != 0
        && min > max
        && let Some(field) = fields.field("minProtocolVersion")
    {
        field.error(
            "out_of_range",
            "minProtocolVersion is newer than maxProtocolVersion",
        );
    }
}

const CERTIFICATES: &[&str] = &[
    "serverCertificate",
    "privateKey",
    "caCertificates",
    "credentialName",
    "credentialNames",
    "tlsCertificates",
];

fn warn_of_certificates(fields: &Fields<'_>) {
    for name in CERTIFICATES.iter().filter(|name| fields.has(name)) {
        if let Some(field) = fields.field(name) {
            field
                .warning(
                    "ineffective",
                    format!("{name} is ignored, since TLS passes through"),
                )
                .help("set mode to SIMPLE to end TLS here; the default is PASSTHROUGH");
        }
    }
}

fn refuse_certificates(fields: &Fields<'_>) {
    for name in CERTIFICATES.iter().filter(|name| fields.has(name)) {
        if let Some(field) = fields.field(name) {
            field.error(
                "exclusive_fields",
                format!("ISTIO_MUTUAL TLS cannot have {name}"),
            );
        }
    }
}

fn by_secret(tls: &ServerTlsSettings) -> bool {
    tls.credential_name.is_some() || !tls.credential_names.is_empty()
}

fn require_certificate(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    if by_secret(tls) || fields.has("tlsCertificates") {
        return;
    }
    for (name, there) in [
        ("serverCertificate", &tls.server_certificate),
        ("privateKey", &tls.private_key),
    ] {
        if there.is_none() {
            fields.missing(name, format!("{name} or credentialName is required"));
        }
    }
}

fn require_authorities(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    let of_pairs = tls
        .tls_certificates
        .iter()
        .any(|pair| pair.ca_certificates.is_some());
    let there = by_secret(tls)
        || tls.ca_certificates.is_some()
        || tls.ca_cert_credential_name.is_some()
        || of_pairs
        || tls.insecure_skip_verify;
    if !there {
        fields.missing(
            "caCertificates",
            "caCertificates is required to verify clients".to_owned(),
        );
    }
}

const CLIENT_MODES: &[(&str, ClientTlsMode)] = &[
    ("DISABLE", ClientTlsMode::Disable),
    ("SIMPLE", ClientTlsMode::Simple),
    ("MUTUAL", ClientTlsMode::Mutual),
    ("ISTIO_MUTUAL", ClientTlsMode::IstioMutual),
];

/// `TrafficPolicy.tls`.
pub(super) fn client_tls(cursor: &Cursor<'_>) -> Option<ClientTlsSettings> {
    cursor.object(|fields| {
        let tls = ClientTlsSettings {
            at: fields.at(),
            mode: fields
                .maybe("mode", |mode| mode.one_of(CLIENT_MODES))
                .unwrap_or_default(),
            client_certificate: fields.string("clientCertificate"),
            private_key: fields.string("privateKey"),
            ca_certificates: fields.string("caCertificates"),
            credential_name: fields.string("credentialName"),
            subject_alt_names: fields.strings("subjectAltNames"),
            sni: fields.string("sni"),
            insecure_skip_verify: fields.bool("insecureSkipVerify"),
            ca_crl: fields.string("caCrl"),
        };
        check_client(fields, &tls);
        Some(tls)
    })
}

fn check_client(fields: &Fields<'_>, tls: &ClientTlsSettings) {
    for name in ["clientCertificate", "privateKey", "caCertificates", "caCrl"] {
        fields.exclusive(&["credentialName", name]);
    }
    if tls.insecure_skip_verify == Some(true) {
        fields.exclusive(&["insecureSkipVerify", "caCertificates"]);
        fields.exclusive(&["insecureSkipVerify", "subjectAltNames"]);
    }
    match tls.mode {
        ClientTlsMode::Mutual if tls.credential_name.is_none() => {
            for (name, there) in [
                ("clientCertificate", &tls.client_certificate),
                ("privateKey", &tls.private_key),
            ] {
                if there.is_none() {
                    fields.missing(
                        name,
                        format!("{name} or credentialName is required by mode MUTUAL"),
                    );
                }
            }
        }
        ClientTlsMode::IstioMutual => {
            let refused = [
                "clientCertificate",
                "privateKey",
                "caCertificates",
                "credentialName",
                "caCrl",
            ];
            for name in refused.into_iter().filter(|name| fields.has(name)) {
                if let Some(field) = fields.field(name) {
                    field.error(
                        "exclusive_fields",
                        format!("ISTIO_MUTUAL TLS cannot have {name}"),
                    );
                }
            }
        }
        _ => {}
    }
}
