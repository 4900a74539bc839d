//! TLS to upstreams.

use crate::decode::{Cursor, Fields};
use crate::{ClientTlsMode, ClientTlsSettings};

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
    if matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) {
        warn_of_revocations(fields, tls);
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

/// A list of revocations needs the authorities whose list it is.
fn warn_of_revocations(fields: &Fields<'_>, tls: &ClientTlsSettings) {
    let named = tls.ca_certificates.as_deref();
    if named.is_none_or(|authorities| authorities == "system")
        && tls.credential_name.is_none()
        && let Some(crl) = fields.field("caCrl")
    {
        let message = "caCrl is ignored, it counts only beside authorities in caCertificates";
        crl.warning("ineffective", message)
            .help("name the file of the authorities whose list it is");
    }
}
