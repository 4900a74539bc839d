//! The bootstrap file.

mod acme;
mod capture;
mod dns;
mod forward_proxy;
mod health;
mod kubernetes;
mod limits;
mod tls;

pub use acme::Acme;
pub use capture::{AutoAllocate, Capture, InterceptionMode, everywhere};
pub use dns::Dns;
pub use forward_proxy::ForwardProxy;
pub use health::HealthChecks;
pub use kubernetes::{Kubernetes, SidecarKubernetes};
pub use limits::{Limits, SidecarTopology, Topology};
pub use tls::Tls;

use model::{Diagnostic, Labels, OutboundMode, Position, Severity};
use rules::PathNormalization;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that is decided before any resource is read. Paths are relative to the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Bootstrap {
    /// Who the proxy is.
    pub proxy: Proxy,
    /// Where resources come from.
    pub resources: ResourceFiles,
    /// The API server that has more of them. Absent: none is asked.
    pub kubernetes: Option<Kubernetes>,
    /// Istio's MeshConfig.
    pub mesh: Mesh,
    /// Where requests arrive.
    pub listen: Listen,
    /// What clients may take.
    pub limits: Limits,
    /// The proxies before this one.
    pub topology: Topology,
    /// Where certificates and keys lie.
    pub tls: Tls,
    /// How names are resolved.
    pub dns: Dns,
    /// How clients of the forward proxy are treated.
    pub forward_proxy: ForwardProxy,
    /// Where certificates are ordered. Absent: nowhere.
    #[serde(deserialize_with = "acme::kept_once")]
    pub acme: Option<Acme>,
    /// Which endpoints are asked whether they are well.
    pub health_checks: HealthChecks,
    /// Pages for operators.
    pub admin: Admin,
    /// Readiness.
    pub status: Status,
    /// Metrics for Prometheus.
    pub metrics: MetricsServer,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// How the process ends.
    pub drain: Drain,
    /// How the connections of a workload come to its sidecar. Absent: the proxy is no sidecar.
    #[serde(skip)]
    pub capture: Option<Capture>,
    /// The folder of the file: what paths in Gateways are relative to.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Who this proxy is. The defaults are a gateway's.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Proxy {
    /// Its name: that of its workload in metrics.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What `Gateway.spec.selector` is matched against.
    pub labels: Labels,
    /// Where it is: `region/zone/subzone`. Empty: unknown, so that no endpoint is nearer than another.
    pub locality: String,
    /// Threads that serve. 0: one a core.
    pub workers: usize,
    /// Its service account in the mesh. Empty: unknown.
    pub service_account: String,
    /// The Kubernetes cluster it is in, for metrics. Empty: unknown.
    pub cluster_id: String,
    /// The ports of a sidecar's workload, by the names that Services may have for them.
    #[serde(skip)]
    pub ports: BTreeMap<String, u16>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            name: "istio-ingressgateway".to_owned(),
            namespace: "istio-system".to_owned(),
            labels: Labels::from([("istio".to_owned(), "ingressgateway".to_owned())]),
            locality: String::new(),
            workers: 0,
            service_account: String::new(),
            cluster_id: String::new(),
            ports: BTreeMap::new(),
        }
    }
}

impl Proxy {
    /// The number of threads.
    pub fn threads(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }
}

/// Where resources come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ResourceFiles {
    /// YAML and JSON files, and folders of such.
    pub files: Vec<PathBuf>,
    /// For objects that name none.
    pub default_namespace: String,
    /// Where the last good version of each object is kept. Empty: nowhere.
    pub last_good: PathBuf,
}

impl Default for ResourceFiles {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            default_namespace: "default".to_owned(),
            last_good: PathBuf::from(".last-good"),
        }
    }
}

/// Istio's MeshConfig.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Mesh {
    /// What a short host name ends in.
    pub domain_suffix: String,
    /// Whose objects hold for everybody.
    pub root_namespace: String,
    /// What becomes of what is not in the registry.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// What paths are normalised to.
    #[serde(deserialize_with = "path_normalization")]
    pub path_normalization: PathNormalization,
    /// Whether a mirrored request's host gets `-shadow` appended, as before Istio 1.28.
    pub shadow_host_suffix: bool,
    /// The trust domain of the mesh's identities. Absent: [`Mesh::trust_domain`] tells the default.
    pub trust_domain: Option<String>,
    /// Others whose identities are those of the mesh's own.
    pub trust_domain_aliases: Vec<String>,
    /// Whether mutual TLS is begun with endpoints of the mesh, if there is an identity to do that with.
    pub enable_auto_mtls: bool,
    /// How long a client of a sidecar may take to begin where what it speaks is not known.
    #[serde(deserialize_with = "duration")]
    pub protocol_detection_timeout: Duration,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            domain_suffix: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly,
            path_normalization: PathNormalization::default(),
            shadow_host_suffix: false,
            trust_domain: None,
            trust_domain_aliases: Vec::new(),
            enable_auto_mtls: true,
            protocol_detection_timeout: Duration::from_secs(1),
        }
    }
}

