//! What health checks found out about endpoints.

use crate::Shared;
use crate::upstream::Cluster;
use ahash::HashMap;
use rules::{EndpointAddr, ServicePort};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// What health checks found out about endpoints. It outlives snapshots, and is bounded by the endpoints that are
/// checked: whoever checks them forgets those that are gone.
#[derive(Debug, Default)]
pub struct NotedHealth {
    endpoints: Mutex<HashMap<(ServicePort, EndpointAddr), bool>>,
}

impl NotedHealth {
    /// Whether the endpoint is healthy. Absent: it is not checked, or not known yet, and counts as available.
    pub fn of(&self, service: &ServicePort, address: &EndpointAddr) -> Option<bool> {
        let key = (service.clone(), address.clone());
        self.lock().get(&key).copied()
    }

    pub(crate) fn note(&self, service: ServicePort, address: EndpointAddr, healthy: bool) {
        self.lock().insert((service, address), healthy);
    }

    pub(crate) fn forget(&self, service: ServicePort, address: EndpointAddr) {
        self.lock().remove(&(service, address));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ServicePort, EndpointAddr), bool>> {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is spoken on a connection for a health check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spoken {
    /// Nothing: that there is a connection is all.
    Nothing,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, for gRPC.
    Http2,
}

impl Shared {
    /// Takes note that an endpoint of a service port became healthy or unhealthy: it takes requests, or none any more.
    pub fn note_health(&self, host: &Arc<str>, port: u16, address: EndpointAddr, healthy: bool) {
        let host = Arc::clone(host);
        let service = ServicePort {
            host,
            port,
            view: None,
        };
        self.health.note(service.clone(), address.clone(), healthy);
        self.apply_health(&service, &address, healthy);
    }

    /// Forgets an endpoint that is not checked any more: it takes requests.
    pub fn forget_health(&self, host: &Arc<str>, port: u16, address: EndpointAddr) {
        let host = Arc::clone(host);
        let service = ServicePort {
            host,
            port,
            view: None,
        };
        self.health.forget(service.clone(), address.clone());
        self.apply_health(&service, &address, true);
    }

    /// Nothing is published meanwhile, so that what is noted is noted of the clusters in force.
    fn apply_health(&self, service: &ServicePort, address: &EndpointAddr, healthy: bool) {
        let _in_force = self.hold();
        for cluster in self.clusters_of(service) {
            cluster.note_health(address, healthy);
        }
    }

    fn clusters_of(&self, service: &ServicePort) -> Vec<Arc<Cluster>> {
        let snapshot = self.snapshot();
        let clusters = snapshot.clusters.values();
        let is_meant = |cluster: &&Arc<Cluster>| {
            let key = &cluster.definition.key;
            key.host == service.host && key.port == service.port
        };
        clusters.filter(is_meant).cloned().collect()
    }

    /// A connection to an endpoint of a service port as requests have it, in TLS where a DestinationRule asks for that.
    /// `None`: no route leads there, so that it is not known how it is spoken to.
    ///
    /// # Errors
    ///
    /// When there is no connection to be had.
    pub async fn connect_for_check(
        &self,
        service: &ServicePort,
        address: &EndpointAddr,
        spoken: Spoken,
        timeout: Duration,
    ) -> io::Result<Option<impl AsyncRead + AsyncWrite + Send + Unpin + use<>>> {
        let clusters = self.clusters_of(service);
        let mut members = clusters
            .iter()
            .flat_map(|cluster| cluster.endpoints.members());
        let Some(member) = members.find(|member| member.value.address == *address) else {
            return Ok(None);
        };
        let connected = member.value.connect_for_check(spoken, timeout).await;
        connected.map(Some).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(port: u16) -> ServicePort {
        ServicePort {
            view: None,
            host: "a.test".into(),
            port,
        }
    }

    fn address() -> EndpointAddr {
        EndpointAddr::Unix("/run/a".into())
    }

    #[test]
    fn the_last_note_counts_until_it_is_forgotten() {
        let health = NotedHealth::default();
        assert_eq!(health.of(&service(80), &address()), None);
        health.note(service(80), address(), true);
        health.note(service(80), address(), false);
        assert_eq!(health.of(&service(80), &address()), Some(false));
        assert_eq!(health.of(&service(81), &address()), None);
        health.forget(service(80), address());
        assert_eq!(health.of(&service(80), &address()), None);
    }
}
