//! Tidegate's own metrics.

use super::cluster::{ClusterMetrics, ClusterVectors};
use crate::receipts::Receipt;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tidegate's own metrics, and `istio_build`.
pub struct Own {
    config_generation: IntGauge,
    config_live: IntGauge,
    config_reloads: IntCounterVec,
    config_diagnostics: IntGaugeVec,
    certificate_expiry: IntGaugeVec,
    listener_up: IntGaugeVec,
    connections: IntGaugeVec,
    connections_total: IntCounterVec,
    connections_refused: IntCounterVec,
    requests_refused: IntCounterVec,
    tls_failures: IntCounterVec,
    egress_refusals: IntCounterVec,
    authorization: IntCounterVec,
    mirrors: IntCounterVec,
    acme_orders: IntCounterVec,
    health_checks: IntCounterVec,
    unhealthy_endpoints: IntGaugeVec,
    upstream: UpstreamMetrics,
    names: NameMetrics,
    dns_proxy: IntCounterVec,
    clusters: ClusterVectors,
    access_log_dropped: IntCounter,
}

/// Counters of the way upstream.
#[derive(Clone)]
pub struct UpstreamMetrics {
    /// `tidegate_upstream_connections_total`: connections made.
    pub connections: IntCounter,
    /// `tidegate_upstream_connect_failures_total`: connections that could not be made.
    pub connect_failures: IntCounter,
    /// `tidegate_retries_total`: attempts after the first.
    pub retries: IntCounter,
}

/// What was counted since the start of names that requests ask for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NameTotals {
    /// Requests that were told at once what is known.
    pub hits: u64,
    /// Requests that had to wait for a look-up, or were refused one.
    pub misses: u64,
    /// Requests that were told addresses after their time.
    pub stale: u64,
    /// Look-ups that nobody answered.
    pub failures: u64,
    /// Names that were forgotten for others while they were of use.
    pub evictions: u64,
    /// Names that are remembered now.
    pub names: u64,
}

/// What the DNS proxy of a sidecar has counted since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DnsProxyTotals {
    /// Queries for names of the registry.
    pub answered: u64,
    /// Queries that were asked on.
    pub forwarded: u64,
    /// Those of them that no nameserver answered.
    pub failed: u64,
    /// Queries that were refused, as there were too many, or names were not known yet.
    pub refused: u64,
    /// What was no query, or of a kind that is not answered.
    pub malformed: u64,
}

struct NameMetrics {
    hits: IntCounter,
    misses: IntCounter,
    stale: IntCounter,
    failures: IntCounter,
    evictions: IntCounter,
    names: IntGauge,
}

/// The metrics of one listener, kept by it.
#[derive(Clone)]
pub struct ListenerMetrics {
    /// `tidegate_listener_up`: 1 while it accepts connections, 0 while it cannot (its port is taken).
    pub up: IntGauge,
    /// `tidegate_downstream_connections`: open now.
    pub connections: IntGauge,
    /// `tidegate_downstream_connections_total`: accepted so far.
    pub connections_total: IntCounter,
    listener: String,
    refused: IntCounterVec,
}

impl ListenerMetrics {
    /// `tidegate_downstream_refused_total`: connections closed at once because of a limit.
    ///
    /// `reason` is the limit's name, a fixed word: `connection_limit`.
    pub fn refused(&self, reason: &'static str) -> IntCounter {
        self.refused
            .with_label_values(&[self.listener.as_str(), reason])
    }
}

