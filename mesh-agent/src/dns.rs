//! The workload's DNS, answered from the configuration in force.

use anyhow::Context;
use config::Published;
use dns_proxy::{Found, Names, Server, Settings, Stats, StatsHandle};
use proxy::Serving;
use proxy::bootstrap::{Bootstrap, Capture};
use rules::{Endpoints, FoundName, NameTable, Outbound, OutboundTo, Serves, Table};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use telemetry::metrics::DnsProxyTotals;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// How often what was counted is told.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Names as they are published.
type Publisher = watch::Sender<Option<Arc<dyn Names>>>;

/// Starts answering, where the bootstrap file says.
///
/// # Errors
/// When an address is not to be had.
pub(crate) fn start(bootstrap: &Bootstrap, serving: &Arc<Serving>) -> anyhow::Result<()> {
    let addresses = bootstrap.capture.as_ref().map(Capture::dns_addresses);
    let addresses = addresses.unwrap_or_default();
    if addresses.is_empty() {
        return Ok(());
    }
    let settings = Settings {
        servers: bootstrap.dns.settings.servers.clone(),
        ..Settings::default()
    };
    let publisher = Publisher::new(None);
    let binding = Server::bind(&addresses, settings, publisher.subscribe());
    // Nothing is served yet that would have to wait.
    let server = tokio::task::block_in_place(|| Handle::current().block_on(binding));
    let server = server.context("`[capture] dns`")?;
    tokio::spawn(follow(publisher, Arc::clone(serving)));
    tokio::spawn(count(server.stats(), Arc::clone(serving)));
    tokio::spawn(server.run());
    Ok(())
}

/// Publishes the names of every configuration that is put in force. Never ends.
async fn follow(publisher: Publisher, serving: Arc<Serving>) {
    let mut published = serving.subscribe();
    loop {
        // Cloned, since whoever publishes waits while it is borrowed.
        let newest = published.borrow_and_update().clone();
        if let Some(names) = newest.and_then(|newest| names_of(&newest)) {
            publisher.send_replace(Some(names));
        }
        if published.changed().await.is_err() {
            return;
        }
    }
}

fn names_of(published: &Arc<Published>) -> Option<Arc<dyn Names>> {
    let outbound = outbound_of(&published.table)?;
    Some(Arc::new(NamesInForce {
        names: outbound.names.clone(),
        published: Arc::clone(published),
    }))
}

/// What the workload reaches.
fn outbound_of(table: &Table) -> Option<&Arc<Outbound>> {
    let mut listeners = table.listeners.values();
    listeners.find_map(|listener| match &listener.serves {
        Serves::Outbound(outbound) if outbound.to == OutboundTo::OriginalDestination => {
            Some(&outbound.outbound)
        }
        _ => None,
    })
}

/// The names of one configuration.
struct NamesInForce {
    names: Arc<NameTable>,
    published: Arc<Published>,
}

impl NamesInForce {
    fn endpoints(&self) -> &Endpoints {
        &self.published.endpoints
    }
}

impl Names for NamesInForce {
    fn find(&self, name: &str) -> Option<Found> {
        Some(match self.names.find(name, self.endpoints())? {
            FoundName::Addresses(addresses) => Found::Addresses(addresses),
            FoundName::Alias(alias) => Found::Alias(alias),
        })
    }

    fn name_of(&self, address: IpAddr) -> Option<Arc<str>> {
        self.names.name_of(address).cloned()
    }
}

/// Tells what is counted. Never ends.
async fn count(handle: StatsHandle, serving: Arc<Serving>) {
    let mut tick = interval(COUNT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        serving.metrics.own().dns_proxy(&totals(handle.stats()));
    }
}

fn totals(stats: Stats) -> DnsProxyTotals {
    DnsProxyTotals {
        answered: stats.answered,
        forwarded: stats.forwarded,
        failed: stats.failed,
        refused: stats.overflowed + stats.early,
        malformed: stats.malformed,
    }
}
