//! Metrics: Istio's standard ones by their names and labels, and Tidegate's own.
//!
//! Labels come from configuration, never from a request: the identities of workloads and services,
//! listeners, and closed sets such as status codes and response flags. Their number is bounded.

mod cache;
mod cluster;
mod exposition;
mod labels;
mod own;
mod process;
mod series;
mod tcp;

pub use cluster::ClusterMetrics;
pub use exposition::CONTENT_TYPE;
pub use labels::{
    Destination, Reporter, RequestLabels, RequestOutcome, RequestProtocol, SecurityPolicy, Workload,
};
pub use own::{DnsProxyTotals, ListenerMetrics, NameTotals, Own, UpstreamMetrics};
pub(crate) use process::Memory;
pub use series::{RequestSample, RequestSeries};
pub use tcp::TcpSeries;

use crate::ResponseFlags;
use crate::receipts::Receipt;
use cache::Cache;
use labels::{render, render_tcp};
use prometheus::Registry;
use prometheus::core::Collector;
use std::sync::Arc;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: Cache<RequestOutcome, RequestSeries>,
    connections: Cache<ResponseFlags, TcpSeries>,
    own: Own,
}

impl Metrics {
    /// Everything at zero. `version` is the program's, for `istio_build`.
    pub fn new(version: &str) -> Self {
        Self::beside(version, "")
    }

    /// The same for a process whose metrics are told together with those of another: `prefix`, in Istio
    /// `istio_agent_`, goes before the names of those that every process has.
    pub fn beside(version: &str, prefix: &str) -> Self {
        let registry = Registry::new();
        let own = Own::register(&registry, version);
        process::register(&registry, prefix);
        Self {
            registry,
            requests: Cache::new(),
            connections: Cache::new(),
            own,
        }
    }

    /// Tidegate's own metrics.
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// Adds a metric of another crate.
    ///
    /// # Errors
    ///
    /// A metric of that name is there already.
    pub fn register(&self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(collector))
    }

    /// Records a finished request in Istio's standard metrics: one look-up and a few additions.
    ///
    /// `destination` stands for everything that `labels` would return; the caller gives a new
    /// number when they change. `labels` is called only for a combination not seen lately.
    pub fn record_request<'l>(
        &self,
        destination: u64,
        outcome: RequestOutcome,
        sample: RequestSample,
        labels: impl FnOnce() -> RequestLabels<'l>,
    ) {
        let labels = || render(&labels(), outcome);
        self.requests
            .with(destination, outcome, labels, |series| series.record(sample));
    }

    /// The series of these labels, to be kept by the caller. [`record_request`](Self::record_request)
    /// does so by itself.
    ///
    /// When there are too many series already, all further ones are one and the same, with the
    /// `destination_service` `tidegate_series_limit`.
    pub fn request_series(
        &self,
        labels: &RequestLabels<'_>,
        outcome: RequestOutcome,
    ) -> Arc<RequestSeries> {
        self.requests.series(render(labels, outcome))
    }

    /// Where a TCP connection is counted, to be kept by it: its bytes are counted while they flow.
    ///
    /// `destination` and `labels` are as for [`record_request`](Self::record_request). `flags` are those of
    /// the connection at the moment.
    pub fn tcp_series<'l>(
        &self,
        destination: u64,
        flags: ResponseFlags,
        labels: impl FnOnce() -> RequestLabels<'l>,
    ) -> Arc<TcpSeries> {
        let labels = || render_tcp(&labels(), flags);
        self.connections
            .with(destination, flags, labels, Arc::clone)
    }

    /// Forgets the series of requests and connections that nothing was recorded in since the last call and that
    /// nobody holds, so that destinations long gone do not cost memory for ever.
    ///
    /// Called every half an hour or so; counters that disappear are no trouble to Prometheus.
    pub fn forget_idle_series(&self) {
        self.requests.forget_idle();
        self.connections.forget_idle();
    }

    /// Tells of a configuration change.
    pub fn record_receipt(&self, receipt: &Receipt) {
        self.own.record_receipt(receipt);
    }

    /// The text format, in chunks of a bounded size that are made when they are asked for.
    pub fn exposition(&self) -> impl Iterator<Item = bytes::Bytes> + Send + use<> {
        exposition::chunks(&self.registry, self.requests.all(), self.connections.all())
    }

    /// The text format as one string, for tests and tools.
    pub fn text(&self) -> String {
        let chunks: Vec<_> = self.exposition().collect();
        String::from_utf8_lossy(&chunks.concat()).into_owned()
    }
}

#[cfg(test)]
mod tests;
