//! The labels of Istio's standard metrics.

use crate::ResponseFlags;
use std::fmt::Write as _;

/// Who counts the request: Istio's `reporter`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reporter {
    /// A gateway, or a sidecar for what its workload sends.
    Source,
    /// A sidecar for what its workload receives.
    Destination,
}

/// Whether the request came by mutual TLS, as far as the reporter can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SecurityPolicy {
    /// The source's side never knows.
    Unknown,
    /// The destination's side: a plain connection.
    None,
    /// The destination's side: mutual TLS.
    MutualTls,
}

/// A workload that sends requests: the gateway's own, or a sidecar's peer.
///
/// An empty value is shown as `unknown`, an empty revision as `latest`.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Workload {
    /// Its Deployment: `istio-ingressgateway`.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// Its canonical service.
    pub canonical_service: String,
    /// Its canonical revision.
    pub canonical_revision: String,
    /// `spiffe://td/ns/x/sa/y`
    pub principal: String,
    /// Its `app` label.
    pub app: String,
    /// Its `version` label.
    pub version: String,
    /// The Kubernetes cluster.
    pub cluster: String,
}

/// What a request was sent to: a service, and a workload where one is known.
///
/// An empty value is shown as `unknown`, an empty revision as `latest`.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Destination {
    /// The workload that served it.
    pub workload: Workload,
    /// The service in the registry: `reviews.default.svc.cluster.local`.
    pub service: String,
    /// Its short name: `reviews`.
    pub service_name: String,
    /// Its namespace.
    pub service_namespace: String,
}

/// The labels of a request or a connection that its configuration decides.
#[derive(Clone, Copy, Debug)]
pub struct RequestLabels<'l> {
    /// Who counts it.
    pub reporter: Reporter,
    /// Who sent it. For an ingress gateway: itself.
    pub source: &'l Workload,
    /// Where it went.
    pub destination: &'l Destination,
    /// How it came.
    pub security: SecurityPolicy,
}

/// The protocol of a request, as Istio's metrics tell it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RequestProtocol {
    /// `http`
    Http,
    /// `grpc`: the content type is `application/grpc`.
    Grpc,
}

/// The labels of a request that its outcome decides: all from closed sets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RequestOutcome {
    protocol: RequestProtocol,
    response_code: u16,
    grpc_status: Option<u8>,
    flags: ResponseFlags,
}

/// The last status code that gRPC defines.
const LAST_GRPC_STATUS: u32 = 16;

/// gRPC's UNKNOWN, for a status that gRPC does not define.
const GRPC_UNKNOWN: u8 = 2;

impl RequestOutcome {
    /// An HTTP request answered with `response_code`; one outside `100..=599` counts as 0, no answer.
    pub fn http(response_code: u16, flags: ResponseFlags) -> Self {
        let response_code = if (100..=599).contains(&response_code) {
            response_code
        } else {
            0
        };
        Self {
            protocol: RequestProtocol::Http,
            response_code,
            grpc_status: None,
            flags,
        }
    }

    /// A gRPC request. A `grpc-status` that gRPC does not define counts as 2, UNKNOWN; `None`: there was none.
    pub fn grpc(response_code: u16, grpc_status: Option<u32>, flags: ResponseFlags) -> Self {
        let known = |status: u32| {
            if status <= LAST_GRPC_STATUS {
                status as u8
            } else {
                GRPC_UNKNOWN
            }
        };
        Self {
            protocol: RequestProtocol::Grpc,
            grpc_status: grpc_status.map(known),
            ..Self::http(response_code, flags)
        }
    }
}

/// What is shown for a value that is not known.
const UNKNOWN: &str = "unknown";

/// What is shown for a revision that is not known.
const LATEST: &str = "latest";

/// The 25 labels in Istio's order, as they stand between the braces, without a comma at the end.
///
/// Source: Istio's `istio_stats` filter.
pub(super) fn render(labels: &RequestLabels<'_>, outcome: RequestOutcome) -> String {
    let mut text = Text(String::with_capacity(900));
    text.source(labels);
    text.destination(labels.destination);
    text.outcome(outcome);
    text.plain("connection_security_policy", security(labels.security));
    text.0
}

/// The 23 labels of Istio's metrics of TCP connections, like those of requests.
pub(super) fn render_tcp(labels: &RequestLabels<'_>, flags: ResponseFlags) -> String {
    let mut text = Text(String::with_capacity(900));
    text.source(labels);
    text.destination(labels.destination);
    text.plain("request_protocol", "tcp");
    text.plain("response_flags", &flags.to_string());
    text.plain("connection_security_policy", security(labels.security));
    text.0
}

struct Text(String);

impl Text {
    fn source(&mut self, labels: &RequestLabels<'_>) {
        let source = labels.source;
        self.plain("reporter", reporter(labels.reporter));
        self.label("source_workload", &source.workload);
        self.label("source_canonical_service", &source.canonical_service);
        self.revision("source_canonical_revision", &source.canonical_revision);
        self.label("source_workload_namespace", &source.namespace);
        self.label("source_principal", &source.principal);
        self.label("source_app", &source.app);
        self.label("source_version", &source.version);
        self.label("source_cluster", &source.cluster);
    }

    fn destination(&mut self, destination: &Destination) {
        let workload = &destination.workload;
        self.label("destination_workload", &workload.workload);
        self.label("destination_workload_namespace", &workload.namespace);
        self.label("destination_principal", &workload.principal);
        self.label("destination_app", &workload.app);
        self.label("destination_version", &workload.version);
        self.label("destination_service", &destination.service);
        self.label("destination_canonical_service", &workload.canonical_service);
        self.revision(
            "destination_canonical_revision",
            &workload.canonical_revision,
        );
        self.label("destination_service_name", &destination.service_name);
        self.label(
            "destination_service_namespace",
            &destination.service_namespace,
        );
        self.label("destination_cluster", &workload.cluster);
    }

    fn outcome(&mut self, outcome: RequestOutcome) {
        let grpc_status = outcome
            .grpc_status
            .map(|status| status.to_string())
            .unwrap_or_default();
        self.plain("request_protocol", protocol(outcome.protocol));
        self.plain("response_code", &outcome.response_code.to_string());
        self.plain("grpc_response_status", &grpc_status);
        self.plain("response_flags", &outcome.flags.to_string());
    }

    fn label(&mut self, name: &str, value: &str) {
        self.plain(name, if value.is_empty() { UNKNOWN } else { value });
    }

    fn revision(&mut self, name: &str, value: &str) {
        self.plain(name, if value.is_empty() { LATEST } else { value });
    }

    fn plain(&mut self, name: &str, value: &str) {
        let comma = if self.0.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{comma}{name}=\"");
        for char in value.chars() {
            match char {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                _ => self.0.push(char),
            }
        }
        self.0.push('"');
    }
}

fn reporter(reporter: Reporter) -> &'static str {
    match reporter {
        Reporter::Source => "source",
        Reporter::Destination => "destination",
    }
}

fn security(policy: SecurityPolicy) -> &'static str {
    match policy {
        SecurityPolicy::Unknown => UNKNOWN,
        SecurityPolicy::None => "none",
        SecurityPolicy::MutualTls => "mutual_tls",
    }
}

fn protocol(protocol: RequestProtocol) -> &'static str {
    match protocol {
        RequestProtocol::Http => "http",
        RequestProtocol::Grpc => "grpc",
    }
}