impl Own {
    pub(super) fn register(registry: &Registry, version: &str) -> Self {
        let new = Factory(registry);
        let build = new.gauges(
            "istio_build",
            "The version that runs.",
            &["component", "tag"],
        );
        build.with_label_values(&["proxy", version]).set(1);
        Self {
            config_generation: new
                .gauge("tidegate_config_generation", "The configuration in force."),
            config_live: new.gauge(
                "tidegate_config_live_timestamp_seconds",
                "When the configuration in force became live.",
            ),
            config_reloads: new.counters(
                "tidegate_config_reload_total",
                "Changes of the configuration, by how much of it was accepted.",
                &["result"],
            ),
            config_diagnostics: new.gauges(
                "tidegate_config_diagnostics",
                "What is wrong with the configuration in force.",
                &["severity"],
            ),
            certificate_expiry: new.gauges(
                "tidegate_certificate_expiry_timestamp_seconds",
                "When the certificate that is served expires.",
                &["name"],
            ),
            listener_up: new.gauges(
                "tidegate_listener_up",
                "Whether the listener accepts connections.",
                &["listener"],
            ),
            connections: new.gauges(
                "tidegate_downstream_connections",
                "Connections from downstream that are open.",
                &["listener"],
            ),
            connections_total: new.counters(
                "tidegate_downstream_connections_total",
                "Connections accepted from downstream.",
                &["listener"],
            ),
            connections_refused: new.counters(
                "tidegate_downstream_refused_total",
                "Connections from downstream refused because of a limit.",
                &["listener", "reason"],
            ),
            requests_refused: new.counters(
                "tidegate_requests_refused_total",
                "Requests refused because of a limit or a broken protocol.",
                &["reason"],
            ),
            tls_failures: new.counters(
                "tidegate_tls_handshake_failures_total",
                "Connections from downstream that did not get through their TLS handshake.",
                &["reason"],
            ),
            egress_refusals: new.counters(
                "tidegate_egress_refusals_total",
                "What clients of a forward proxy were refused, or would be if that were enforced.",
                &["reason", "mode"],
            ),
            authorization: new.counters(
                "tidegate_authorization_total",
                "Requests and connections to a workload of which AuthorizationPolicies said something.",
                &["result"],
            ),
            mirrors: new.counters(
                "tidegate_mirror_total",
                "Mirrored requests, by what became of them.",
                &["result"],
            ),
            acme_orders: new.counters(
                "tidegate_acme_orders_total",
                "Certificates ordered from an ACME server, by what came of it.",
                &["credential", "result"],
            ),
            health_checks: new.counters(
                "tidegate_health_checks_total",
                "Probes of endpoints, by what came of them.",
                &["host", "result"],
            ),
            unhealthy_endpoints: new.gauges(
                "tidegate_unhealthy_endpoints",
                "Endpoints that their health check found unhealthy.",
                &["host"],
            ),
            upstream: UpstreamMetrics::register(&new),
            names: NameMetrics::register(&new),
            dns_proxy: new.counters(
                "tidegate_dns_proxy_queries_total",
                "Queries of a sidecar's workload, by what became of them; what failed was forwarded.",
                &["result"],
            ),
            clusters: ClusterVectors::register(&new),
            access_log_dropped: new.counter(
                "tidegate_access_log_dropped_total",
                "Lines of the access log that could not be written.",
            ),
        }
    }

