//! Metrics of the sidecar, and behind them those of its application.

use app_probes::{Application, MetricsSource, Scraped};
use http::{HeaderMap, StatusCode};
use prometheus::{IntCounter, IntCounterVec, Opts};
use proxy::Serving;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use telemetry::Metrics;
use telemetry::metrics::CONTENT_TYPE;
use telemetry::server::{PageRequest, PageResponse};
use tokio::task::spawn_blocking;

/// The label of failures that are the application's.
const OF_APPLICATION: &str = "application";

/// Metrics of both.
pub(crate) struct Merged {
    own: Arc<Metrics>,
    application: Application,
    /// Absent: the application has none.
    source: Option<MetricsSource>,
    counts: Counts,
    /// Whether the last scrape of the application failed: that is told once.
    has_failed: AtomicBool,
}

/// Source: Istio, `pilot-agent`.
struct Counts {
    scrapes: IntCounter,
    failures: IntCounterVec,
}

impl Counts {
    fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let counts = Self {
            scrapes: IntCounter::new(
                "istio_agent_scrapes_total",
                "Times that the sidecar was asked for metrics.",
            )?,
            failures: IntCounterVec::new(
                Opts::new(
                    "istio_agent_scrape_failures_total",
                    "Times that part of the metrics was not to be had.",
                ),
                &["type"],
            )?,
        };
        counts.failures.with_label_values(&[OF_APPLICATION]);
        metrics.register(counts.scrapes.clone())?;
        metrics.register(counts.failures.clone())?;
        Ok(counts)
    }
}

impl Merged {
    /// # Errors
    /// When metrics of these names are there already.
    pub(crate) fn new(
        serving: &Serving,
        application: Application,
        source: Option<MetricsSource>,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            own: serving.metrics.clone(),
            application,
            source,
            counts: Counts::register(&serving.metrics)?,
            has_failed: AtomicBool::new(false),
        })
    }

    /// Its own metrics, whatever becomes of the application's.
    pub(crate) async fn tell(self: Arc<Self>, request: PageRequest) -> PageResponse {
        self.counts.scrapes.inc();
        let of_application = self.scrape(&request.headers).await;
        let behind = of_application.into_iter().flat_map(Scraped::into_chunks);
        let own = self.own.clone();
        // It reads files of the system.
        match spawn_blocking(move || own.exposition()).await {
            Ok(own) => PageResponse::chunks(CONTENT_TYPE, own.chain(behind)),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be told");
                PageResponse::text("metrics cannot be told, see the log\n")
                    .with_status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    async fn scrape(&self, headers: &HeaderMap) -> Option<Scraped> {
        let source = self.source.as_ref()?;
        match source.scrape(self.application, headers).await {
            Ok(scraped) => {
                if self.has_failed.swap(false, Ordering::Relaxed) {
                    tracing::info!("the application's metrics are there again");
                }
                Some(scraped)
            }
            Err(failure) => {
                let failures = self.counts.failures.with_label_values(&[OF_APPLICATION]);
                failures.inc();
                if !self.has_failed.swap(true, Ordering::Relaxed) {
                    let why = failure.chain();
                    tracing::warn!(
                        why,
                        "the application's metrics are not told until they are there"
                    );
                }
                None
            }
        }
    }
}
