//! Versions and cipher suites: Istio's names, and ring's.

use model::TlsVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite};
use rustls::{
    CipherSuite, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion, version,
};
use std::sync::{Arc, LazyLock};

/// The suites of TLS 1.2 that there are, by OpenSSL's names. Those that Istio knows besides have neither forward
/// secrecy nor authenticated encryption, or only one of the two.
static TLS12: [(&str, SupportedCipherSuite); 6] = [
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Those of TLS 1.3, the first preferred.
static TLS13: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

static DEFAULT: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| of(TLS12.map(|(_, suite)| suite)));

/// The library with all of its suites, in Envoy's order: the server's order counts.
pub(crate) fn default_provider() -> Arc<CryptoProvider> {
    DEFAULT.clone()
}

/// The library, restricted to these suites of TLS 1.2; those of TLS 1.3 cannot be chosen. Names of suites that
/// are not here do not count, and if none counts all are offered.
pub(super) fn provider(names: &[String]) -> Arc<CryptoProvider> {
    let named = |name: &String| TLS12.iter().find(|(known, _)| known == name);
    let chosen: Vec<_> = names
        .iter()
        .filter_map(named)
        .map(|(_, suite)| *suite)
        .collect();
    if chosen.is_empty() {
        return default_provider();
    }
    of(chosen)
}

fn of(tls12: impl IntoIterator<Item = SupportedCipherSuite>) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: TLS13.into_iter().chain(tls12).collect(),
        ..ring::default_provider()
    })
}

/// The versions from `min` to `max`. There are none below 1.2, so the result may be empty.
pub(super) fn versions(min: TlsVersion, max: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    if !matches!(max, TlsVersion::V1_0 | TlsVersion::V1_1 | TlsVersion::V1_2) {
        versions.push(&version::TLS13);
    }
    if !matches!(min, TlsVersion::V1_3) && !matches!(max, TlsVersion::V1_0 | TlsVersion::V1_1) {
        versions.push(&version::TLS12);
    }
    versions
}

/// As Envoy writes versions.
pub(crate) fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    }
}

/// As OpenSSL writes suites.
pub(crate) fn suite_name(suite: Option<SupportedCipherSuite>) -> &'static str {
    let Some(suite) = suite else {
        return "";
    };
    match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => TLS12
            .iter()
            .find(|(_, known)| known.suite() == other)
            .map_or("", |(name, _)| name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_lie_between_the_limits() {
        use TlsVersion::{Auto, V1_0, V1_1, V1_2, V1_3};
        let cases = [
            (Auto, Auto, 2),
            (V1_0, Auto, 2),
            (V1_2, V1_3, 2),
            (V1_2, V1_2, 1),
            (V1_3, Auto, 1),
            (V1_0, V1_1, 0),
            (V1_3, V1_2, 0),
        ];
        for (min, max, want) in cases {
            assert_eq!(versions(min, max).len(), want, "{min:?} to {max:?}");
        }
    }

    #[test]
    fn named_suites_are_offered_in_their_order_and_unknown_ones_are_not() {
        let names = [
            "ECDHE-RSA-AES256-GCM-SHA384",
            "AES128-SHA",
            "ECDHE-RSA-AES128-GCM-SHA256",
        ];
        let provider = provider(&names.map(str::to_owned));
        let tls12: Vec<_> = provider
            .cipher_suites
            .iter()
            .filter(|suite| suite.tls13().is_none())
            .map(|suite| suite_name(Some(*suite)))
            .collect();
        assert_eq!(tls12, [names[0], names[2]]);
        assert_eq!(provider.cipher_suites.len(), 5);
    }

    #[test]
    fn without_a_known_name_all_are_offered() {
        assert_eq!(provider(&["AES128-SHA".to_owned()]).cipher_suites.len(), 9);
    }
}
