//! What one pod's sidecar is to be like: its annotations over the options.

use crate::annotations::Annotations;
use crate::downward::DNS_CAPTURE;
use crate::finding::Report;
use crate::native;
use crate::pod::Pod;
use crate::proxy_config::{self, ProxyConfig};
use crate::redirect;
use crate::values::Quantity;
use crate::workload::Kind;
use crate::yaml::Node;
use crate::{InjectOptions, LogLevel, user_volumes};
use capture::CaptureOptions;

/// The port of the agent's status where nothing says otherwise.
pub(crate) const STATUS_PORT: u16 = 15020;

const STATUS_PORT_ANNOTATION: &str = "status.sidecar.istio.io/port";

/// What a pod's sidecar is to be like.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) image: String,
    pub(crate) log_level: LogLevel,
    pub(crate) resources: Resources,
    /// Whether it is an init container that goes on.
    pub(crate) is_native: bool,
    /// Whether the application waits for it. A native sidecar makes it wait in any case.
    pub(crate) holds: bool,
    /// The port of probes and metrics. Absent: it has none.
    pub(crate) status_port: Option<u16>,
    pub(crate) readiness: Readiness,
    pub(crate) rewrites_probes: bool,
    pub(crate) merges_metrics: bool,
    /// Whether it may bind ports below 1024.
    pub(crate) binds_low_ports: bool,
    pub(crate) captures_dns: bool,
    pub(crate) redirect: CaptureOptions,
    pub(crate) config: ProxyConfig,
    /// Volumes of the pod, and where the sidecar has them, that the annotations name.
    pub(crate) volumes: Vec<Node>,
    pub(crate) mounts: Vec<Node>,
}

/// Requests and limits, by resource.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    pub(crate) requests: Vec<(&'static str, Quantity)>,
    pub(crate) limits: Vec<(&'static str, Quantity)>,
}

/// When the sidecar is said to be ready, in seconds and failures.
#[derive(Debug)]
pub(crate) struct Readiness {
    pub(crate) initial_delay: i32,
    pub(crate) period: i32,
    pub(crate) failures: i32,
}

impl Settings {
    /// Reads what a pod says. `None`: something is wrong with it, which is told.
    pub(crate) fn read(
        kind: Kind,
        pod: &Pod<'_>,
        annotations: &Annotations<'_>,
        options: &InjectOptions,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let before = report.errors();
        annotations.tell_ignored(report);
        tell_templates(annotations, report);
        let config = ProxyConfig::read(annotations, report);
        let status_port = status_port(annotations, &config, report);
        let level = |text: &str| text.parse::<LogLevel>().map_err(|why| why.to_string());
        let settings = Self {
            image: image(annotations, options, report),
            log_level: annotations
                .read("sidecar.istio.io/logLevel", report, level)
                .unwrap_or(options.log_level),
            resources: Resources::read(annotations, options, report),
            is_native: native::is_native(kind, pod, annotations, options, status_port, report),
            holds: config.hold_application.unwrap_or(options.hold_application),
            readiness: Readiness::read(annotations, report),
            rewrites_probes: annotations
                .truth("sidecar.istio.io/rewriteAppHTTPProbers", report)
                .unwrap_or(true),
            merges_metrics: annotations
                .truth("prometheus.istio.io/merge-metrics", report)
                .unwrap_or(true),
            binds_low_ports: annotations
                .truth("sidecar.istio.io/capNetBindService", report)
                .unwrap_or(false),
            captures_dns: captures_dns(&config, annotations, options, report),
            redirect: redirect::options(annotations, &config, report).unwrap_or_default(),
            volumes: user_volumes::volumes(annotations, report),
            mounts: user_volumes::mounts(annotations, report),
            status_port,
            config,
        };
        (report.errors() == before).then_some(settings)
    }
}

