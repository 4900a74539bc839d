//! The sidecar's bootstrap file: the sections that both binaries have, with the defaults of a sidecar.

use crate::downward::{self, ProxyConfig, Told};
use capture::Interception;
use model::Labels;
use proxy::bootstrap::{
    AccessLog, Admin, AutoAllocate, Bootstrap, Capture, Dns, Drain, ForwardProxy, HealthChecks,
    InterceptionMode, Limits, Listen, Mesh, MetricsServer, Proxy, ResourceFiles, SidecarKubernetes,
    SidecarTopology, Status, Tls, duration_or_none, everywhere,
};
use serde::Deserialize;
use serde::de::Error;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Threads that serve, when nothing is said: a sidecar has a small share of its pod.
const WORKERS: usize = 2;

/// How long the application may go on after `delay`, when nothing is said: longer than pods are given by Kubernetes.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(600);

/// Everything that is decided before any resource is read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct File {
    proxy: Workload,
    resources: ResourceFiles,
    kubernetes: Option<SidecarKubernetes>,
    mesh: Mesh,
    capture: Capture,
    /// An explicit HTTP proxy, for applications that are not redirected.
    listen: LocalListen,
    limits: Limits,
    topology: SidecarTopology,
    tls: Tls,
    dns: Dns,
    forward_proxy: ForwardProxy,
    health_checks: HealthChecks,
    admin: Admin,
    status: Option<Status>,
    metrics: Option<MetricsServer>,
    access_log: AccessLog,
    drain: Ending,
}

/// How it ends.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Ending {
    #[serde(deserialize_with = "duration_or_none")]
    delay: Option<Duration>,
    #[serde(deserialize_with = "duration_or_none")]
    timeout: Option<Duration>,
}

/// Whose sidecar it is. What is absent is asked of the pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Workload {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<Labels>,
    service_account: Option<String>,
    cluster_id: Option<String>,
    ports: Option<BTreeMap<String, u16>>,
    locality: String,
    workers: Option<usize>,
}

/// Where it listens on purpose.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct LocalListen {
    forward_proxy: Option<SocketAddr>,
}

/// Reads a bootstrap file. What it does not say is asked of the pod.
pub(crate) fn parse(text: &str) -> Result<Bootstrap, toml::de::Error> {
    let file: File = toml::from_str(text)?;
    let told = Told::by_environment();
    let told = told.map_err(|error| Error::custom(format_args!("{error:#}")))?;
    Ok(file.with(told))
}

impl File {
    fn with(self, told: Told) -> Bootstrap {
        let config = &told.proxy_config;
        // Kubelets and scrapers come from outside of the pod.
        let status = self
            .status
            .map_or_else(|| of_pod(15021), |status| status.address);
        let metrics = self
            .metrics
            .map_or_else(|| metrics_address(config), |metrics| metrics.address);
        Bootstrap {
            resources: self.resources,
            mesh: mesh(self.mesh, &told),
            listen: Listen {
                forward_proxy: self.listen.forward_proxy,
                ..Listen::default()
            },
            limits: self.limits,
            topology: self.topology.into(),
            tls: self.tls,
            dns: self.dns,
            forward_proxy: self.forward_proxy,
            acme: None,
            kubernetes: self.kubernetes.map(Into::into),
            health_checks: self.health_checks,
            admin: self.admin,
            status: Status {
                address: everywhere(status),
            },
            metrics: MetricsServer {
                address: everywhere(metrics),
            },
            access_log: self.access_log,
            drain: self.drain.with(config),
            capture: Some(redirection(self.capture, &told)),
            proxy: self.proxy.with(told),
            folder: PathBuf::new(),
        }
    }
}

impl Ending {
    fn with(self, told: &ProxyConfig) -> Drain {
        let delay = self.delay.or(told.termination_drain_duration);
        Drain {
            delay: delay.unwrap_or_else(|| Drain::default().delay),
            timeout: self.timeout.unwrap_or(DRAIN_TIMEOUT),
        }
    }
}

impl Workload {
    fn with(self, told: Told) -> Proxy {
        let labels = self.labels.unwrap_or_else(downward::labels);
        let or_default = |said: Option<String>| said.unwrap_or_else(|| "default".to_owned());
        let concurrency = told.proxy_config.concurrency;
        Proxy {
            name: self.name.unwrap_or_else(|| told.name(&labels)),
            namespace: or_default(self.namespace.or(told.namespace)),
            labels,
            locality: self.locality,
            workers: self.workers.or(concurrency).unwrap_or(WORKERS),
            service_account: or_default(self.service_account.or(told.service_account)),
            cluster_id: self.cluster_id.or(told.cluster_id).unwrap_or_default(),
            ports: self.ports.unwrap_or(told.ports),
        }
    }
}

