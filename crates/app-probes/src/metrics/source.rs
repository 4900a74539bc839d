//! Where the application has metrics.

use super::{open_metrics, text};
use crate::exchange::{Answered, Asked, get};
use crate::{Application, Failure};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of the application's metrics. More of them are not told at all.
const MAX_BYTES: usize = 8 << 20;

/// Bytes that are told at a time.
const CHUNK: usize = 64 << 10;

/// Scrapes whose metrics are held at a time. Others wait for their turn, within their time.
const TURNS: usize = 4;

/// How long a scrape of the application may take where the scraper does not say how long it waits. Prometheus waits
/// 10 s if nothing is configured.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(8);
/// The share of what the scraper waits: the rest is for the sidecar's own metrics.
const SHARE: f64 = 0.8;
/// A scraper that waits longer is not believed.
const LONGEST: f64 = 600.0;

const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// Only the text format can be told after other metrics of that format.
const ACCEPTED: HeaderValue =
    HeaderValue::from_static("text/plain;version=0.0.4;charset=utf-8,*/*;q=0.1");

/// Where the application has metrics.
#[derive(Clone, Debug)]
pub struct MetricsSource {
    port: u16,
    target: PathAndQuery,
    turns: Arc<Semaphore>,
}

/// Annotations that lead to no metrics.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMetricsSource {
    /// It is not the JSON that injection writes.
    #[error("no object of `scrape`, `path` and `port` as injection writes it")]
    Json(#[source] serde_json::Error),
    /// The port is none.
    #[error("port: `{0}` is no port, write one from 1 to 65535")]
    Port(String),
    /// The path is none.
    #[error("path: `{0}` is no path, write `/metrics`")]
    Path(String),
    /// The application's metrics would be those of the sidecar, which ask the application for its metrics.
    #[error(
        "port: {0} is the sidecar's own, which would ask itself without end; write the application's, and see that the \
         pod is not injected twice"
    )]
    Itself(u16),
}

/// Why the application's metrics are not told.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeFailure {
    /// It gave no answer.
    #[error("no answer")]
    NoAnswer(#[source] Failure),
    /// It took longer than there was time.
    #[error("not within {0:?}")]
    Timeout(Duration),
    /// It answered something else than 200.
    #[error("status {0}")]
    Status(StatusCode),
    /// They are more than 8 MiB.
    #[error("more than {MAX_BYTES} bytes")]
    TooLarge,
    /// They are of a format that cannot be told together with others, or encoded.
    #[error("`{0}` is not the text format")]
    Format(String),
    /// A line, counted from 1, is none of the format: with it a scraper would refuse everything.
    #[error("line {0} is no line of the format")]
    Malformed(usize),
    /// A bug here.
    #[error("reading them ended by a bug")]
    Bug,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    scrape: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    port: String,
}

impl MetricsSource {
    /// Reads `ISTIO_PROMETHEUS_ANNOTATIONS`: what the pod's annotations `prometheus.io/scrape`, `path` and `port` were,
    /// `/metrics` and 80 if they are empty. `None`: they say that there is nothing to scrape.
    ///
    /// # Errors
    /// When they lead nowhere, or to `own_port`.
    pub fn parse(json: &str, own_port: u16) -> Result<Option<Self>, InvalidMetricsSource> {
        let written: Written = serde_json::from_str(json).map_err(InvalidMetricsSource::Json)?;
        if written.scrape == "false" {
            return Ok(None);
        }
        let port = match &*written.port {
            "" => 80,
            text => text
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| InvalidMetricsSource::Port(text.to_owned()))?,
        };
        if port == own_port {
            return Err(InvalidMetricsSource::Itself(port));
        }
        let path = match &*written.path {
            "" => "/metrics",
            path => path,
        };
        let target = path.parse::<PathAndQuery>().ok();
        let target = target.filter(|target| target.as_str() == path && path.starts_with('/'));
        Ok(Some(Self {
            port,
            target: target.ok_or_else(|| InvalidMetricsSource::Path(path.to_owned()))?,
            turns: Arc::new(Semaphore::new(TURNS)),
        }))
    }

    /// Asks the application, on loopback as Istio does, and at its address where nobody listens there. `headers` are
    /// what the scraper sent.
    ///
    /// # Errors
    /// There is nothing that could be told together with other metrics.
    pub async fn scrape(
        &self,
        application: Application,
        headers: &HeaderMap,
    ) -> Result<Scraped, ScrapeFailure> {
        let limit = time_for(headers);
        let scraped = timeout(limit, self.take_turn(application, headers, limit));
        scraped.await.unwrap_or(Err(ScrapeFailure::Timeout(limit)))
    }

    async fn take_turn(
        &self,
        application: Application,
        headers: &HeaderMap,
        limit: Duration,
    ) -> Result<Scraped, ScrapeFailure> {
        // Nobody closes it, so that there is always a turn to come.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        let answered = self.ask(application, &passed_on(headers, limit)).await;
        let answered = answered.map_err(ScrapeFailure::NoAnswer)?;
        let format = Format::of(&answered)?;
        let body = answered.body;
        // Megabytes are not read on a thread that serves.
        let read = tokio::task::spawn_blocking(move || format.read(body));
        let text = read.await.unwrap_or(Err(ScrapeFailure::Bug))?;
        Ok(Scraped { text, _turn: turn })
    }

    async fn ask(
        &self,
        application: Application,
        headers: &HeaderMap,
    ) -> Result<Answered, Failure> {
        let loopback = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ];
        for address in loopback.map(|address| SocketAddr::new(address, self.port)) {
            match self.ask_at(application, address, headers).await {
                Err(Failure::Connect(..)) => {}
                answered => return answered,
            }
        }
        let address = application.port(self.port);
        self.ask_at(application, address, headers).await
    }

    async fn ask_at(
        &self,
        application: Application,
        address: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<Answered, Failure> {
        let host = Authority::try_from(address.to_string()).ok();
        let host = host.and_then(|host| HeaderValue::try_from(host.as_str()).ok());
        get(&Asked {
            application,
            address,
            tls: None,
            target: &self.target,
            host: &host.unwrap_or_else(|| HeaderValue::from_static("localhost")),
            headers,
            most: MAX_BYTES,
        })
        .await
    }
}

