//! The labels by which Istio knows workloads: injection writes them, proxies read them.

/// Whether a proxy of the mesh stands before a workload. With the value [`TLS_MODE_ISTIO`] others speak TLS with it.
pub const TLS_MODE: &str = "security.istio.io/tlsMode";

/// The value of [`TLS_MODE`] of a workload that has a proxy.
pub const TLS_MODE_ISTIO: &str = "istio";

/// The service that a workload is, in metrics.
pub const CANONICAL_NAME: &str = "service.istio.io/canonical-name";

/// Which of the service's versions it is.
pub const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";

/// What the workload is called, whatever made its pod.
pub const WORKLOAD_NAME: &str = "service.istio.io/workload-name";
