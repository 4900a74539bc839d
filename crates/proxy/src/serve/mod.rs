//! What serves traffic: the data plane with its listeners, following what is published.

mod listeners;
mod names;
mod wanted;

pub(crate) use listeners::Listeners;

use crate::Program;
use crate::bootstrap::{AccessLog, Bootstrap, Drain, LogFormat};
use crate::egress::Learning;
use crate::supervisor;
use anyhow::Context;
use config::{Publications, Published};
use dataplane::net::{Addresses, ListenerStatus, RETRY_EVERY};
use dataplane::{Outside, Passages, Settings, Shared};
use names::{Names, totals};
use source_dns::Resolver;
use source_kube::Acting;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use telemetry::metrics::Workload;
use telemetry::receipts::ReloadResult;
use telemetry::{Metrics, Readiness, Receipt, Receipts};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};
use wanted::Wanted;

/// How often the series of requests that nothing was recorded in are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(30 * 60);

/// Before the names of metrics that an application's process has too, where both are told together.
///
/// Source: Istio, `pilot-agent`.
const BESIDE_APPLICATION: &str = "istio_agent_";

/// Why a process that drains is not ready.
const DRAINING: &str = "draining";

/// The data plane and what it tells about itself.
pub struct Serving {
    /// The data plane.
    pub shared: Arc<Shared>,
    pub(crate) listeners: Listeners,
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
    pub(crate) receipts: Receipts,
    /// Whether requests are to be sent here.
    pub readiness: Readiness,
    /// What it takes.
    wanted: Wanted,
    /// A sidecar ends after its workload, as far as connections tell.
    is_sidecar: bool,
    /// What passes the forward proxy. Absent: nothing is learnt.
    pub(crate) learning: Option<Arc<Learning>>,
    /// Of names that requests ask for.
    resolver: Resolver,
    /// The configuration in force, once there is one.
    published: watch::Sender<Option<Arc<Published>>>,
    /// What it does of what one of several replicas does.
    acting: Mutex<Vec<Acting>>,
}

impl Serving {
    /// Serves nothing yet. Must be called within a Tokio runtime.
    pub fn new(program: &Program, bootstrap: &Bootstrap) -> anyhow::Result<Arc<Self>> {
        let is_sidecar = bootstrap.capture.is_some();
        let prefix = if is_sidecar { BESIDE_APPLICATION } else { "" };
        let metrics = Arc::new(Metrics::beside(program.version, prefix));
        let access_log = open(&bootstrap.access_log, &metrics)?;
        let settings = Settings {
            threads: bootstrap.proxy.threads(),
            path_normalization: bootstrap.mesh.path_normalization,
            shadow_host_suffix: bootstrap.mesh.shadow_host_suffix,
            workload: workload(bootstrap),
            misdirected: bootstrap.tls.misdirected_status.0,
            ..bootstrap.limits.of_requests(&bootstrap.topology)
        };
        let learning = Learning::of(bootstrap)?;
        let resolver = Resolver::new(bootstrap.dns.settings.clone());
        let outside = Outside {
            resolver: Arc::new(Names(resolver.clone())),
            passages: learning
                .clone()
                .map(|learning| -> Arc<dyn Passages> { learning }),
        };
        let shared = Shared::towards(
            settings,
            Arc::clone(&metrics),
            Arc::new(access_log),
            outside,
        );
        let addresses = Addresses {
            address: bootstrap.listen.address,
            ports: bootstrap.listen.ports.clone(),
        };
        Ok(Arc::new(Self {
            listeners: Listeners::new(
                Arc::clone(&shared),
                addresses,
                (bootstrap.limits).of_connections(&bootstrap.topology, &bootstrap.mesh),
                Arc::clone(&metrics),
            ),
            shared,
            receipts: Receipts::new(Arc::clone(&metrics)),
            metrics,
            readiness: Readiness::new(),
            wanted: Wanted::of(bootstrap),
            is_sidecar,
            learning,
            resolver,
            published: watch::Sender::new(None),
            acting: Mutex::default(),
        }))
    }

