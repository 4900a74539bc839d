//! The annotations that Istio knows, and what becomes of each.

/// What an annotation does here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Meaning {
    /// As in Istio.
    Honoured,
    /// Nothing, and why.
    Ignored(&'static str),
}

use Meaning::{Honoured, Ignored};

const ENVOY_LOG: &str = "it is about Envoy; `sidecar.istio.io/logLevel` is all that the agent has";
const ENVOY_STATISTICS: &str =
    "it is about Envoy's statistics, and the agent has Istio's metrics only";
const NO_CONTROL_PLANE: &str = "there is no control plane";

/// Every annotation of a pod that Istio knows, sorted.
const ANNOTATIONS: [(&str, Meaning); 46] = [
    ("inject.istio.io/templates", Honoured),
    ("istio.io/reroute-virtual-interfaces", Honoured),
    ("prometheus.istio.io/merge-metrics", Honoured),
    ("proxy.istio.io/config", Honoured),
    (
        "proxy.istio.io/overrides",
        Ignored(
            "it is how Istio's injector remembers containers, and this one leaves them as they are",
        ),
    ),
    (
        "readiness.status.sidecar.istio.io/applicationPorts",
        Ignored("the agent is ready when it listens and is configured"),
    ),
    (
        "readiness.status.sidecar.istio.io/failureThreshold",
        Honoured,
    ),
    (
        "readiness.status.sidecar.istio.io/initialDelaySeconds",
        Honoured,
    ),
    ("readiness.status.sidecar.istio.io/periodSeconds", Honoured),
    ("sidecar.istio.io/agentLogLevel", Ignored(ENVOY_LOG)),
    (
        "sidecar.istio.io/bootstrapOverride",
        Ignored("it is about Envoy's bootstrap; the agent's is in a ConfigMap"),
    ),
    ("sidecar.istio.io/capNetBindService", Honoured),
    ("sidecar.istio.io/componentLogLevel", Ignored(ENVOY_LOG)),
    (
        "sidecar.istio.io/controlPlaneAuthPolicy",
        Ignored(NO_CONTROL_PLANE),
    ),
    (
        "sidecar.istio.io/discoveryAddress",
        Ignored(NO_CONTROL_PLANE),
    ),
    (
        "sidecar.istio.io/enableCoreDump",
        Ignored("the agent writes no core"),
    ),
    ("sidecar.istio.io/extraStatTags", Ignored(ENVOY_STATISTICS)),
    ("sidecar.istio.io/inject", Honoured),
    ("sidecar.istio.io/interceptionMode", Honoured),
    ("sidecar.istio.io/logLevel", Honoured),
    ("sidecar.istio.io/nativeSidecar", Honoured),
    ("sidecar.istio.io/proxyCPU", Honoured),
    ("sidecar.istio.io/proxyCPULimit", Honoured),
    ("sidecar.istio.io/proxyImage", Honoured),
    (
        "sidecar.istio.io/proxyImageType",
        Ignored("the agent's image has no variants"),
    ),
    ("sidecar.istio.io/proxyMemory", Honoured),
    ("sidecar.istio.io/proxyMemoryLimit", Honoured),
    ("sidecar.istio.io/rewriteAppHTTPProbers", Honoured),
    (
        "sidecar.istio.io/statsCompression",
        Ignored(ENVOY_STATISTICS),
    ),
    (
        "sidecar.istio.io/statsHistogramBuckets",
        Ignored(ENVOY_STATISTICS),
    ),
    (
        "sidecar.istio.io/statsInclusionPrefixes",
        Ignored(ENVOY_STATISTICS),
    ),
    (
        "sidecar.istio.io/statsInclusionRegexps",
        Ignored(ENVOY_STATISTICS),
    ),
    (
        "sidecar.istio.io/statsInclusionSuffixes",
        Ignored(ENVOY_STATISTICS),
    ),
    ("sidecar.istio.io/status", Honoured),
    ("sidecar.istio.io/userVolume", Honoured),
    ("sidecar.istio.io/userVolumeMount", Honoured),
    ("status.sidecar.istio.io/port", Honoured),
    (
        "traffic.istio.io/nodeSelector",
        Ignored("it is about Services, not about pods"),
    ),
    ("traffic.sidecar.istio.io/excludeInboundPorts", Honoured),
    ("traffic.sidecar.istio.io/excludeInterfaces", Honoured),
    ("traffic.sidecar.istio.io/excludeOutboundIPRanges", Honoured),
    ("traffic.sidecar.istio.io/excludeOutboundPorts", Honoured),
    ("traffic.sidecar.istio.io/includeInboundPorts", Honoured),
    ("traffic.sidecar.istio.io/includeOutboundIPRanges", Honoured),
    ("traffic.sidecar.istio.io/includeOutboundPorts", Honoured),
    ("traffic.sidecar.istio.io/kubevirtInterfaces", Honoured),
];

/// What names begin with that nobody but Istio gives a meaning.
const PREFIXES: [&str; 7] = [
    "inject.istio.io/",
    "prometheus.istio.io/",
    "proxy.istio.io/",
    "readiness.status.sidecar.istio.io/",
    "sidecar.istio.io/",
    "status.sidecar.istio.io/",
    "traffic.sidecar.istio.io/",
];

/// What an annotation does, if Istio knows it.
pub(crate) fn meaning(name: &str) -> Option<Meaning> {
    let found = ANNOTATIONS
        .binary_search_by_key(&name, |(name, _)| name)
        .ok()?;
    ANNOTATIONS.get(found).map(|(_, meaning)| *meaning)
}

/// Whether an annotation looks like one of Istio's for sidecars.
pub(crate) fn is_istios(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The annotation that an unknown name may be a slip of.
pub(crate) fn closest(name: &str) -> Option<&'static str> {
    closest_of(name, ANNOTATIONS.iter().map(|(name, _)| *name))
}

/// The candidate that a word may be a slip of: a few letters wrong, whatever their case.
pub(crate) fn closest_of<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    const LONGEST: usize = 128;
    if word.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let word = plain(word);
    // The prefix is long and alike: what is behind it decides.
    let own = |text: &str| text.rsplit('/').next().map_or(0, str::len);
    candidates
        .map(|candidate| (strsim::osa_distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= own(candidate).min(own(&word)) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_sorted() {
        assert!(ANNOTATIONS.is_sorted_by_key(|(name, _)| *name));
        for (name, want) in ANNOTATIONS {
            assert_eq!(meaning(name), Some(want), "{name}");
        }
        assert_eq!(meaning("sidecar.istio.io/none"), None);
    }

    #[test]
    fn slips_are_recognised() {
        for (name, want) in [
            (
                "sidecar.istio.io/proxyCpu",
                Some("sidecar.istio.io/proxyCPU"),
            ),
            (
                "sidecar.istio.io/rewriteAppHTTPProbes",
                Some("sidecar.istio.io/rewriteAppHTTPProbers"),
            ),
            (
                "traffic.sidecar.istio.io/excludeInboundPort",
                Some("traffic.sidecar.istio.io/excludeInboundPorts"),
            ),
            ("proxy.istio.io/conifg", Some("proxy.istio.io/config")),
            ("sidecar.istio.io/somethingElse", None),
        ] {
            assert_eq!(closest(name), want, "{name}");
        }
    }
}
