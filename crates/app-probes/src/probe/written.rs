//! Probes as injection writes them.
//!
//! Source: Kubernetes `ProbeHandler`, in the JSON of Istio's `ISTIO_KUBE_APP_PROBERS`.

use super::InvalidProbers;
use http::header::{HOST, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use url::{Position, Url};

/// How long a probe may take that does not say it.
///
/// Source: Kubernetes `Probe.timeoutSeconds`.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a hook may take: the kubelet ends it before, with the pod's grace period.
const HOOK_TIMEOUT: Duration = Duration::from_secs(3600);

/// Probes by path, and what is to be said about them.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) probers: BTreeMap<String, Prober>,
    pub(super) remarks: Vec<String>,
}

/// A probe, or a hook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Prober {
    pub(super) ask: Ask,
    /// From connecting to the end of the answer.
    pub(super) timeout: Duration,
}

/// How the application is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Ask {
    Http(HttpGet),
    Tcp { port: u16 },
    Grpc { port: u16, service: Arc<str> },
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct HttpGet {
    pub(super) port: u16,
    pub(super) is_https: bool,
    pub(super) target: PathAndQuery,
    /// Absent: what the kubelet sends, with this port.
    pub(super) host: Option<HeaderValue>,
    /// They replace what the kubelet sends.
    pub(super) headers: HeaderMap,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenProber {
    http_get: Option<WrittenHttpGet>,
    tcp_socket: Option<WrittenTcpSocket>,
    grpc: Option<WrittenGrpc>,
    timeout_seconds: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenHttpGet {
    #[serde(deserialize_with = "port")]
    port: u16,
    scheme: Option<String>,
    path: Option<String>,
    host: Option<String>,
    http_headers: Option<Vec<WrittenHeader>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHeader {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTcpSocket {
    #[serde(deserialize_with = "port")]
    port: u16,
    host: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGrpc {
    #[serde(deserialize_with = "port")]
    port: u16,
    service: Option<String>,
}

/// Reads all of them.
pub(super) fn parse(json: &str) -> Result<Parsed, InvalidProbers> {
    let written: BTreeMap<String, WrittenProber> =
        serde_json::from_str(json).map_err(InvalidProbers::Json)?;
    let mut parsed = Parsed::default();
    for (path, prober) in written {
        parsed.remarks.extend(prober.remark(&path));
        let prober = prober.checked(&path)?;
        parsed.probers.insert(path, prober);
    }
    Ok(parsed)
}

impl WrittenProber {
    fn remark(&self, path: &str) -> Option<String> {
        let host = self.tcp_socket.as_ref()?.host.as_deref();
        let host = host.filter(|host| !host.is_empty())?;
        Some(format!(
            "{path}: tcpSocket.host: `{host}` is not connected to, but the pod's address"
        ))
    }

    fn checked(self, path: &str) -> Result<Prober, InvalidProbers> {
        let default = default_timeout(path).ok_or_else(|| InvalidProbers::Path(path.to_owned()))?;
        let said = self.timeout_seconds.filter(|seconds| *seconds > 0);
        let timeout = said.map_or(default, |seconds| Duration::from_secs(seconds.into()));
        let http = self.http_get.map(|get| get.checked(path).map(Ask::Http));
        let tcp = self.tcp_socket.map(|tcp| Ok(Ask::Tcp { port: tcp.port }));
        let grpc = self.grpc.map(|grpc| {
            Ok(Ask::Grpc {
                port: grpc.port,
                service: grpc.service.unwrap_or_default().into(),
            })
        });
        let mut ways = [http, tcp, grpc].into_iter().flatten();
        match (ways.next(), ways.count()) {
            (Some(ask), 0) => Ok(Prober { ask: ask?, timeout }),
            (first, more) => Err(InvalidProbers::Ways {
                path: path.to_owned(),
                count: usize::from(first.is_some()) + more,
            }),
        }
    }
}

/// By the kind that the path is of. Absent: it is no such path.
fn default_timeout(path: &str) -> Option<Duration> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let (area, container, end) = (parts.next()?, parts.next()?, parts.next()?);
    let is_known = !container.is_empty() && parts.next().is_none();
    match (area, end) {
        ("app-health", "readyz" | "livez" | "startupz") if is_known => Some(PROBE_TIMEOUT),
        ("app-lifecycle", "prestopz" | "poststartz") if is_known => Some(HOOK_TIMEOUT),
        _ => None,
    }
}

impl WrittenHttpGet {
    fn checked(self, path: &str) -> Result<HttpGet, InvalidProbers> {
        let invalid = |field, value: &str, problem| InvalidProbers::Value {
            path: path.to_owned(),
            field,
            value: value.to_owned(),
            problem,
        };
        let is_https = match self.scheme.as_deref() {
            None | Some("" | "HTTP") => false,
            Some("HTTPS") => true,
            Some(other) => {
                let problem = "is neither HTTP nor HTTPS";
                return Err(invalid("httpGet.scheme", other, problem));
            }
        };
        let written = self.path.unwrap_or_default();
        let target = target(&written)
            .ok_or_else(|| invalid("httpGet.path", &written, "is no path, write `/healthz`"))?;
        let mut host = self.host.filter(|host| !host.is_empty());
        if let Some(host) = &mut host {
            *host = with_port(host, self.port);
        }
        let mut headers = HeaderMap::new();
        for WrittenHeader { name, value } in self.http_headers.unwrap_or_default() {
            if name.eq_ignore_ascii_case(HOST.as_str()) || name == ":authority" {
                host = Some(value);
                continue;
            }
            let known = HeaderName::try_from(&name)
                .map_err(|_| invalid("httpGet.httpHeaders.name", &name, "is no header's name"))?;
            let value = HeaderValue::try_from(&value)
                .map_err(|_| invalid("httpGet.httpHeaders.value", &value, "cannot be sent"))?;
            headers.append(known, value);
        }
        let host = match host {
            None => None,
            Some(host) => Some(
                HeaderValue::try_from(&host)
                    .map_err(|_| invalid("httpGet.host", &host, "is no host"))?,
            ),
        };
        Ok(HttpGet {
            port: self.port,
            is_https,
            target,
            host,
            headers,
        })
    }
}

/// A path, with or without the slash that it begins with. What has to be encoded is.
fn target(written: &str) -> Option<PathAndQuery> {
    let path = match written.starts_with('/') {
        true => written.to_owned(),
        false => format!("/{written}"),
    };
    let as_it_is = path.parse::<PathAndQuery>().ok();
    if let Some(target) = as_it_is.filter(|target| target.as_str() == path) {
        return Some(target);
    }
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*path, None),
    };
    let mut encoded = Url::parse("http://app").ok()?;
    encoded.set_path(path);
    encoded.set_query(query);
    encoded[Position::BeforePath..].parse().ok()
}

/// As the kubelet writes it, which connects to that host.
fn with_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// A number, or one in quotes: names were resolved when the probe was rewritten.
fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(i64),
        Text(String),
    }
    let number = match Written::deserialize(deserializer)? {
        Written::Number(number) => Ok(number),
        Written::Text(text) => text.parse::<i64>().map_err(|_| text),
    };
    match number {
        Ok(number) => u16::try_from(number)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| serde::de::Error::custom(format_args!("{number} is no port"))),
        Err(name) => Err(serde::de::Error::custom(format_args!(
            "`{name}` is the name of a port, which injection has to make a number of"
        ))),
    }
}
