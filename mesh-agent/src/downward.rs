//! What a pod tells its containers about itself: variables and files of Kubernetes' downward API.
//!
//! The names are those that Istio's injection uses, and `inject` writes.

use app_probes::Application;
use capture::Interception;
use inject::downward::{
    APP_PROBERS, CLUSTER_ID, DNS_AUTO_ALLOCATE, DNS_CAPTURE, INSTANCE_IP, INTERCEPTION_MODE,
    LABELS_FILE, METADATA, POD_INFO, POD_NAME, POD_NAMESPACE, POD_PORTS, PROMETHEUS_ANNOTATIONS,
    PROXY_CONFIG, PodPort, SERVICE_ACCOUNT, TRUST_DOMAIN, WORKLOAD_NAME, is_unread, truth,
};
use model::Labels;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

/// More is no file of labels.
const MAX_LABELS: usize = 1 << 20;

/// The labels of the pod. None where there is no pod.
pub(crate) fn labels() -> Labels {
    labels_in(&Path::new(POD_INFO).join(LABELS_FILE))
}

fn labels_in(file: &Path) -> Labels {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    match text.len() {
        0..=MAX_LABELS => text.lines().filter_map(label).collect(),
        _ => Labels::new(),
    }
}

/// `app="reviews"`: what stands in quotation marks is written as Go writes strings, of which labels need nothing.
fn label(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let value = value.strip_prefix('"')?.strip_suffix('"')?;
    Some((name.to_owned(), value.to_owned()))
}

/// What the pod says by variables. Absent: it says nothing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// The workload that the pod belongs to.
    workload: Option<String>,
    /// The pod.
    name: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) service_account: Option<String>,
    pub(crate) trust_domain: Option<String>,
    pub(crate) cluster_id: Option<String>,
    pub(crate) interception: Option<Interception>,
    /// Whether the application's DNS queries are redirected.
    pub(crate) dns_capture: Option<bool>,
    /// Whether services without addresses get virtual ones.
    pub(crate) dns_auto_allocate: Option<bool>,
    /// The ports that containers name.
    pub(crate) ports: BTreeMap<String, u16>,
    /// The pod's address, where the application is.
    address: Option<IpAddr>,
    pub(crate) proxy_config: ProxyConfig,
    /// How the application is asked whether it is well, as JSON.
    pub(crate) probers: Option<String>,
    /// Where the application has metrics, as JSON.
    pub(crate) prometheus_annotations: Option<String>,
}

impl Told {
    /// # Errors
    /// When a variable says what cannot be.
    pub(crate) fn by_environment() -> anyhow::Result<Self> {
        Self::read(&|name| std::env::var(name).ok())
    }

    pub(crate) fn read(environment: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let variables = Variables(environment);
        let text = |name| variables.text(name);
        Ok(Self {
            workload: text(WORKLOAD_NAME),
            name: text(POD_NAME),
            namespace: text(POD_NAMESPACE),
            service_account: text(SERVICE_ACCOUNT),
            trust_domain: text(TRUST_DOMAIN),
            cluster_id: text(CLUSTER_ID),
            interception: variables.read(INTERCEPTION_MODE, str::parse)?,
            dns_capture: variables.read(DNS_CAPTURE, truth)?,
            dns_auto_allocate: variables.read(DNS_AUTO_ALLOCATE, truth)?,
            ports: variables.read(POD_PORTS, ports)?.unwrap_or_default(),
            address: address(&variables)?,
            proxy_config: variables.read(PROXY_CONFIG, of_json)?.unwrap_or_default(),
            probers: text(APP_PROBERS),
            prometheus_annotations: text(PROMETHEUS_ANNOTATIONS),
        })
    }

    /// The workload that the pod belongs to: as it is told, else as its labels have it, else the pod itself.
    pub(crate) fn name(&self, labels: &Labels) -> String {
        let of_labels = || labels.get(model::labels::WORKLOAD_NAME);
        let told = self.workload.as_ref().or_else(of_labels);
        let told = told.or(self.name.as_ref()).cloned();
        told.unwrap_or_else(|| "unknown".to_owned())
    }

