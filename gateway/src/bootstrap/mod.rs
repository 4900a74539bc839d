//! The bootstrap file.

mod acme;
mod dns;
mod forward_proxy;
mod health;
mod limits;
mod tls;

pub(crate) use acme::Acme;
pub(crate) use dns::Dns;
pub(crate) use forward_proxy::ForwardProxy;
pub(crate) use health::HealthChecks;
pub(crate) use limits::{Limits, Topology};
pub(crate) use tls::Tls;

use crate::args::DEFAULT_CONFIG;
use anyhow::Context;
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
pub(crate) struct Bootstrap {
    pub(crate) proxy: Proxy,
    pub(crate) resources: ResourceFiles,
    pub(crate) mesh: Mesh,
    pub(crate) listen: Listen,
    pub(crate) limits: Limits,
    pub(crate) topology: Topology,
    pub(crate) tls: Tls,
    pub(crate) dns: Dns,
    pub(crate) forward_proxy: ForwardProxy,
    pub(crate) acme: Option<Acme>,
    pub(crate) health_checks: HealthChecks,
    pub(crate) admin: Admin,
    pub(crate) status: Status,
    pub(crate) metrics: MetricsServer,
    pub(crate) access_log: AccessLog,
    pub(crate) drain: Drain,
    /// The folder of the file: what paths in Gateways are relative to.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

/// Who this gateway is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Proxy {
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// What `Gateway.spec.selector` is matched against.
    pub(crate) labels: Labels,
    /// Where it is: `region/zone/subzone`. Empty: unknown, so that no endpoint is nearer than another.
    pub(crate) locality: String,
    /// Threads that serve. 0: one a core.
    pub(crate) workers: usize,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            name: "istio-ingressgateway".to_owned(),
            namespace: "istio-system".to_owned(),
            labels: Labels::from([("istio".to_owned(), "ingressgateway".to_owned())]),
            locality: String::new(),
            workers: 0,
        }
    }
}

impl Proxy {
    /// The number of threads.
    pub(crate) fn threads(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }
}

/// Where resources come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct ResourceFiles {
    /// YAML and JSON files, and folders of such.
    pub(crate) files: Vec<PathBuf>,
    /// For objects that name none.
    pub(crate) default_namespace: String,
    /// Where the last good version of each object is kept. Empty: nowhere.
    pub(crate) last_good: PathBuf,
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
pub(crate) struct Mesh {
    pub(crate) domain_suffix: String,
    pub(crate) root_namespace: String,
    pub(crate) outbound_traffic_policy: OutboundTrafficPolicy,
    #[serde(deserialize_with = "path_normalization")]
    pub(crate) path_normalization: PathNormalization,
    /// Whether a mirrored request's host gets `-shadow` appended, as before Istio 1.28.
    pub(crate) shadow_host_suffix: bool,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            domain_suffix: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly,
            path_normalization: PathNormalization::default(),
            shadow_host_suffix: false,
        }
    }
}

/// What becomes of traffic to names that no ServiceEntry allows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum OutboundTrafficPolicy {
    RegistryOnly,
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
pub(crate) struct Listen {
    /// Where listeners are bound whose Gateway server names no `bind`.
    pub(crate) address: IpAddr,
    /// A Gateway server's port to the port bound here.
    pub(crate) ports: BTreeMap<u16, u16>,
    /// An explicit HTTP proxy.
    pub(crate) forward_proxy: Option<SocketAddr>,
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
        pub(crate) struct $name {
            pub(crate) address: SocketAddr,
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
pub(crate) struct AccessLog {
    /// Empty: nowhere.
    pub(crate) path: PathBuf,
    pub(crate) format: LogFormat,
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
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// How the process ends.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Drain {
    /// After SIGTERM: not ready, still accepting.
    #[serde(deserialize_with = "duration")]
    pub(crate) delay: Duration,
    /// Then connections in use may finish this long.
    #[serde(deserialize_with = "duration")]
    pub(crate) timeout: Duration,
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

/// Zero is told from absence.
fn duration_or_none<'de, D: Deserializer<'de>>(
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
pub(crate) struct InvalidBootstrap {
    file: PathBuf,
    line: usize,
    column: usize,
    message: String,
}

impl std::error::Error for InvalidBootstrap {}

impl InvalidBootstrap {
    /// The same beside what is wrong in resources.
    pub(crate) fn into_diagnostic(self) -> Diagnostic {
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
    /// Reads a file, and makes the paths in it relative to where the file is.
    pub(crate) fn load(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{}: cannot be read", file.display()))?;
        let bootstrap = Self::parse(file, &text)?;
        if let Some(problem) = bootstrap.forward_proxy.problem() {
            anyhow::bail!("{}: [forward-proxy]: {problem}", file.display());
        }
        Ok(bootstrap.relative_to(file.parent().unwrap_or_else(|| Path::new(""))))
    }

    /// That of a command which may be told resources: then it needs no file.
    pub(crate) fn of_command(config: Option<&Path>, resources: &[PathBuf]) -> anyhow::Result<Self> {
        let default = Path::new(DEFAULT_CONFIG);
        match config {
            Some(file) => Self::load(file),
            None if resources.is_empty() || default.exists() => Self::load(default),
            None => Ok(Self::without_file()),
        }
    }

    /// The defaults, as if they stood where the file would be.
    pub(crate) fn without_file() -> Self {
        let folder = Path::new(DEFAULT_CONFIG).parent();
        Self::default().relative_to(folder.unwrap_or_else(|| Path::new("")))
    }

    fn parse(file: &Path, text: &str) -> Result<Self, InvalidBootstrap> {
        toml::from_str(text).map_err(|error| {
            let (line, column) = place_of(text, error.span().map_or(0, |span| span.start));
            let message = error.message().trim().replace('\n', ", ");
            InvalidBootstrap {
                file: file.to_path_buf(),
                line,
                column,
                message,
            }
        })
    }

    fn relative_to(mut self, folder: &Path) -> Self {
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

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let refused = Bootstrap::parse(Path::new("gateway.toml"), text)
            .unwrap_err()
            .to_string();
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
        let bootstrap = Bootstrap::parse(Path::new("gateway.toml"), "").unwrap();
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
        let bootstrap = Bootstrap::parse(Path::new("c/gateway.toml"), text).unwrap();
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