/// The application's metrics in the text format, whole lines. Few of them are held at a time.
#[derive(Debug)]
pub struct Scraped {
    text: Bytes,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Scraped {
    /// The text, piece by piece.
    pub fn into_chunks(self) -> impl Iterator<Item = Bytes> + Send {
        let starts = (0..self.text.len()).step_by(CHUNK);
        starts.map(move |start| {
            let end = self.text.len().min(start + CHUNK);
            self.text.slice(start..end)
        })
    }
}

/// How long the application may take.
fn time_for(headers: &HeaderMap) -> Duration {
    let said = headers.get(SCRAPE_TIMEOUT);
    let said = said.and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let said = said.filter(|seconds| *seconds > 0.0 && seconds.is_finite());
    said.map_or(DEFAULT_TIMEOUT, |seconds| {
        Duration::from_secs_f64(seconds.min(LONGEST) * SHARE)
    })
}

/// What the application is told of its scraper.
fn passed_on(headers: &HeaderMap, limit: Duration) -> HeaderMap {
    let mut passed = HeaderMap::from_iter([(ACCEPT, ACCEPTED)]);
    if let Some(agent) = headers.get(USER_AGENT) {
        passed.insert(USER_AGENT, agent.clone());
    }
    if let Ok(seconds) = HeaderValue::try_from(limit.as_secs_f64().to_string()) {
        passed.insert(SCRAPE_TIMEOUT, seconds);
    }
    passed
}

/// A format of metrics that is understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    fn of(answered: &Answered) -> Result<Self, ScrapeFailure> {
        let head = &answered.head;
        if head.status != StatusCode::OK {
            return Err(ScrapeFailure::Status(head.status));
        }
        if !answered.is_whole {
            return Err(ScrapeFailure::TooLarge);
        }
        let text = |name: HeaderName| {
            let value = head.headers.get(name);
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        if let Some(encoding) = text(CONTENT_ENCODING).filter(|encoding| encoding != "identity") {
            return Err(ScrapeFailure::Format(encoding));
        }
        let Some(content_type) = text(CONTENT_TYPE) else {
            return Ok(Self::Text);
        };
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        match &*kind.to_ascii_lowercase() {
            "text/plain" => Ok(Self::Text),
            "application/openmetrics-text" => Ok(Self::OpenMetrics),
            _ => Err(ScrapeFailure::Format(content_type)),
        }
    }

    fn read(self, body: Bytes) -> Result<Bytes, ScrapeFailure> {
        match self {
            Self::Text => text::checked(body),
            Self::OpenMetrics => open_metrics::as_text(&body),
        }
        .map_err(ScrapeFailure::Malformed)
    }
}

impl ScrapeFailure {
    /// The failure and its causes on one line.
    pub fn chain(&self) -> String {
        match self {
            Self::NoAnswer(failure) => format!("{self}: {}", failure.chain()),
            _ => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
