//! What goes together in the TLS settings of a server.

use crate::decode::{Cursor, Fields};
use crate::{ServerTlsMode, ServerTlsSettings, TlsVersion};

const OLDEST: &str = "TLS 1.2 is the oldest version spoken here";

/// Fields that say where certificates, authorities and revocations come from.
const CERTIFICATES: &[&str] = &[
    "serverCertificate",
    "privateKey",
    "caCertificates",
    "caCrl",
    "credentialName",
    "credentialNames",
    "caCertCredentialName",
    "tlsCertificates",
];

/// The others that make no sense on a server that does not speak TLS.
const OTHERS: &[&str] = &[
    "mode",
    "subjectAltNames",
    "verifyCertificateSpki",
    "verifyCertificateHash",
    "minProtocolVersion",
    "maxProtocolVersion",
    "cipherSuites",
    "insecureSkipVerify",
];

/// Fields that make no sense on a server that does not speak TLS.
fn tls_only() -> impl Iterator<Item = &'static &'static str> {
    OTHERS.iter().chain(CERTIFICATES)
}

/// Of a server that speaks HTTP in clear.
pub(super) fn check_http(fields: &Fields<'_>) {
    for name in tls_only().filter(|name| fields.has(name)) {
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

/// Of a server that speaks something else in clear.
pub(super) fn check_bytes(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    check_http(fields);
    warn_of_redirect(fields, tls);
}

fn warn_of_redirect(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    if tls.https_redirect
        && let Some(field) = fields.field("httpsRedirect")
    {
        field.warning(
            "ineffective",
            "httpsRedirect has an effect on HTTP servers only",
        );
    }
}

/// Sources of a certificate, and of authorities, of which only one may be there.
const EXCLUSIVE: &[[&str; 2]] = &[
    ["credentialName", "credentialNames"],
    ["credentialName", "serverCertificate"],
    ["credentialName", "privateKey"],
    ["credentialName", "caCertificates"],
    ["credentialName", "tlsCertificates"],
    ["credentialNames", "serverCertificate"],
    ["credentialNames", "privateKey"],
    ["credentialNames", "caCertificates"],
    ["credentialNames", "tlsCertificates"],
    ["serverCertificate", "tlsCertificates"],
    ["privateKey", "tlsCertificates"],
    ["caCertCredentialName", "caCertificates"],
];

/// Of a server that speaks TLS.
pub(super) fn check_tls(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    warn_of_redirect(fields, tls);
    for names in EXCLUSIVE {
        fields.exclusive(names);
    }
    match tls.mode {
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => warn_of_settings(fields),
        ServerTlsMode::IstioMutual => refuse_certificates(fields),
        ServerTlsMode::Simple => {
            require_certificate(fields, tls);
            refuse_revocations(fields);
            warn_of_verification(fields);
        }
        ServerTlsMode::Mutual if tls.insecure_skip_verify => {
            require_certificate(fields, tls);
            warn_of_unverified(fields);
        }
        ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
            require_certificate(fields, tls);
            require_authorities(fields, tls);
            warn_of_revocations(fields, tls);
            warn_of_pairs(fields, tls);
        }
    }
    if !passes(tls.mode) {
        check_versions(fields, tls);
        check_suites(fields, tls);
    }
    if tls.insecure_skip_verify
        && tls.mode != ServerTlsMode::Mutual
        && let Some(field) = fields.field("insecureSkipVerify")
    {
        field.error("exclusive_fields", "insecureSkipVerify needs mode MUTUAL");
    }
}

fn passes(mode: ServerTlsMode) -> bool {
    matches!(
        mode,
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough
    )
}

/// TLS 1.2 is the oldest version that the library speaks.
fn check_versions(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    let is_too_old = |version| matches!(version, TlsVersion::V1_0 | TlsVersion::V1_1);
    if is_too_old(tls.min_protocol_version)
        && let Some(field) = fields.field("minProtocolVersion")
    {
        field.warning("ineffective", OLDEST);
    }
    if is_too_old(tls.max_protocol_version) {
        if let Some(field) = fields.field("maxProtocolVersion") {
            field.error("out_of_range", OLDEST);
        }
    } else if tls.min_protocol_version == TlsVersion::V1_3
        && tls.max_protocol_version == TlsVersion::V1_2
        && let Some(field) = fields.field("minProtocolVersion")
    {
        field.error(
            "out_of_range",
            "minProtocolVersion is newer than maxProtocolVersion",
        );
    }
}

/// Suites can be chosen in TLS 1.2 only; without any, nobody could speak it.
fn check_suites(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    let Some(field) = fields.field("cipherSuites") else {
        return;
    };
    if !fields.has("cipherSuites") {
        return;
    }
    if tls.min_protocol_version == TlsVersion::V1_3 {
        field.warning(
            "ineffective",
            "cipherSuites has no effect on TLS 1.3, which is the oldest version of this server",
        );
    } else if tls.cipher_suites.is_empty() {
        field
            .error("invalid_value", "none of these cipher suites is supported")
            .help("leave cipherSuites out for a safe choice");
    }
}

/// Fields about the certificates of clients, beside revocations.
const VERIFICATION: &[&str] = &[
    "caCertificates",
    "caCertCredentialName",
    "subjectAltNames",
    "verifyCertificateSpki",
    "verifyCertificateHash",
];

/// Fields that say what certificates of clients are verified against.
const AUTHORITIES: &[&str] = &["caCertificates", "caCrl", "caCertCredentialName"];

/// The fields of `names` that are there.
fn present<'f>(
    fields: &'f Fields<'_>,
    names: impl IntoIterator<Item = &'static &'static str>,
) -> impl Iterator<Item = (&'static str, Cursor<'f>)> {
    let names = names.into_iter().filter(|name| fields.has(name));
    names.filter_map(|name| Some((*name, fields.field(name)?)))
}