    /// Puts every published configuration in force, tries ports again that were taken, counts names, and
    /// forgets idle series. Never ends.
    pub async fn follow(self: Arc<Self>, mut publications: Publications) {
        let mut retry = interval(RETRY_EVERY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut forget = interval_at(Instant::now() + FORGET_EVERY, FORGET_EVERY);
        forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_published = true;
        loop {
            tokio::select! {
                changed = publications.changed(), if is_published => is_published = changed.is_ok(),
                _ = retry.tick() => {
                    self.listeners.retry();
                    self.tell_readiness();
                    self.metrics.own().names(&totals(self.resolver.stats()));
                }
                _ = forget.tick() => self.metrics.forget_idle_series(),
            }
            if let Some(newest) = self.take_new(&mut publications) {
                Arc::clone(&self).put_in_force_aside(newest).await;
            }
        }
    }

    /// The newest configuration, unless it is in force already.
    fn take_new(&self, publications: &mut Publications) -> Option<Arc<Published>> {
        let newest = publications.borrow_and_update();
        let newest = newest.as_ref().filter(|newest| self.is_new(newest))?;
        // While the channel is borrowed, or the next publication could repeat this receipt.
        newest.note_taken();
        Some(Arc::clone(newest))
    }

    /// On a thread that may block: a large configuration must not keep a worker from its requests.
    async fn put_in_force_aside(self: Arc<Self>, newest: Arc<Published>) {
        let put = tokio::task::spawn_blocking(move || self.put_in_force(&newest));
        if let Err(error) = put.await {
            tracing::error!(%error, "a configuration could not be put in force");
        }
    }

    /// The configuration in force.
    pub fn published(&self) -> Option<Arc<Published>> {
        self.published.borrow().clone()
    }

    /// Every configuration that is put in force, after it is.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Published>>> {
        self.published.subscribe()
    }

    fn is_new(&self, newest: &Arc<Published>) -> bool {
        !self
            .published()
            .is_some_and(|known| Arc::ptr_eq(&known, newest))
    }

    fn put_in_force(&self, newest: &Arc<Published>) {
        self.shared.publish(
            Arc::clone(&newest.table),
            &newest.endpoints,
            Arc::clone(&newest.credentials),
        );
        let listeners = self.listeners.apply(&newest.table);
        self.published.send_replace(Some(Arc::clone(newest)));
        self.tell_expiries(newest);
        self.receipts.record(receipt(&newest.receipt, &listeners));
        self.tell_readiness();
    }

    /// Does something that one of several replicas does, until it drains.
    pub fn keep_until_the_end(&self, acting: Acting) {
        self.acting().push(acting);
    }

    fn acting(&self) -> MutexGuard<'_, Vec<Acting>> {
        // A list is whole whatever happened.
        self.acting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other replicas do what only one does.
    pub(crate) async fn hand_over(self: Arc<Self>) {
        let acting = std::mem::take(&mut *self.acting());
        let mut handed_over = JoinSet::new();
        for acting in acting {
            handed_over.spawn(acting.stop());
        }
        handed_over.join_all().await;
    }

    /// Waits until a configuration is in force, and its listeners are open.
    pub async fn until_live(&self) {
        // Fails only when the sender is gone, which is ours.
        let _ = self.subscribe().wait_for(Option::is_some).await;
    }

    /// When each certificate that is served expires.
    fn tell_expiries(&self, published: &Published) {
        let certificates = published.credential_status.iter();
        // Authorities have no such moment: several expire one by one, and are trusted all the same.
        let certificates = certificates.filter(|status| status.not_before.is_some());
        let expiries = certificates.filter_map(|status| {
            let (_, name) = status.kind_and_name();
            Some((name, status.not_after?))
        });
        self.metrics.own().certificate_expiries(expiries);
    }

    /// Ready once there is a configuration and what is [`Wanted`], and until it drains.
    fn tell_readiness(&self) {
        if self.readiness.is_ready() || self.listeners.are_ending() {
            return;
        }
        let Some(published) = self.published() else {
            return;
        };
        let listeners = self.listeners.status();
        match self
            .wanted
            .missing(&listeners, &published.credential_status)
        {
            None => self.readiness.set_ready(),
            Some(missing) => self.readiness.set_not_ready(missing),
        }
        // The end may have been announced meanwhile.
        if self.listeners.are_ending() {
            self.readiness.set_not_ready(DRAINING);
        }
    }

    /// From now on not ready, and every answer is the last of its connection. Connections are accepted as before.
    /// Returns whether it was not so already.
    pub fn begin_drain(&self) -> bool {
        let is_new = self.listeners.announce_end();
        self.readiness.set_not_ready(DRAINING);
        if is_new {
            let (connections, in_use) = (self.listeners.connections(), self.shared.in_use.count());
            tracing::info!(connections, in_use, "draining");
        }
        is_new
    }

