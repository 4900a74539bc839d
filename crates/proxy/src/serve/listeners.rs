//! The listeners with their metrics and their log.

use dataplane::net::{
    Addresses, ConnectionObserver, Limits, ListenerManager, ListenerStatus, Refused,
};
use dataplane::{GatewayApp, Shared};
use rules::{ListenerKey, Table};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use telemetry::Metrics;
use telemetry::metrics::ListenerMetrics;

/// All listeners of the process.
pub(crate) struct Listeners {
    manager: ListenerManager<GatewayApp>,
    gauges: Arc<Gauges>,
    ending: AtomicBool,
}

impl Listeners {
    /// None yet.
    pub(crate) fn new(
        shared: Arc<Shared>,
        addresses: Addresses,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let gauges = Arc::new(Gauges {
            metrics,
            addresses: addresses.clone(),
            known: RwLock::default(),
        });
        let observer: Arc<dyn ConnectionObserver> = Arc::<Gauges>::clone(&gauges);
        let manager = ListenerManager::new(GatewayApp::new(shared), addresses, limits, observer);
        Self {
            manager,
            gauges,
            ending: AtomicBool::new(false),
        }
    }

    /// Opens and closes listeners as the table says. Nothing is opened any more once the end is announced.
    pub(crate) fn apply(&self, table: &Table) -> Vec<ListenerStatus> {
        if self.are_ending() {
            return self.status();
        }
        let before = self.manager.status();
        self.gauges.know(table);
        let status = self.manager.apply(table);
        for listener in &status {
            self.gauges.tell(listener);
            let was = before.iter().find(|was| was.key == listener.key);
            if was.is_none_or(|was| was.error != listener.error) {
                tell(listener);
            }
        }
        status
    }

    /// Tries the ports again that could not be bound.
    pub(crate) fn retry(&self) {
        if self.are_ending() {
            return;
        }
        for listener in self.manager.retry() {
            self.gauges.tell(&listener);
            tell(&listener);
        }
    }

    /// All listeners, by key.
    pub(crate) fn status(&self) -> Vec<ListenerStatus> {
        self.manager.status()
    }

    /// Connections of all listeners, removed ones included.
    pub(crate) fn connections(&self) -> usize {
        self.manager.connections()
    }

    /// Whether the end was announced.
    pub(crate) fn are_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Every answer from now on is the last of its connection; new ones are still accepted. Returns whether that is
    /// news.
    pub(crate) fn announce_end(&self) -> bool {
        let is_news = !self.ending.swap(true, Ordering::Relaxed);
        self.manager.announce_end();
        is_news
    }

    /// Stops accepting, and returns when the last connection has ended.
    pub(crate) async fn drain(&self) {
        self.manager.drain().await;
    }
}

fn tell(listener: &ListenerStatus) {
    let (address, port) = (listener.address, listener.key.port);
    match &listener.error {
        None => tracing::info!(%address, port, "listening"),
        Some(error) => {
            tracing::error!(%address, port, %error, "cannot listen, trying again every second")
        }
    }
}

/// The metrics of each listener, where connections find them by its key.
struct Gauges {
    metrics: Arc<Metrics>,
    addresses: Addresses,
    known: RwLock<BTreeMap<ListenerKey, ListenerMetrics>>,
}

impl Gauges {
    /// Makes metrics for the listeners of a table, and forgets those of others once their last connection ended.
    fn know(&self, table: &Table) {
        let mut known = self.write();
        known.retain(|key, metrics| {
            let stays = table.listeners.contains_key(key) || metrics.connections.get() > 0;
            if !table.listeners.contains_key(key) {
                metrics.up.set(0);
            }
            if !stays {
                self.metrics.own().forget_listener(&self.name(key));
            }
            stays
        });
        for key in table.listeners.keys() {
            known
                .entry(*key)
                .or_insert_with(|| self.metrics.own().listener(&self.name(key)));
        }
    }

    fn tell(&self, listener: &ListenerStatus) {
        if let Some(metrics) = self.read().get(&listener.key) {
            metrics.up.set(i64::from(listener.error.is_none()));
        }
    }

    fn name(&self, key: &ListenerKey) -> String {
        self.addresses.of(key).to_string()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<ListenerKey, ListenerMetrics>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<ListenerKey, ListenerMetrics>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionObserver for Gauges {
    fn opened(&self, listener: &ListenerKey) {
        if let Some(metrics) = self.read().get(listener) {
            metrics.connections.inc();
            metrics.connections_total.inc();
        }
    }

    fn closed(&self, listener: &ListenerKey) {
        if let Some(metrics) = self.read().get(listener) {
            metrics.connections.dec();
        }
    }

    fn refused(&self, listener: &ListenerKey, why: Refused) {
        if let Some(metrics) = self.read().get(listener) {
            let reason = match why {
                Refused::TooMany => "max_connections",
                Refused::TooManyOfOneClient => "max_connections_per_client",
                Refused::ProxyProtocol => "proxy_protocol",
            };
            metrics.refused(reason).inc();
        }
    }
}