    /// Where the application is: at the pod's address, or on loopback where the pod says nothing, or says so.
    pub(crate) fn application(&self) -> Application {
        Application {
            address: self.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            from_v4: capture::OWN_SOURCE_V4,
            from_v6: capture::OWN_SOURCE_V6,
        }
    }
}

/// Variables by their names. Those that are empty say nothing.
struct Variables<'e>(&'e dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn read<T, E: Display>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> anyhow::Result<Option<T>> {
        let value = self.text(name).map(|text| read(&text)).transpose();
        value.map_err(|error| anyhow::anyhow!("{name}: {error}"))
    }
}

fn of_json<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    serde_json::from_str(json)
}

fn ports(json: &str) -> serde_json::Result<BTreeMap<String, u16>> {
    let ports: Vec<PodPort> = of_json(json)?;
    let of_tcp = ports.into_iter().filter(PodPort::is_tcp);
    let named = of_tcp.filter_map(|port| Some((port.name?, port.container_port)));
    Ok(named.collect())
}

fn address(variables: &Variables<'_>) -> anyhow::Result<Option<IpAddr>> {
    let legacy = variables.text("REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION");
    if legacy.as_deref() == Some("true") {
        return Ok(None);
    }
    let read = |address: &str| {
        let read = address.parse::<IpAddr>();
        read.map_err(|_| format!("`{address}` is no IP address"))
    };
    match variables.read(INSTANCE_IP, read)? {
        None => variables.read("POD_IP", read),
        told => Ok(told),
    }
}

/// Warns of settings of Istio's that the pod has and nobody reads.
pub(crate) fn tell_unread() {
    let unread = unread(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()));
    if !unread.is_empty() {
        let read = METADATA.join(", ");
        tracing::warn!(
            unread,
            "variables without effect; of this kind these are read: {read}"
        );
    }
}

fn unread(names: impl Iterator<Item = String>) -> String {
    let mut unread: Vec<_> = names.filter(|name| is_unread(name)).collect();
    unread.sort();
    unread.join(", ")
}

