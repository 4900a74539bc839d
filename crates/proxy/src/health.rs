//! Which endpoints are asked whether they are well, and who is told.

use crate::bootstrap::{Bootstrap, HealthChecks};
use crate::serve::Serving;
use async_trait::async_trait;
use dataplane::{Shared, Spoken};
use health::{
    Address, Ask, Check, Connect, Counts, Health, Prober, Stream, TargetKey, Targets, TcpConnect,
};
use rules::{EndpointAddr, Endpoints, ServicePort};
use std::io;
use std::sync::Arc;
use telemetry::Metrics;

/// Starts asking the endpoints that `[health-checks]` names, of every configuration that is put in force.
pub(crate) fn start(bootstrap: &Bootstrap, serving: &Arc<Serving>) {
    if !bootstrap.health_checks.is_empty() {
        let checks = bootstrap.health_checks.clone();
        tokio::spawn(follow(checks, Arc::clone(serving)));
    }
}

/// Never ends.
async fn follow(checks: HealthChecks, serving: Arc<Serving>) {
    let shared = Arc::clone(&serving.shared);
    let counts = Arc::new(Counters(Arc::clone(&serving.metrics)));
    let report = move |key: &TargetKey, health: &Health| report(&shared, key, health);
    let prober = Prober::start(
        Arc::new(AsRequests(Arc::clone(&serving.shared))),
        counts,
        report,
    );
    let mut published = serving.subscribe();
    loop {
        // Cloned, since whoever publishes waits while it is borrowed.
        let newest = published.borrow_and_update().clone();
        if let Some(newest) = newest {
            prober.follow(targets(&checks, &newest.endpoints));
        }
        if published.changed().await.is_err() {
            return;
        }
    }
}

/// The endpoints of all service ports that have a check.
fn targets(checks: &HealthChecks, endpoints: &Endpoints) -> Targets {
    let services = endpoints.services.iter();
    let checked = services.filter_map(|(service, endpoints)| {
        let check = checks.of(&service.host, service.port)?;
        Some((service, endpoints, check))
    });
    let each = checked.flat_map(|(service, endpoints, check)| {
        endpoints.iter().map(move |endpoint| {
            let key = TargetKey {
                host: Arc::clone(&service.host),
                port: service.port,
                address: dialled(&endpoint.address),
            };
            (key, Arc::clone(check))
        })
    });
    each.collect()
}

fn report(shared: &Shared, key: &TargetKey, health: &Health) {
    let address = written(&key.address);
    match health {
        Health::Healthy => shared.note_health(&key.host, key.port, address, true),
        Health::Unhealthy { .. } => shared.note_health(&key.host, key.port, address, false),
        Health::Unchecked => shared.forget_health(&key.host, key.port, address),
    }
}

fn dialled(address: &EndpointAddr) -> Address {
    match address {
        EndpointAddr::Tcp(address) => Address::Tcp(*address),
        EndpointAddr::Unix(path) => Address::Unix(Arc::clone(path)),
    }
}

fn written(address: &Address) -> EndpointAddr {
    match address {
        Address::Tcp(address) => EndpointAddr::Tcp(*address),
        Address::Unix(path) => EndpointAddr::Unix(Arc::clone(path)),
    }
}

/// Dials endpoints as requests do, so that they are asked in TLS where they are spoken to in TLS.
struct AsRequests(Arc<Shared>);

#[async_trait]
impl Connect for AsRequests {
    async fn connect(&self, target: &TargetKey, check: &Check) -> io::Result<Box<dyn Stream>> {
        let service = ServicePort {
            view: None,
            host: Arc::clone(&target.host),
            port: target.port,
        };
        let spoken = match check.ask {
            Ask::Http { .. } => Spoken::Http1,
            Ask::Grpc { .. } => Spoken::Http2,
            Ask::Tcp => Spoken::Nothing,
        };
        let address = written(&target.address);
        let connected = self
            .0
            .connect_for_check(&service, &address, spoken, check.timeout)
            .await?;
        match connected {
            Some(stream) => Ok(Box::new(stream)),
            None => TcpConnect.connect(target, check).await,
        }
    }
}

/// Counts in the metrics of the process.
struct Counters(Arc<Metrics>);

impl Counts for Counters {
    fn checked(&self, host: &str, result: &'static str) {
        self.0.own().health_checks(host, result).inc();
    }

    fn unhealthy(&self, host: &str, endpoints: usize) {
        let endpoints = i64::try_from(endpoints).unwrap_or(i64::MAX);
        self.0.own().unhealthy_endpoints(host).set(endpoints);
    }

    fn forget(&self, host: &str) {
        self.0.own().forget_health_of(host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::Settings;
    use rules::Endpoint;
    use telemetry::AccessLog;

    fn service(host: &str, port: u16) -> ServicePort {
        ServicePort {
            view: None,
            host: host.into(),
            port,
        }
    }

    fn tcp(address: &str) -> EndpointAddr {
        EndpointAddr::Tcp(address.parse().unwrap())
    }

    #[test]
    fn only_endpoints_with_a_check_are_asked() {
        let checks = "['a.test']\nprotocol = 'tcp'\nport = 80";
        let checks: HealthChecks = toml::from_str(checks).unwrap();
        let unix = EndpointAddr::Unix("/run/a".into());
        let listed = [Endpoint::at(tcp("127.0.0.1:1")), Endpoint::at(unix)];
        let mut endpoints = Endpoints::default();
        for service in [
            service("a.test", 80),
            service("a.test", 81),
            service("b.test", 80),
        ] {
            endpoints.services.insert(service, Arc::new(listed.clone()));
        }
        let targets = targets(&checks, &endpoints);
        let mut asked: Vec<_> = targets
            .keys()
            .map(|key| format!("{} {} {}", key.host, key.port, key.address))
            .collect();
        asked.sort();
        assert_eq!(asked, ["a.test 80 /run/a", "a.test 80 127.0.0.1:1"]);
    }

    #[test]
    fn what_is_reported_is_noted_for_the_endpoint() {
        let metrics = Arc::new(Metrics::new("0.1.0"));
        let shared = Shared::new(Settings::default(), metrics, Arc::new(AccessLog::off()));
        let address = tcp("127.0.0.1:1");
        let key = TargetKey {
            host: "a.test".into(),
            port: 80,
            address: dialled(&address),
        };
        let unhealthy = Health::Unhealthy {
            why: "timeout".into(),
        };
        for (health, want) in [
            (Health::Healthy, Some(true)),
            (unhealthy, Some(false)),
            (Health::Unchecked, None),
        ] {
            report(&shared, &key, &health);
            let noted = shared.health.of(&service("a.test", 80), &address);
            assert_eq!(noted, want, "{health:?}");
        }
    }

    #[test]
    fn probes_are_counted_under_the_host() {
        let metrics = Arc::new(Metrics::new("0.1.0"));
        let counters = Counters(Arc::clone(&metrics));
        counters.checked("a.test", "success");
        counters.unhealthy("a.test", 2);
        let text = metrics.text();
        let line = "tidegate_health_checks_total{host=\"a.test\",result=\"success\"} 1\n";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("tidegate_unhealthy_endpoints{host=\"a.test\"} 2\n"),
            "{text}"
        );
        counters.forget("a.test");
        assert!(!metrics.text().contains("a.test"));
    }
}