    /// The metrics of a listener, named as in the configuration: `0.0.0.0:8080`.
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics {
            up: self.listener_up.with_label_values(&[name]),
            connections: self.connections.with_label_values(&[name]),
            connections_total: self.connections_total.with_label_values(&[name]),
            listener: name.to_owned(),
            refused: self.connections_refused.clone(),
        }
    }

    /// Takes the metrics of a listener that is gone out of the next scrape.
    pub fn forget_listener(&self, name: &str) {
        // Each fails only where there is nothing to remove.
        let _ = self.listener_up.remove_label_values(&[name]);
        let _ = self.connections.remove_label_values(&[name]);
        let _ = self.connections_total.remove_label_values(&[name]);
        self.forget_refusals(name);
    }

    /// `tidegate_certificate_expiry_timestamp_seconds`: exactly these certificates, and when each expires.
    pub fn certificate_expiries<'n>(&self, all: impl Iterator<Item = (&'n str, SystemTime)>) {
        let mut former: BTreeSet<String> = (self.certificate_expiry.collect().iter())
            .flat_map(|family| family.get_metric())
            .filter_map(|metric| label(metric, "name").map(str::to_owned))
            .collect();
        for (name, expiry) in all {
            let seconds = expiry.duration_since(UNIX_EPOCH).unwrap_or_default();
            let gauge = self.certificate_expiry.with_label_values(&[name]);
            gauge.set(count(seconds.as_secs()));
            former.remove(name);
        }
        for name in former {
            let _ = self.certificate_expiry.remove_label_values(&[&name]);
        }
    }

    fn forget_refusals(&self, listener: &str) {
        forget_all_of(&self.connections_refused, ("listener", listener), "reason");
    }

    /// `tidegate_requests_refused_total`: requests refused by a limit or for a broken protocol.
    ///
    /// `reason` is a fixed word: `header_limit`, `duplicate_host`. Keep what this returns on a busy path.
    pub fn requests_refused(&self, reason: &'static str) -> IntCounter {
        self.requests_refused.with_label_values(&[reason])
    }

    /// `tidegate_tls_handshake_failures_total`: connections that did not get through their TLS handshake.
    ///
    /// `reason` is a fixed word: `unknown_server`, `timeout`.
    pub fn tls_failures(&self, reason: &'static str) -> IntCounter {
        self.tls_failures.with_label_values(&[reason])
    }

    /// `tidegate_egress_refusals_total`: what clients of a forward proxy were refused, or would be where `mode` is not
    /// `enforce`.
    ///
    /// Both are fixed words: `not_in_registry`, `sni_mismatch`; `enforce`, `shadow`, `learn`.
    pub fn egress_refusals(&self, reason: &'static str, mode: &'static str) -> IntCounter {
        self.egress_refusals.with_label_values(&[reason, mode])
    }

    /// `tidegate_authorization_total`: what policies said, by a fixed word: `denied_by_policy`, `audited_by_policy`.
    pub fn authorization(&self, result: &'static str) -> IntCounter {
        self.authorization.with_label_values(&[result])
    }

    /// `tidegate_mirror_total`: mirrored requests, by a fixed word: `sent`, `failed`, `dropped`.
    pub fn mirrors(&self, result: &'static str) -> IntCounter {
        self.mirrors.with_label_values(&[result])
    }

    /// `tidegate_acme_orders_total`: orders of a configured credential, by a fixed word: `success`, `failure`.
    pub fn acme_orders(&self, credential: &str, result: &'static str) -> IntCounter {
        self.acme_orders.with_label_values(&[credential, result])
    }

    /// `tidegate_health_checks_total`: probes of a configured host's endpoints, by a fixed word: `success`, `timeout`.
    pub fn health_checks(&self, host: &str, result: &'static str) -> IntCounter {
        self.health_checks.with_label_values(&[host, result])
    }

    /// `tidegate_unhealthy_endpoints`: endpoints of a configured host that are unhealthy.
    pub fn unhealthy_endpoints(&self, host: &str) -> IntGauge {
        self.unhealthy_endpoints.with_label_values(&[host])
    }

    /// Takes the metrics of a host whose endpoints are not checked any more out of the next scrape.
    pub fn forget_health_of(&self, host: &str) {
        // Fails only where there is nothing to remove.
        let _ = self.unhealthy_endpoints.remove_label_values(&[host]);
        forget_all_of(&self.health_checks, ("host", host), "result");
    }

    /// Counters of the way upstream.
    pub fn upstream(&self) -> &UpstreamMetrics {
        &self.upstream
    }

    /// `tidegate_dns_lookups_total`, `tidegate_dns_failures_total`, `tidegate_dns_evictions_total` and
    /// `tidegate_dns_names`: names that requests ask for.
    ///
    /// To be called by one alone, with totals that never fall.
    pub fn names(&self, totals: &NameTotals) {
        self.names.advance(totals);
    }

    /// `tidegate_dns_proxy_queries_total`: queries of a sidecar's workload, by a fixed word: `answered`, `forwarded`.
    ///
    /// To be called by one alone, with totals that never fall.
    pub fn dns_proxy(&self, totals: &DnsProxyTotals) {
        for (result, total) in [
            ("answered", totals.answered),
            ("forwarded", totals.forwarded),
            ("failed", totals.failed),
            ("refused", totals.refused),
            ("malformed", totals.malformed),
        ] {
            let counter = self.dns_proxy.with_label_values(&[result]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }

    /// The metrics of a cluster, by its name: `outbound|80||shop.default.svc.cluster.local`.
    pub fn cluster(&self, name: &Arc<str>) -> ClusterMetrics {
        self.clusters.of(name)
    }

    /// Takes the metrics of a cluster that is gone out of the next scrape.
    pub fn forget_cluster(&self, name: &str) {
        self.clusters.forget(name);
    }

    /// `tidegate_access_log_dropped_total`, for [`AccessLog::open`](crate::AccessLog::open).
    pub fn access_log_dropped(&self) -> IntCounter {
        self.access_log_dropped.clone()
    }

    pub(super) fn record_receipt(&self, receipt: &Receipt) {
        self.config_reloads
            .with_label_values(&[receipt.result.as_str()])
            .inc();
        self.config_diagnostics
            .with_label_values(&["error"])
            .set(count(receipt.errors));
        self.config_diagnostics
            .with_label_values(&["warning"])
            .set(count(receipt.warnings));
        let Some(live_at) = receipt.live_at else {
            return;
        };
        let seconds = live_at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        self.config_generation.set(count(receipt.generation));
        self.config_live.set(count(seconds));
    }
}

fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Removes every series of a first label's value, whatever the second one's.
fn forget_all_of(counters: &IntCounterVec, (name, value): (&str, &str), second: &str) {
    let others: Vec<String> = (counters.collect().iter())
        .flat_map(|family| family.get_metric())
        .filter(|metric| label(metric, name) == Some(value))
        .filter_map(|metric| label(metric, second).map(str::to_owned))
        .collect();
    for other in others {
        let _ = counters.remove_label_values(&[value, &other]);
    }
}

fn label<'m>(metric: &'m prometheus::proto::Metric, name: &str) -> Option<&'m str> {
    metric
        .get_label()
        .iter()
        .find(|pair| pair.name() == name)
        .map(|pair| pair.value())
}

