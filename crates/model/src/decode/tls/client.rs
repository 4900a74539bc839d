//! TLS to upstreams.

use super::names::names_of_servers;
use crate::decode::{Cursor, Fields};
use crate::{ClientTlsMode, ClientTlsSettings};
use std::net::IpAddr;

/// What stands for the authorities of the system.
const SYSTEM: &str = "system";

/// Bytes of a name in TLS.
const MAX_SNI: usize = 253;

const CLIENT_MODES: &[(&str, ClientTlsMode)] = &[
    ("DISABLE", ClientTlsMode::Disable),
    ("SIMPLE", ClientTlsMode::Simple),
    ("MUTUAL", ClientTlsMode::Mutual),
    ("ISTIO_MUTUAL", ClientTlsMode::IstioMutual),
];

/// `TrafficPolicy.tls`.
pub(in crate::decode) fn client_tls(cursor: &Cursor<'_>) -> Option<ClientTlsSettings> {
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
            subject_alt_names: names_of_servers(fields),
            sni: fields.maybe("sni", sni),
            insecure_skip_verify: fields.bool("insecureSkipVerify"),
            ca_crl: fields.string("caCrl"),
        };
        check_client(fields, &tls);
        Some(tls)
    })
}

/// Absent when it is empty, as in protobuf.
fn sni(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.string().filter(|name| !name.is_empty())?;
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = name.len() <= MAX_SNI
        && name.bytes().all(is_of_names)
        && name.split('.').all(|label| !label.is_empty());
    if !is_name || name.parse::<IpAddr>().is_ok() {
        cursor
            .error(
                "invalid_value",
                format!("{name:?} is no name that TLS can ask for"),
            )
            .help("a host name without wildcard, no address");
        return None;
    }
    Some(name)
}

/// Fields that say what is shown.
const CERTIFICATES: &[&str] = &["clientCertificate", "privateKey"];

/// Fields that say what the server must show.
const AUTHORITIES: &[&str] = &["caCertificates", "caCrl", "subjectAltNames"];

fn warn_of_ignored(fields: &Fields<'_>, names: &[&'static str], why: &str) {
    for name in names.iter().filter(|name| fields.has(name)) {
        if let Some(field) = fields.field(name) {
            field.warning("ineffective", format!("{name} is ignored, {why}"));
        }
    }
}

fn warn_of_settings(fields: &Fields<'_>, tls: &ClientTlsSettings) {
    let is_verified = tls.insecure_skip_verify != Some(true);
    let authorities = tls.ca_certificates.as_deref().unwrap_or(SYSTEM);
    match tls.mode {
        ClientTlsMode::Disable => {
            let why = "since mode DISABLE begins no TLS";
            warn_of_ignored(fields, CERTIFICATES, why);
            warn_of_ignored(fields, AUTHORITIES, why);
            warn_of_ignored(fields, &["credentialName", "sni"], why);
            return;
        }
        ClientTlsMode::Simple => {
            let why = "since mode SIMPLE shows no certificate";
            warn_of_ignored(fields, CERTIFICATES, why);
        }
        ClientTlsMode::Mutual | ClientTlsMode::IstioMutual => {}
    }
    if !is_verified {
        warn_of_ignored(
            fields,
            &["caCrl"],
            "since insecureSkipVerify verifies nothing",
        );
    } else if authorities == SYSTEM
        && tls.mode != ClientTlsMode::IstioMutual
        && let Some(field) = fields.field("caCrl")
    {
        field
            .warning(
                "not_honoured",
                "caCrl is not honoured with the system's authorities",
            )
            .help("name the authorities in caCertificates");
    }
}

fn check_client(fields: &Fields<'_>, tls: &ClientTlsSettings) {
    warn_of_settings(fields, tls);
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