/// What of Istio's ProxyConfig concerns a sidecar's own process. Absent: it says nothing about it.
///
/// Source: Istio `ProxyConfig`; the other fields are for Envoy, or for whoever injects.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ProxyConfig {
    /// Threads that serve. 0: one a core.
    pub(crate) concurrency: Option<usize>,
    /// The port of metrics and probes. 0: nobody asks there.
    pub(crate) status_port: Option<u16>,
    /// How long the sidecar goes on for sure when its pod ends.
    #[serde(deserialize_with = "proxy::bootstrap::duration_or_none")]
    pub(crate) termination_drain_duration: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use inject::InjectOptions;
    use inject::downward::SPIFFE_ENDPOINT_SOCKET;
    use serde_json::Value;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    #[test]
    fn labels_are_lines() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels");
        std::fs::write(&file, "app=\"reviews\"\nversion=\"v1\"\nbroken\n").unwrap();
        let labels = labels_in(&file);
        assert_eq!(labels.len(), 2);
        assert_eq!(labels["version"], "v1");
        assert!(labels_in(&folder.path().join("none")).is_empty());
    }

    /// A pod that makes injection say all that it can.
    const POD: &str = r#"{
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"},
        "spec": {"template": {
            "metadata": {"annotations": {
                "sidecar.istio.io/interceptionMode": "NONE",
                "proxy.istio.io/config": "{concurrency: 3, statusPort: 16020, terminationDrainDuration: 20s, proxyMetadata: {ISTIO_META_DNS_AUTO_ALLOCATE: 'false'}}",
                "prometheus.io/scrape": "true", "prometheus.io/port": "9090"
            }},
            "spec": {"containers": [{
                "name": "app", "livenessProbe": {"httpGet": {"path": "/$(x)", "port": 8080}},
                "ports": [{"name": "web", "containerPort": 8080}, {"containerPort": 1},
                          {"name": "dns", "containerPort": 53, "protocol": "UDP"}]
            }]}
        }}
    }"#;

    /// The sidecar's variables, as Kubernetes sets them.
    fn written(pod: &str) -> BTreeMap<String, String> {
        let options = InjectOptions {
            trust_domain: "mesh.test".to_owned(),
            cluster_id: "west".to_owned(),
            identity: "workload-api-csi".parse().unwrap(),
            ..InjectOptions::default()
        };
        let injected = inject::inject(&"pod.json".into(), pod, &options).unwrap();
        let object: Value = serde_json::from_str(&injected.text).unwrap();
        let containers = &object["spec"]["template"]["spec"]["containers"];
        let mut containers = containers.as_array().unwrap().iter();
        let sidecar = containers.find(|one| one["name"] == "istio-proxy").unwrap();
        let variables = sidecar["env"].as_array().unwrap().iter();
        let variables = variables.map(|variable| {
            let name = variable["name"].as_str().unwrap().to_owned();
            (name, value(variable))
        });
        variables.collect()
    }

    fn value(variable: &Value) -> String {
        if let Some(text) = variable["value"].as_str() {
            return text.replace("$$", "$");
        }
        let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
        let value = match field.unwrap() {
            "metadata.name" => "shop-1",
            "metadata.namespace" => "market",
            "spec.serviceAccountName" => "cart",
            "status.podIP" => "10.1.0.1",
            field => panic!("{field}"),
        };
        value.to_owned()
    }

    /// What injection says is for nobody but the agent: a variable that it does not read is a promise not kept.
    #[test]
    fn every_variable_of_injection_is_read() {
        let mut written = written(POD);
        let asked = RefCell::new(BTreeSet::new());
        let told = Told::read(&|name| {
            asked.borrow_mut().insert(name.to_owned());
            written.get(name).cloned()
        });
        let want = Told {
            workload: Some("shop".to_owned()),
            name: Some("shop-1".to_owned()),
            namespace: Some("market".to_owned()),
            service_account: Some("cart".to_owned()),
            trust_domain: Some("mesh.test".to_owned()),
            cluster_id: Some("west".to_owned()),
            interception: Some(Interception::None),
            dns_capture: Some(false),
            dns_auto_allocate: Some(false),
            ports: BTreeMap::from([("web".to_owned(), 8080)]),
            address: Some([10, 1, 0, 1].into()),
            proxy_config: ProxyConfig {
                concurrency: Some(3),
                status_port: Some(16020),
                termination_drain_duration: Some(Duration::from_secs(20)),
            },
            probers: written.get(APP_PROBERS).cloned(),
            prometheus_annotations: written.get(PROMETHEUS_ANNOTATIONS).cloned(),
        };
        assert_eq!(told.unwrap(), want);
        let asked = asked.into_inner();
        // Both binaries read it, whose name it has from the SPIFFE project.
        assert!(written.remove(SPIFFE_ENDPOINT_SOCKET).is_some());
        let unread: Vec<_> = written
            .keys()
            .filter(|name| !asked.contains(*name))
            .collect();
        assert!(unread.is_empty(), "{unread:?}");
        let unread = METADATA.iter().filter(|name| !asked.contains(**name));
        assert_eq!(unread.count(), 0);
        assert!(want.probers.unwrap().contains("/$(x)"));
        assert!(want.prometheus_annotations.is_some());
    }

    #[test]
    fn settings_that_nobody_reads_are_told() {
        let names = ["PATH", "ISTIO_META_OWNER", CLUSTER_ID, "ISTIO_META_HTTP10"];
        let told = unread(names.into_iter().map(str::to_owned));
        assert_eq!(told, "ISTIO_META_HTTP10, ISTIO_META_OWNER");
    }

    #[test]
    fn what_cannot_be_is_told_with_its_variable() {
        for (name, value) in [
            (INTERCEPTION_MODE, "TPROXY"),
            (DNS_CAPTURE, "perhaps"),
            (POD_PORTS, "{}"),
            (INSTANCE_IP, "pod"),
        ] {
            let told = Told::read(&|asked| (asked == name).then(|| value.to_owned()));
            let error = told.unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
        }
    }

    /// The rules let through what the data plane, and the probes, send from there.
    #[test]
    fn all_of_the_sidecar_come_from_the_same_addresses() {
        let Application {
            from_v4, from_v6, ..
        } = Told::default().application();
        assert_eq!(from_v4, dataplane::upstream::SIDECAR_V4);
        assert_eq!(from_v6, dataplane::upstream::SIDECAR_V6);
    }
}
