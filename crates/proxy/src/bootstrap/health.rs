//! `[health-checks]`: which endpoints are asked whether they are well.

use super::duration;
use health::{Ask, Check, Statuses};
use http::uri::{Authority, PathAndQuery};
use model::HostPattern;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

/// More often, probes would be a load of their own.
const SHORTEST: Duration = Duration::from_millis(10);

/// Longer is a mistake.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks by service host, the most specific pattern first.
#[derive(Clone, Debug, Default)]
pub struct HealthChecks(BTreeMap<HostPattern, HealthCheck>);

/// The check of a host's endpoints.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
struct HealthCheck {
    /// The service port it is of. Absent: every one.
    port: Option<NonZeroU16>,
    check: Arc<Check>,
}

/// The keys of one check.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    protocol: Protocol,
    port: Option<NonZeroU16>,
    /// `http` and `grpc`. Absent: the service host.
    #[serde(default, deserialize_with = "authority")]
    host: Option<Authority>,
    /// `http`. Absent: `/`.
    #[serde(default, deserialize_with = "path")]
    path: Option<PathAndQuery>,
    /// `http`. Absent: 200.
    #[serde(default, deserialize_with = "statuses")]
    expected_statuses: Option<Statuses>,
    /// `grpc`. Absent: the whole server.
    service: Option<String>,
    #[serde(default = "ten_seconds", deserialize_with = "some_time")]
    interval: Duration,
    #[serde(default = "one_second", deserialize_with = "some_time")]
    timeout: Duration,
    /// Absent: a tenth of the interval.
    #[serde(default, deserialize_with = "jitter")]
    jitter: Option<Duration>,
    #[serde(default = "once")]
    healthy_threshold: NonZeroU32,
    #[serde(default = "thrice")]
    unhealthy_threshold: NonZeroU32,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    Http,
    Grpc,
    Tcp,
}

impl HealthChecks {
    /// Whether nobody is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The check of a service port: that of the most specific host among those that are of this port.
    pub fn of(&self, host: &str, port: u16) -> Option<&Arc<Check>> {
        let is_of = |check: &HealthCheck| check.port.is_none_or(|only| only.get() == port);
        let mut checks = self.0.iter();
        let (_, found) = checks.find(|(pattern, check)| pattern.matches(host) && is_of(check))?;
        Some(&found.check)
    }
}

impl<'de> Deserialize<'de> for HealthChecks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ByHost)
    }
}

/// Reads checks by host, and tells a host that is there twice in two spellings.
struct ByHost;

impl<'de> Visitor<'de> for ByHost {
    type Value = HealthChecks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table for each service host")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HealthChecks, A::Error> {
        let mut checks = BTreeMap::new();
        while let Some(Host(host)) = map.next_key()? {
            let check = map.next_value()?;
            if checks.contains_key(&host) {
                let twice = format_args!("[health-checks]: host `{host}` is there twice");
                return Err(A::Error::custom(twice));
            }
            checks.insert(host, check);
        }
        Ok(HealthChecks(checks))
    }
}

/// A service host, `*.suffix` or `*`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Host(HostPattern);

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let host = HostPattern::try_from(&*text)
            .map_err(|error| format!("[health-checks.{text:?}]: {error}"))?;
        if host.is_short() {
            return Err(format!(
                "[health-checks.{text:?}]: no service is called so, write the whole name: \
                 {text}.NAMESPACE.svc.cluster.local"
            ));
        }
        Ok(Self(host))
    }
}

impl TryFrom<Written> for HealthCheck {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        written.refuse_what_is_not_for_the_protocol()?;
        let jitter = written.jitter.unwrap_or(written.interval / 10);
        Ok(Self {
            port: written.port,
            check: Arc::new(Check {
                interval: written.interval,
                timeout: written.timeout,
                jitter,
                healthy_threshold: written.healthy_threshold,
                unhealthy_threshold: written.unhealthy_threshold,
                ask: written.ask(),
            }),
        })
    }
}

impl Written {
    fn refuse_what_is_not_for_the_protocol(&self) -> Result<(), String> {
        use Protocol::{Grpc, Http};
        let keys: [(&str, bool, &[Protocol]); 4] = [
            ("path", self.path.is_some(), &[Http]),
            (
                "expected-statuses",
                self.expected_statuses.is_some(),
                &[Http],
            ),
            ("service", self.service.is_some(), &[Grpc]),
            ("host", self.host.is_some(), &[Http, Grpc]),
        ];
        for (key, is_there, protocols) in keys {
            if is_there && !protocols.contains(&self.protocol) {
                return Err(format!(
                    "`{key}` is of no use with protocol {:?}, remove it",
                    self.protocol.name()
                ));
            }
        }
        Ok(())
    }

    fn ask(self) -> Ask {
        match self.protocol {
            Protocol::Http => Ask::Http {
                host: self.host,
                path: self.path.unwrap_or_else(|| PathAndQuery::from_static("/")),
                expected: self.expected_statuses.unwrap_or_default(),
            },
            Protocol::Grpc => Ask::Grpc {
                host: self.host,
                service: self.service.unwrap_or_default().into(),
            },
            Protocol::Tcp => Ask::Tcp,
        }
    }
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn once() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn thrice() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(2)
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration = duration(deserializer)?;
    if duration < SHORTEST {
        return Err(D::Error::custom("must be at least 10ms"));
    }
    not_too_long(duration)
}

fn jitter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    not_too_long(duration(deserializer)?).map(Some)
}

fn not_too_long<E: Error>(duration: Duration) -> Result<Duration, E> {
    if duration > LONGEST {
        return Err(E::custom("must be at most 24h"));
    }
    Ok(duration)
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathAndQuery>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let path = text.parse::<PathAndQuery>().ok();
    // A fragment would be cut off.
    match path.filter(|path| text.starts_with('/') && path.as_str() == text) {
        Some(path) => Ok(Some(path)),
        None => Err(D::Error::custom(format_args!(
            "`{text}` is no path, write `/healthz`"
        ))),
    }
}

fn authority<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Authority>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_plain = |authority: &Authority| {
        let has_port = authority.port_u16().is_some();
        !text.contains('@') && (has_port || authority.host() == text)
    };
    match text.parse::<Authority>().ok().filter(is_plain) {
        Some(authority) => Ok(Some(authority)),
        None => Err(D::Error::custom(format_args!(
            "`{text}` is no host, write `shop.example.com` or `shop.example.com:8000`"
        ))),
    }
}

fn statuses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Statuses>, D::Error> {
    let texts = Vec::<Status>::deserialize(deserializer)?;
    let texts: Vec<_> = texts.iter().map(|Status(text)| text).collect();
    Statuses::parse(&texts).map(Some).map_err(D::Error::custom)
}

/// `200`, `"200"` or `"200-299"`.
struct Status(String);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrText)
    }
}

struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = Status;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status, or a range of them as in `\"200-299\"`")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Status, E> {
        Ok(Status(number.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Status, E> {
        Ok(Status(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;