impl Resources {
    /// One of the annotations replaces all of the options, as in Istio: a limit of theirs could be below its request.
    fn read(
        annotations: &Annotations<'_>,
        options: &InjectOptions,
        report: &mut Report<'_>,
    ) -> Self {
        let mut read = |name, resource| {
            let amount = |text: &str| text.parse::<Quantity>().map_err(|why| why.to_string());
            annotations
                .read(name, report, amount)
                .map(|amount| (resource, amount))
        };
        let requests = [
            read("sidecar.istio.io/proxyCPU", "cpu"),
            read("sidecar.istio.io/proxyMemory", "memory"),
        ];
        let limits = [
            read("sidecar.istio.io/proxyCPULimit", "cpu"),
            read("sidecar.istio.io/proxyMemoryLimit", "memory"),
        ];
        if requests.iter().chain(&limits).any(Option::is_some) {
            let given = |amounts: [Option<_>; 2]| amounts.into_iter().flatten().collect();
            return Self {
                requests: given(requests),
                limits: given(limits),
            };
        }
        let given = |amounts: &crate::Quantities| {
            let cpu = amounts.cpu.clone().map(|amount| ("cpu", amount));
            let memory = amounts.memory.clone().map(|amount| ("memory", amount));
            cpu.into_iter().chain(memory).collect()
        };
        Self {
            requests: given(&options.requests),
            limits: given(&options.limits),
        }
    }
}

impl Readiness {
    /// Source of the defaults: Istio's Helm chart.
    fn read(annotations: &Annotations<'_>, report: &mut Report<'_>) -> Self {
        let mut read = |name, default| annotations.count(name, report).unwrap_or(default);
        Self {
            initial_delay: read("readiness.status.sidecar.istio.io/initialDelaySeconds", 0),
            period: read("readiness.status.sidecar.istio.io/periodSeconds", 15),
            failures: read("readiness.status.sidecar.istio.io/failureThreshold", 4),
        }
    }
}

fn image(
    annotations: &Annotations<'_>,
    options: &InjectOptions,
    report: &mut Report<'_>,
) -> String {
    let image = annotations.read("sidecar.istio.io/proxyImage", report, |text| {
        let is_name = !text.is_empty() && !text.contains(char::is_whitespace);
        if is_name {
            Ok(text.to_owned())
        } else {
            Err(format!(
                "`{text}` is not possible: it is the name of an image"
            ))
        }
    });
    image.unwrap_or_else(|| options.image.clone())
}

/// Whether a port is one of the agent's, but for that of its status.
pub(crate) fn is_reserved(port: u16) -> bool {
    matches!(port, 15000 | 15001 | 15006 | 15021 | 15053)
}

/// There is one template.
fn tell_templates(annotations: &Annotations<'_>, report: &mut Report<'_>) {
    annotations.read("inject.istio.io/templates", report, |text| {
        match text.trim() {
            "sidecar" => Ok(()),
            _ => Err(format!(
                "`{text}` is not possible: the only template is `sidecar`"
            )),
        }
    });
}

fn status_port(
    annotations: &Annotations<'_>,
    config: &ProxyConfig,
    report: &mut Report<'_>,
) -> Option<u16> {
    let port = annotations.read(STATUS_PORT_ANNOTATION, report, |text| {
        match text.trim().parse::<u16>() {
            Ok(port) if is_reserved(port) => {
                Err(format!("port {port} is another one of the agent's"))
            }
            Ok(port) => Ok(port),
            Err(_) => Err(format!(
                "`{text}` is not possible: it is a port, or 0 for none"
            )),
        }
    });
    Some(port.or(config.status_port).unwrap_or(STATUS_PORT)).filter(|port| *port != 0)
}

fn captures_dns(
    config: &ProxyConfig,
    annotations: &Annotations<'_>,
    options: &InjectOptions,
    report: &mut Report<'_>,
) -> bool {
    let said = config.metadata.iter().find(|(name, _)| name == DNS_CAPTURE);
    match said.map(|(_, value)| crate::annotations::truth(value)) {
        None => options.dns_capture,
        Some(Ok(captures)) => captures,
        Some(Err(why)) => {
            if let Some(said) = annotations.get(proxy_config::ANNOTATION) {
                said.tell(report, &format!("`proxyMetadata.{DNS_CAPTURE}`: {why}"));
            }
            false
        }
    }
}