impl UpstreamMetrics {
    fn register(new: &Factory<'_>) -> Self {
        Self {
            connections: new.counter(
                "tidegate_upstream_connections_total",
                "Connections made upstream.",
            ),
            connect_failures: new.counter(
                "tidegate_upstream_connect_failures_total",
                "Connections upstream that could not be made.",
            ),
            retries: new.counter(
                "tidegate_retries_total",
                "Attempts of requests after the first.",
            ),
        }
    }
}

impl NameMetrics {
    fn register(new: &Factory<'_>) -> Self {
        let lookups = new.counters(
            "tidegate_dns_lookups_total",
            "Requests for names, by whether what they were told was known.",
            &["result"],
        );
        let result = |word: &str| lookups.with_label_values(&[word]);
        Self {
            hits: result("hit"),
            misses: result("miss"),
            stale: result("stale"),
            failures: new.counter(
                "tidegate_dns_failures_total",
                "Look-ups for requests that nobody answered.",
            ),
            evictions: new.counter(
                "tidegate_dns_evictions_total",
                "Names that were forgotten for others while they were of use.",
            ),
            names: new.gauge(
                "tidegate_dns_names",
                "Names asked for by requests that are remembered.",
            ),
        }
    }

    fn advance(&self, totals: &NameTotals) {
        for (counter, total) in [
            (&self.hits, totals.hits),
            (&self.misses, totals.misses),
            (&self.stale, totals.stale),
            (&self.failures, totals.failures),
            (&self.evictions, totals.evictions),
        ] {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        self.names.set(count(totals.names));
    }
}

/// Makes metrics and registers them.
pub(super) struct Factory<'r>(&'r Registry);

impl Factory<'_> {
    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn add<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect("the names above are well-formed");
        self.0
            .register(Box::new(metric.clone()))
            .expect("the names above are distinct");
        metric
    }
}
