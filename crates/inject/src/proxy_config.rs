//! `proxy.istio.io/config`: Istio's ProxyConfig, as far as it means something to the agent.

use crate::annotations::{Annotations, Said, path};
use crate::catalogue::closest_of;
use crate::downward::{METADATA, is_unread};
use crate::finding::Report;
use crate::settings::is_reserved;
use crate::yaml::{Node, Unreadable, read};
use model::{Limits, duration};
use std::time::Duration;

/// The annotation that has it.
pub(crate) const ANNOTATION: &str = "proxy.istio.io/config";

/// What a pod's ProxyConfig says. Absent: it says nothing about it.
#[derive(Debug, Default)]
pub(crate) struct ProxyConfig {
    pub(crate) hold_application: Option<bool>,
    /// How long the sidecar drains, as it is written and as it is meant.
    pub(crate) drain: Option<(String, Duration)>,
    /// Threads. 0: one a core.
    pub(crate) concurrency: Option<i64>,
    pub(crate) interception: Option<String>,
    pub(crate) status_port: Option<u16>,
    /// Environment variables of the sidecar, in their order.
    pub(crate) metadata: Vec<(String, String)>,
}

/// Fields of ProxyConfig that do nothing here.
///
/// Source: Istio `mesh/v1alpha1/proxy.proto`.
const IGNORED: [&str; 33] = [
    "availabilityZone",
    "binaryPath",
    "caCertificatesPem",
    "clusterName",
    "configPath",
    "controlPlaneAuthPolicy",
    "customConfigFile",
    "discoveryAddress",
    "discoveryRefreshDelay",
    "drainDuration",
    "envoyAccessLogService",
    "envoyMetricsService",
    "extraStatTags",
    "fileFlushInterval",
    "fileFlushMinSizeKb",
    "gatewayTopology",
    "image",
    "meshId",
    "parentShutdownDuration",
    "privateKeyProvider",
    "proxyAdminPort",
    "proxyBootstrapTemplatePath",
    "proxyHeaders",
    "proxyStatsMatcher",
    "readinessProbe",
    "runtimeValues",
    "sds",
    "serviceCluster",
    "statNameLength",
    "statsCompression",
    "statsdUdpAddress",
    "tracing",
    "tracingServiceName",
];

/// Fields that do something.
const HONOURED: [&str; 6] = [
    "concurrency",
    "holdApplicationUntilProxyStarts",
    "interceptionMode",
    "proxyMetadata",
    "statusPort",
    "terminationDrainDuration",
];

impl ProxyConfig {
    /// Reads what a pod says, and tells what has no meaning or no effect.
    pub(crate) fn read(annotations: &Annotations<'_>, report: &mut Report<'_>) -> Self {
        let mut config = Self::default();
        let Some(said) = annotations.get(ANNOTATION) else {
            return config;
        };
        match tree(said.value) {
            Ok(root) => root
                .entries()
                .iter()
                .for_each(|entry| config.field(&entry.key, &entry.value, said, report)),
            Err(why) => said.tell(report, &why),
        }
        config.tell_unread(said, report);
        config
    }

    fn field(&mut self, key: &str, value: &Node, said: Said<'_>, report: &mut Report<'_>) {
        let result = match key {
            "holdApplicationUntilProxyStarts" => store(
                &mut self.hold_application,
                value.as_bool(),
                "`true` or `false`",
            ),
            "concurrency" => {
                let threads = value
                    .as_int()
                    .filter(|threads| (0..=1024).contains(threads));
                store(
                    &mut self.concurrency,
                    threads,
                    "a number of threads, at most 1024, or 0 for one a core",
                )
            }
            "statusPort" => {
                let port = value.as_int().and_then(|port| u16::try_from(port).ok());
                let port = port.filter(|port| !is_reserved(*port));
                let expected = "a port that is no other of the agent's, or 0 for none";
                store(&mut self.status_port, port, expected)
            }
            "interceptionMode" => store(
                &mut self.interception,
                value.as_str().map(str::to_owned),
                "`REDIRECT` or `NONE`",
            ),
            "terminationDrainDuration" => {
                let drain = value
                    .as_str()
                    .and_then(|text| Some((text.to_owned(), duration::parse(text).ok()?)));
                store(&mut self.drain, drain, "a duration as in `5s` or `1m30s`")
            }
            "proxyMetadata" => self.metadata(value),
            _ => return tell_unused(key, said, report),
        };
        if let Err(why) = result {
            said.tell(report, &format!("`{key}`: {why}"));
        }
    }

    fn tell_unread(&self, said: Said<'_>, report: &mut Report<'_>) {
        let names = self.metadata.iter().map(|(name, _)| name);
        for name in names.filter(|name| is_unread(name)) {
            let message = format!("`proxyMetadata.{name}` has no effect");
            let help = format!("of this kind the agent reads {}", METADATA.join(", "));
            report.warn(
                said.at,
                &path(ANNOTATION),
                "annotation_ignored",
                [message, help],
            );
        }
    }

    /// Whether it has this variable.
    pub(crate) fn sets(&self, variable: &str) -> bool {
        self.metadata.iter().any(|(name, _)| name == variable)
    }

    fn metadata(&mut self, value: &Node) -> Result<(), String> {
        if !value.is_mapping() {
            return Err("must be an object of strings".to_owned());
        }
        for entry in value.entries() {
            let scalar = entry.value.scalar().filter(|_| !entry.value.is_null());
            let text = scalar.ok_or_else(|| format!("`{}` must be a string", entry.key))?;
            self.metadata.push((entry.key.clone(), text.text.clone()));
        }
        Ok(())
    }
}

fn tree(text: &str) -> Result<Node, String> {
    let limits = Limits {
        nesting: 16,
        nodes: 10_000,
        ..Limits::default()
    };
    let read = read(text, &limits)
        .map_err(|Unreadable { message, .. }| format!("is not YAML: {message}"))?;
    if let Some(Unreadable { message, .. }) = read.duplicate {
        return Err(message);
    }
    if read.root.is_mapping() || read.root.is_null() {
        Ok(read.root)
    } else {
        Err("must be an object".to_owned())
    }
}

fn store<T>(into: &mut Option<T>, value: Option<T>, expected: &str) -> Result<(), String> {
    match value {
        Some(value) => {
            *into = Some(value);
            Ok(())
        }
        None => Err(format!("it is {expected}")),
    }
}

fn tell_unused(key: &str, said: Said<'_>, report: &mut Report<'_>) {
    let (code, message, help) = if IGNORED.contains(&key) {
        let help =
            "it is about Envoy or istiod; what the agent has of the kind is in its bootstrap file";
        (
            "annotation_ignored",
            format!("`{key}` has no effect"),
            help.to_owned(),
        )
    } else {
        let closest = closest_of(key, HONOURED.into_iter().chain(IGNORED));
        let help = closest
            .map(|name| format!("did you mean `{name}`?"))
            .unwrap_or_default();
        (
            "unknown_annotation",
            format!("`{key}` is no field of ProxyConfig"),
            help,
        )
    };
    report.warn(said.at, &path(ANNOTATION), code, [message, help]);
}