    /// Ends gracefully. For `delay` it is only not ready, unless that began before; then what is in use may finish for
    /// `timeout`: in a gateway while nothing more is accepted, in a sidecar while its workload still can connect.
    pub async fn drain(&self, drain: &Drain) {
        supervisor::stopping();
        if self.begin_drain() {
            sleep(drain.delay).await;
        }
        if timeout(drain.timeout, self.finish()).await.is_err() {
            let (connections, in_use) = (self.listeners.connections(), self.shared.in_use.count());
            tracing::warn!(
                connections,
                in_use,
                "connections were still in use when the drain ended"
            );
        }
    }

    async fn finish(&self) {
        if self.is_sidecar {
            self.shared.in_use.emptied().await;
        }
        self.listeners.drain().await;
    }

    /// Writes what was learnt, and waits a moment for the access log. The process may end then.
    pub fn write_what_is_left(&self) {
        if let Some(learning) = &self.learning {
            learning.save();
        }
        self.shared.access_log.flush(Duration::from_secs(1));
    }
}

fn open(log: &AccessLog, metrics: &Metrics) -> anyhow::Result<telemetry::AccessLog> {
    if log.path.as_os_str().is_empty() {
        return Ok(telemetry::AccessLog::off());
    }
    let format = match log.format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::AccessLog::open(&log.path, format, metrics.own().access_log_dropped())
        .with_context(|| format!("the access log {} cannot be opened", log.path.display()))
}

/// Who the proxy is in metrics: the same as in those of its peers, which know its workload from what is published.
fn workload(bootstrap: &Bootstrap) -> Workload {
    let proxy = &bootstrap.proxy;
    let own = rules::Workload {
        name: proxy.name.as_str().into(),
        namespace: proxy.namespace.as_str().into(),
        labels: Arc::new(proxy.labels.clone()),
        ..rules::Workload::default()
    };
    Workload {
        cluster: proxy.cluster_id.clone(),
        principal: principal(bootstrap).unwrap_or_default(),
        ..dataplane::workload_labels(&own)
    }
}

/// Who the proxy is in the mesh. Absent: it has no identity there.
fn principal(bootstrap: &Bootstrap) -> Option<String> {
    let proxy = &bootstrap.proxy;
    if let Some(id) = &bootstrap.tls.spiffe_id {
        return Some(id.to_string());
    }
    let has_one = bootstrap.tls.has_identity() && !proxy.service_account.is_empty();
    has_one.then(|| {
        format!(
            "spiffe://{}/ns/{}/sa/{}",
            bootstrap.mesh.trust_domain(),
            proxy.namespace,
            proxy.service_account
        )
    })
}

fn receipt(receipt: &config::Receipt, listeners: &[ListenerStatus]) -> Receipt {
    let changed = receipt.changes.iter().map(ToString::to_string);
    let unbound = listeners.iter().filter_map(|listener| {
        let error = listener.error.as_ref()?;
        Some(format!("listener {} not bound: {error}", listener.address))
    });
    // What failed comes first: a long list is cut at its end.
    let changed: Vec<String> = unbound.chain(changed).collect();
    let failed = listeners.iter().any(|listener| listener.error.is_some());
    let live_at = SystemTime::now();
    Receipt {
        generation: receipt.generation,
        result: if failed || receipt.errors > 0 {
            ReloadResult::Partial
        } else {
            ReloadResult::Success
        },
        changed,
        changed_more: receipt.changes_more,
        errors: receipt.errors,
        warnings: receipt.warnings,
        received_at: receipt.received_at,
        live_at: Some(live_at),
        duration: live_at
            .duration_since(receipt.received_at)
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its peers know it by the same labels, so that both tell of the same workload.
    #[test]
    fn labels_of_kubernetes_tell_what_a_proxy_is_in_metrics() {
        let text = "[proxy]\nname = 'web-7d4'\nlabels = { app = 'old', version = 'v1', \
                    'app.kubernetes.io/name' = 'web', 'app.kubernetes.io/version' = 'v2' }";
        let own = workload(&toml::from_str(text).unwrap());
        assert_eq!(
            (&*own.canonical_service, &*own.canonical_revision),
            ("web", "v2")
        );
        assert_eq!((&*own.app, &*own.version), ("old", "v1"));
        let own = workload(&toml::from_str("[proxy]\nname = 'web-7d4'").unwrap());
        assert_eq!(
            (&*own.canonical_service, &*own.canonical_revision),
            ("web-7d4", "")
        );
    }
}