fn warn_of_settings(fields: &Fields<'_>) {
    let told = |name: &str| !matches!(name, "mode" | "insecureSkipVerify");
    for (name, field) in present(fields, tls_only()).filter(|(name, _)| told(name)) {
        field
            .warning(
                "ineffective",
                format!("{name} is ignored, since TLS passes through"),
            )
            .help("set mode to SIMPLE to end TLS here; the default is PASSTHROUGH");
    }
}

/// The authorities that stand in the pairs of `tlsCertificates`.
fn authorities_of_pairs<'f>(fields: &Fields<'f>) -> Vec<(&'static str, Cursor<'f>)> {
    const NAME: &str = "caCertificates";
    // As in protobuf, an empty text is as good as absent.
    let filled = |pair: &Fields<'f>| pair.string(NAME).and_then(|_| pair.field(NAME));
    let of_pair = |pair: Cursor<'f>| Some((NAME, pair.part_of_object(filled)?));
    let pairs = fields.items("tlsCertificates").into_iter();
    pairs.filter_map(of_pair).collect()
}

fn warn_of_verification(fields: &Fields<'_>) {
    for (name, field) in present(fields, VERIFICATION).chain(authorities_of_pairs(fields)) {
        let message =
            format!("{name} is ignored, since mode SIMPLE asks no client for a certificate");
        field
            .warning("ineffective", message)
            .help("set mode to MUTUAL to verify clients");
    }
}

/// Whoever names authorities expects them to be asked, which is worth a word where nobody is verified.
fn warn_of_unverified(fields: &Fields<'_>) {
    for (name, field) in present(fields, AUTHORITIES).chain(authorities_of_pairs(fields)) {
        let message = format!("{name} is ignored, since insecureSkipVerify verifies no client");
        field
            .warning("ineffective", message)
            .help("leave insecureSkipVerify out to verify clients");
    }
}

/// One set of authorities verifies all clients, whichever of the pairs is chosen for them.
fn warn_of_pairs(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    let (taken, why) = if tls.ca_cert_credential_name.is_some() {
        (0, "since caCertCredentialName names the authorities")
    } else if tls.ca_certificates.is_some() {
        (0, "since caCertificates beside tlsCertificates is taken")
    } else {
        (1, "since that of an earlier certificate is taken")
    };
    for (name, field) in authorities_of_pairs(fields).into_iter().skip(taken) {
        field
            .warning("ineffective", format!("{name} is ignored, {why}"))
            .help("put all authorities into one file");
    }
}

fn refuse_revocations(fields: &Fields<'_>) {
    if let Some(crl) = fields.field("caCrl") {
        crl.error(
            "exclusive_fields",
            "caCrl needs mode MUTUAL or OPTIONAL_MUTUAL",
        );
    }
}

fn warn_of_revocations(fields: &Fields<'_>, tls: &ServerTlsSettings) {
    if (by_secret(tls) || tls.ca_cert_credential_name.is_some())
        && let Some(crl) = fields.field("caCrl")
    {
        let message =
            "caCrl is ignored, since the Secret with the authorities holds the revocations";
        crl.warning("ineffective", message)
            .help("put them into the Secret as `ca.crl`");
    }
}

fn refuse_certificates(fields: &Fields<'_>) {
    for (name, field) in present(fields, CERTIFICATES) {
        field.error(
            "exclusive_fields",
            format!("ISTIO_MUTUAL TLS cannot have {name}"),
        );
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