impl Mesh {
    /// The trust domain of the mesh's identities.
    pub fn trust_domain(&self) -> &str {
        self.trust_domain.as_deref().unwrap_or("cluster.local")
    }
}

/// What becomes of traffic to names that no ServiceEntry allows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundTrafficPolicy {
    /// It is refused.
    RegistryOnly,
    /// It is let through.
    AllowAny,
}

impl From<OutboundTrafficPolicy> for OutboundMode {
    fn from(written: OutboundTrafficPolicy) -> Self {
        match written {
            OutboundTrafficPolicy::RegistryOnly => Self::RegistryOnly,
            OutboundTrafficPolicy::AllowAny => Self::AllowAny,
        }
    }
}

/// Where requests arrive.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Listen {
    /// Where listeners are bound whose Gateway server names no `bind`.
    pub address: IpAddr,
    /// A Gateway server's port to the port bound here.
    pub ports: BTreeMap<u16, u16>,
    /// An explicit HTTP proxy.
    pub forward_proxy: Option<SocketAddr>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: BTreeMap::new(),
            forward_proxy: None,
        }
    }
}

macro_rules! server {
    ($(#[$doc:meta])* $name:ident, $port:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct $name {
            /// Where it listens.
            pub address: SocketAddr,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, $port)) }
            }
        }
    };
}

server! {
    /// Pages for operators.
    Admin, 15000
}
server! {
    /// Readiness.
    Status, 15021
}
server! {
    /// Metrics for Prometheus.
    MetricsServer, 15020
}

/// Where requests are logged.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AccessLog {
    /// Empty: nowhere.
    pub path: PathBuf,
    /// How a line is written.
    pub format: LogFormat,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/dev/stdout"),
            format: LogFormat::Text,
        }
    }
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// As Istio.
    Text,
    /// An object a line.
    Json,
}

/// How the process ends.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Drain {
    /// After SIGTERM: not ready, still accepting.
    #[serde(deserialize_with = "duration")]
    pub delay: Duration,
    /// Then connections in use may finish this long.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    model::duration::parse(&text).map_err(|error| {
        serde::de::Error::custom(format_args!(
            "`{text}` {error}; write `5s`, `100ms` or `1m30s`"
        ))
    })
}

/// Reads a duration, for fields that are absent by default: zero is told from that.
///
/// # Errors
/// When it is no duration.
pub fn duration_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn path_normalization<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<PathNormalization, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(match &*text {
        "NONE" => PathNormalization::None,
        "BASE" => PathNormalization::Base,
        "MERGE_SLASHES" => PathNormalization::MergeSlashes,
        "DECODE_AND_MERGE_SLASHES" => PathNormalization::DecodeAndMergeSlashes,
        _ => {
            let expected = &["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];
            return Err(serde::de::Error::unknown_variant(&text, expected));
        }
    })
}

/// A bootstrap file that cannot be used, with its place: `gateway.toml:3:1: unknown field …`.
#[derive(Debug)]
pub struct InvalidBootstrap {
    file: PathBuf,
    line: usize,
    column: usize,
    message: String,
}

impl std::error::Error for InvalidBootstrap {}

impl InvalidBootstrap {
    /// A mistake in the text of a file.
    pub fn new(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let (line, column) = place_of(text, error.span().map_or(0, |span| span.start));
        Self {
            file: file.to_path_buf(),
            line,
            column,
            message: error.message().trim().replace('\n', ", "),
        }
    }

    /// The same beside what is wrong in resources.
    pub fn into_diagnostic(self) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: "invalid_bootstrap",
            resource: None,
            path: String::new(),
            message: self.message,
            help: None,
            position: Some(Position {
                file: self.file.to_string_lossy().into(),
                line: u32::try_from(self.line).unwrap_or(u32::MAX),
                column: u32::try_from(self.column).unwrap_or(u32::MAX),
            }),
        }
    }
}

impl fmt::Display for InvalidBootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
        } = self;
        write!(f, "{}:{line}:{column}: {message}", file.display())
    }
}

