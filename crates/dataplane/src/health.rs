//! What health checks found out about endpoints.

use ahash::HashMap;
use rules::{EndpointAddr, ServicePort};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

impl crate::Shared {
    /// Records that an endpoint of a service port became healthy or unhealthy.
    pub fn note_health(&self, host: &Arc<str>, port: u16, address: EndpointAddr, healthy: bool) {
        let host = Arc::clone(host);
        self.health
            .note(ServicePort { host, port }, address, healthy);
    }

    /// Forgets an endpoint that is not checked any more.
    pub fn forget_health(&self, host: &Arc<str>, port: u16, address: EndpointAddr) {
        let host = Arc::clone(host);
        self.health.forget(ServicePort { host, port }, address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(port: u16) -> ServicePort {
        ServicePort {
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
