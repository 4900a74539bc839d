//! The sidecar's bootstrap file: the sections that both binaries have, with the defaults of a sidecar.

use crate::downward;
use model::Labels;
use proxy::bootstrap::{
    AccessLog, Admin, Bootstrap, Capture, Dns, Drain, ForwardProxy, HealthChecks, Limits, Listen,
    Mesh, MetricsServer, Proxy, ResourceFiles, Status, Tls, Topology, everywhere,
};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Threads that serve, when nothing is said: a sidecar has a small share of its pod.
const WORKERS: usize = 2;

/// Everything that is decided before any resource is read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct File {
    proxy: Workload,
    resources: ResourceFiles,
    mesh: Mesh,
    capture: Capture,
    /// An explicit HTTP proxy, for applications that are not redirected.
    listen: LocalListen,
    limits: Limits,
    topology: Topology,
    tls: Tls,
    dns: Dns,
    forward_proxy: ForwardProxy,
    health_checks: HealthChecks,
    admin: Admin,
    status: Option<Status>,
    metrics: Option<MetricsServer>,
    access_log: AccessLog,
    drain: Drain,
}

/// Whose sidecar it is. What is absent is asked of the pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Workload {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<Labels>,
    service_account: Option<String>,
    locality: String,
    workers: Option<usize>,
}

/// Where it listens on purpose.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct LocalListen {
    forward_proxy: Option<SocketAddr>,
}

/// Reads a bootstrap file.
pub(crate) fn parse(text: &str) -> Result<Bootstrap, toml::de::Error> {
    toml::from_str(text).map(|file: File| file.into())
}

impl From<File> for Bootstrap {
    fn from(file: File) -> Self {
        Self {
            proxy: file.proxy.into(),
            resources: file.resources,
            mesh: file.mesh,
            listen: Listen {
                forward_proxy: file.listen.forward_proxy,
                ..Listen::default()
            },
            limits: file.limits,
            topology: file.topology,
            tls: file.tls,
            dns: file.dns,
            forward_proxy: file.forward_proxy,
            acme: None,
            health_checks: file.health_checks,
            admin: file.admin,
            // Kubelets and scrapers come from outside of the pod.
            status: file.status.unwrap_or_else(|| Status {
                address: every_address(15021),
            }),
            metrics: file.metrics.unwrap_or_else(|| MetricsServer {
                address: every_address(15020),
            }),
            access_log: file.access_log,
            drain: file.drain,
            capture: Some(file.capture),
            folder: PathBuf::new(),
        }
    }
}

impl From<Workload> for Proxy {
    fn from(written: Workload) -> Self {
        let labels = written.labels.unwrap_or_else(downward::labels);
        Self {
            name: written.name.unwrap_or_else(|| downward::name(&labels)),
            namespace: written.namespace.unwrap_or_else(downward::namespace),
            labels,
            locality: written.locality,
            workers: written.workers.unwrap_or(WORKERS),
            service_account: written
                .service_account
                .unwrap_or_else(downward::service_account),
        }
    }
}

fn every_address(port: u16) -> SocketAddr {
    everywhere(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_s_sections_are_mistakes() {
        for text in ["[acme]\nstorage = 'x'", "[listen]\nports = { 80 = 8080 }"] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(refused.contains("unknown field"), "{refused}");
        }
    }

    #[test]
    fn what_is_written_comes_before_what_the_pod_says() {
        let text = "[proxy]\nname = 'reviews-v1'\nnamespace = 'shop'\nlabels = { app = 'reviews' }\n\
                    service-account = 'reviews'\nworkers = 1\n[capture]\ninbound-on-loopback = true";
        let bootstrap = parse(text).unwrap();
        assert_eq!(bootstrap.proxy.name, "reviews-v1");
        assert_eq!(bootstrap.proxy.namespace, "shop");
        assert_eq!(bootstrap.proxy.labels["app"], "reviews");
        assert_eq!(bootstrap.proxy.service_account, "reviews");
        assert_eq!(bootstrap.proxy.workers, 1);
        assert!(bootstrap.capture.unwrap().inbound_on_loopback);
        assert_eq!(bootstrap.status.address.port(), 15021);
        assert!(bootstrap.status.address.ip().is_unspecified());
    }
}