impl Bootstrap {
    /// Makes the paths relative to a folder.
    pub(crate) fn relative_to(mut self, folder: &Path) -> Self {
        self.folder = folder.to_path_buf();
        let last_good = &mut self.resources.last_good;
        let log = &mut self.access_log.path;
        let learned = &mut self.forward_proxy.learned;
        let tls = self.tls.paths();
        for path in self
            .resources
            .files
            .iter_mut()
            .chain([last_good, log, learned])
            .chain(tls)
        {
            if !path.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        }
        if let Some(acme) = &mut self.acme {
            acme.relative_to(folder);
        }
        if let Some(kubernetes) = &mut self.kubernetes {
            kubernetes.relative_to(folder);
        }
        self
    }
}

/// Line and column, from 1, of a byte.
fn place_of(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte)];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Bootstrap, InvalidBootstrap> {
        let parsed = toml::from_str(text);
        parsed.map_err(|error| InvalidBootstrap::new(Path::new("gateway.toml"), text, &error))
    }

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let refused = parse(text).unwrap_err().to_string();
        assert!(refused.contains(want), "{refused}");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        check_refused(
            "[proxy]\nnme = 'x'",
            "gateway.toml:2:1: unknown field `nme`",
        );
        check_refused("[prxy]", "gateway.toml:1:2: unknown field `prxy`");
        check_refused(
            "[drain]\ndelay = '5'",
            "gateway.toml:2:9: `5` is not a duration",
        );
        check_refused(
            "[listen]\naddress = 'home'",
            "gateway.toml:2:11: invalid IP address",
        );
        check_refused("[listen]\nports = { http = 1 }", "gateway.toml:2:");
        check_refused("[listen]\nports = { 80 = 65536 }", "gateway.toml:2:16: ");
        check_refused(
            "[mesh]\npath-normalization = 'base'",
            "gateway.toml:2:22: unknown variant `base`",
        );
        check_refused("[proxy\n", "gateway.toml:1:");
        check_refused(
            "[acme]\ndirectory = 'https://acme.test/'",
            "missing field `storage`",
        );
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        let bootstrap = parse("").unwrap();
        assert_eq!(bootstrap.proxy.labels["istio"], "ingressgateway");
        assert_eq!(bootstrap.drain.delay, Duration::from_secs(5));
        assert_eq!(bootstrap.admin.address.to_string(), "127.0.0.1:15000");
    }

    #[test]
    fn every_section_is_read() {
        let text = r#"
            [proxy]
            name = "edge"
            namespace = "shop"
            labels = { istio = "edge" }
            workers = 3
            [resources]
            files = ["resources", "/etc/more.yaml"]
            default-namespace = "shop"
            last-good = ""
            [mesh]
            domain-suffix = "mesh.test"
            root-namespace = "root"
            outbound-traffic-policy = "ALLOW_ANY"
            path-normalization = "MERGE_SLASHES"
            shadow-host-suffix = true
            [listen]
            address = "::1"
            ports = { 80 = 8080, 443 = 8443 }
            forward-proxy = "127.0.0.1:15080"
            [limits]
            connections = 10
            [topology]
            num-trusted-proxies = 1
            [tls]
            certificates = "../certificates"
            identity = "/etc/certs"
            allow-readable-keys = true
            [acme]
            directory = "https://acme.test/directory"
            ca-certificate = "ca.pem"
            contact = ["mailto:ops@example.com"]
            storage = "../certs/acme"
            credentials = { httpbin-cert = ["httpbin.example.com"] }
            [dns]
            servers = ["127.0.0.1:53"]
            [health-checks."*.shop.svc.cluster.local"]
            protocol = "tcp"
            [admin]
            address = "127.0.0.1:1"
            [status]
            address = "127.0.0.1:2"
            [metrics]
            address = "127.0.0.1:3"
            [access-log]
            path = "log"
            format = "json"
            [drain]
            delay = "1s"
            timeout = "100ms"
        "#;
        let bootstrap = parse(text).unwrap();
        let bootstrap = bootstrap.relative_to(Path::new("c"));
        assert_eq!(
            bootstrap.resources.files,
            [Path::new("c/resources"), Path::new("/etc/more.yaml")]
        );
        assert_eq!(bootstrap.resources.last_good, Path::new(""));
        assert_eq!(bootstrap.listen.ports[&443], 8443);
        assert_eq!(bootstrap.access_log.path, Path::new("c/log"));
        assert_eq!(bootstrap.tls.certificates, Path::new("c/../certificates"));
        assert_eq!(bootstrap.tls.identity, Path::new("/etc/certs"));
        assert_eq!(
            bootstrap.dns.settings.servers[0].to_string(),
            "127.0.0.1:53"
        );
        assert_eq!(bootstrap.drain.timeout, Duration::from_millis(100));
        assert!(!bootstrap.health_checks.is_empty());
        assert_eq!(
            bootstrap.mesh.outbound_traffic_policy,
            OutboundTrafficPolicy::AllowAny
        );
    }
}