fn mesh(written: Mesh, told: &Told) -> Mesh {
    Mesh {
        trust_domain: written.trust_domain.or_else(|| told.trust_domain.clone()),
        ..written
    }
}

fn redirection(written: Capture, told: &Told) -> Capture {
    let mode = told.interception.map(|mode| match mode {
        Interception::Redirect => InterceptionMode::Redirect,
        Interception::None => InterceptionMode::None,
    });
    let is_off = |said: Option<bool>| said == Some(false);
    Capture {
        mode: written.mode.or(mode),
        dns: (written.dns).or_else(|| is_off(told.dns_capture).then(Vec::new)),
        auto_allocate: (written.auto_allocate)
            .or_else(|| is_off(told.dns_auto_allocate).then_some(AutoAllocate::Off)),
        ..written
    }
}

/// A pod that wants no port has one that nobody can reach.
fn metrics_address(told: &ProxyConfig) -> SocketAddr {
    match told.status_port {
        Some(0) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        Some(port) => of_pod(port),
        None => of_pod(15020),
    }
}

fn of_pod(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT_FILE: &str = include_str!("../../conf/mesh-agent.toml");
    const GATEWAYS_FILE: &str = include_str!("../../conf/gateway.toml");

    #[test]
    fn the_file_that_comes_with_it_says_the_defaults() {
        let mut written = parse(DEFAULT_FILE).unwrap();
        let files = std::mem::take(&mut written.resources.files);
        assert_eq!(files, [PathBuf::from("resources")]);
        // Limits that are written are told from those that are not. They are the gateway's.
        written.limits = Limits::default();
        let default = parse("").unwrap();
        assert_eq!(format!("{written:#?}"), format!("{default:#?}"));
        let limits = section("limits", DEFAULT_FILE);
        assert_eq!(limits, section("limits", GATEWAYS_FILE));
        assert!(limits.len() > 10);
    }

    /// The keys of a section with their values, those that are commented out as well.
    fn section<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        let lines = text.lines().skip_while(|line| heading(line) != Some(name));
        let lines = lines.skip(1).take_while(|line| heading(line).is_none());
        let keys = lines.map(|line| line.strip_prefix("# ").unwrap_or(line));
        keys.filter(|line| is_key(line)).collect()
    }

    /// The name of a section, which may be commented out as a whole.
    fn heading(line: &str) -> Option<&str> {
        let line = line.strip_prefix("# ").unwrap_or(line);
        line.strip_prefix('[')?.strip_suffix(']')
    }

    fn is_key(line: &str) -> bool {
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        let is_of_key = |c: char| c.is_ascii_alphanumeric() || "-.\"".contains(c);
        !key.is_empty() && key.chars().all(is_of_key)
    }

    #[test]
    fn every_key_is_in_that_file() {
        let headings = DEFAULT_FILE.lines().filter_map(heading);
        for name in headings.filter(|name| *name != "health-checks") {
            // Whoever writes a key that is none is told those that are.
            let refused = parse(&format!("[{name}]\nno-key = 1")).unwrap_err();
            let (_, known) = refused.message().split_once("expected ").unwrap();
            let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
            let written = section(name, DEFAULT_FILE);
            let is_there = |key: &str| {
                let start = format!("{key} = ");
                written.iter().any(|line| line.starts_with(&start))
            };
            let missing: Vec<_> = known.iter().filter(|key| !is_there(key)).collect();
            assert!(
                missing.is_empty() && !known.is_empty(),
                "[{name}]: {missing:?}"
            );
        }
        let refused = parse("[no-section]").unwrap_err();
        for name in refused.message().split('`').skip(3).step_by(2) {
            let mut headings = DEFAULT_FILE.lines().filter_map(heading);
            assert!(headings.any(|heading| heading == name), "{name}");
        }
    }

    #[test]
    fn what_is_commented_out_in_that_file_can_be_used() {
        let mut section = String::new();
        let mut found = Vec::new();
        for line in DEFAULT_FILE.lines() {
            if let Some(name) = heading(line) {
                section = format!("[{name}]");
            }
            if let Some(line) = line.strip_prefix("# ").filter(|line| is_key(line)) {
                let text = format!("{section}\n{line}");
                found.push(text.clone());
                parse(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
            }
        }
        assert!(found.len() >= 12, "{found:#?}");
    }

    #[test]
    fn what_only_a_gateway_has_is_a_mistake() {
        for text in [
            "[acme]\nstorage = 'x'",
            "[listen]\nports = { 80 = 8080 }",
            // Its gateways tell what became of objects.
            "[kubernetes]\nstatus = true",
            // Anybody who connects in clear would say who the client is.
            "[topology]\nnum-trusted-proxies = 1",
            // The mesh's certificates alone tell the application.
            "[topology]\nforward-client-cert = 'SANITIZE'",
        ] {
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

    /// Promise 21. The application may need the mesh for as long as its pod lets it.
    #[test]
    fn a_sidecar_drains_longer_than_a_gateway() {
        let drain = |text: &str| {
            let Drain { delay, timeout } = parse(text).unwrap().drain;
            (delay.as_secs(), timeout.as_secs())
        };
        assert_eq!(drain(""), (5, 600));
        assert_eq!(drain("[drain]\ndelay = '0s'"), (0, 600));
        assert_eq!(drain("[drain]\ntimeout = '30s'"), (5, 30));
        let refused = parse("[drain]\nwait = '1s'").unwrap_err();
        assert!(refused.to_string().contains("unknown field `wait`"));
    }

    /// A bootstrap file in a pod with these variables.
    fn told(text: &str, variables: &[(&str, &str)]) -> Bootstrap {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let told = Told::read(&|name| variables.get(name).map(|value| (*value).to_owned()));
        toml::from_str::<File>(text).unwrap().with(told.unwrap())
    }

    #[test]
    fn the_pod_tells_how_connections_come_and_who_is_who() {
        let pod = [
            ("ISTIO_META_INTERCEPTION_MODE", "NONE"),
            ("TRUST_DOMAIN", "mesh.test"),
            ("ISTIO_META_CLUSTER_ID", "west"),
            (
                "ISTIO_META_POD_PORTS",
                r#"[{"name": "web", "containerPort": 8080}]"#,
            ),
            ("ISTIO_META_DNS_AUTO_ALLOCATE", "false"),
        ];
        let bootstrap = told("", &pod);
        let capture = bootstrap.capture.unwrap();
        assert_eq!(capture.options().inbound, None);
        assert_eq!(capture.auto_allocate, Some(AutoAllocate::Off));
        assert_eq!(bootstrap.mesh.trust_domain(), "mesh.test");
        assert_eq!(bootstrap.proxy.cluster_id, "west");
        assert_eq!(bootstrap.proxy.ports["web"], 8080);
        let text = "[proxy]\ncluster-id = 'east'\nports = { web = 1 }\n[mesh]\ntrust-domain = 'own.test'\n\
                    [capture]\nmode = 'REDIRECT'\nauto-allocate = 'v6'";
        let bootstrap = told(text, &pod);
        let capture = bootstrap.capture.unwrap();
        assert_eq!(capture.options().inbound.unwrap().port(), 15006);
        assert_eq!(capture.auto_allocate, Some(AutoAllocate::V6));
        assert_eq!(bootstrap.mesh.trust_domain(), "own.test");
        assert_eq!(bootstrap.proxy.cluster_id, "east");
        assert_eq!(bootstrap.proxy.ports["web"], 1);
    }

    /// The application may have the port of DNS for itself then, and injection lets it.
    #[test]
    fn dns_that_is_not_redirected_is_not_answered() {
        let addresses = |text: &str, captures: &str| {
            let bootstrap = told(text, &[("ISTIO_META_DNS_CAPTURE", captures)]);
            bootstrap.capture.unwrap().dns_addresses().len()
        };
        assert_eq!(addresses("", "false"), 0);
        assert!(addresses("", "true") > 0);
        assert!(addresses("", "") > 0);
        assert_eq!(addresses("[capture]\ndns = ['127.0.0.1:53']", "false"), 1);
    }

    #[test]
    fn what_a_pod_says_in_proxy_config_counts_where_the_file_says_nothing() {
        let json = r#"{"concurrency": 0, "statusPort": 16020, "terminationDrainDuration": "20s", "binaryPath": "x"}"#;
        let of = |text: &str| told(text, &[("PROXY_CONFIG", json)]);
        let bootstrap = of("");
        assert_eq!(bootstrap.proxy.workers, 0);
        assert_eq!(bootstrap.metrics.address.port(), 16020);
        assert_eq!(bootstrap.drain.delay, Duration::from_secs(20));
        let text =
            "[proxy]\nworkers = 1\n[metrics]\naddress = '127.0.0.1:1'\n[drain]\ndelay = '1s'";
        let bootstrap = of(text);
        assert_eq!(bootstrap.proxy.workers, 1);
        assert_eq!(bootstrap.metrics.address.to_string(), "127.0.0.1:1");
        assert_eq!(bootstrap.drain.delay, Duration::from_secs(1));
        let none: ProxyConfig = serde_json::from_str(r#"{"statusPort": 0}"#).unwrap();
        assert_eq!(metrics_address(&none).to_string(), "127.0.0.1:0");
        let wrong = serde_json::from_str::<ProxyConfig>(r#"{"terminationDrainDuration": "5"}"#);
        assert!(wrong.is_err());
    }
}
