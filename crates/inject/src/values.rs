//! Checked values of options and annotations.

use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// A text that is not what it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not possible: {expected}")]
pub struct InvalidValue {
    /// What was written.
    pub text: String,
    /// What is possible.
    pub expected: &'static str,
}

impl InvalidValue {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            expected,
        }
    }
}

/// Whether the sidecar is an init container with `restartPolicy: Always`, which Kubernetes has since 1.29. It starts
/// before the application and other init containers, and ends when the application has ended.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub enum NativeSidecar {
    /// Where pods have an end: of Jobs, CronJobs, and Pods that are not restarted.
    #[default]
    Auto,
    /// In every pod.
    Always,
    /// In no pod. Then pods that have an end do not come to it by themselves.
    Never,
}

impl FromStr for NativeSidecar {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "auto" => Ok(Self::Auto),
            "true" => Ok(Self::Always),
            "false" => Ok(Self::Never),
            _ => Err(InvalidValue::new(text, "it is `auto`, `true` or `false`")),
        }
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub enum PullPolicy {
    /// For every container that starts.
    Always,
    /// When the node has not got it.
    IfNotPresent,
    /// Not by Kubernetes.
    Never,
}

impl PullPolicy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl FromStr for PullPolicy {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let all = [Self::Always, Self::IfNotPresent, Self::Never];
        let expected = "it is `Always`, `IfNotPresent` or `Never`";
        all.into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| InvalidValue::new(text, expected))
    }
}

/// What the agent logs of itself.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What helps to find mistakes.
    Debug,
    /// What happens.
    Info,
    /// What may go wrong.
    Warn,
    /// What went wrong.
    Error,
    /// Nothing.
    Off,
}

impl LogLevel {
    /// As `mesh-agent run --log-level` takes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Off => "off",
        }
    }
}

impl FromStr for LogLevel {
    type Err = InvalidValue;

    /// Takes Envoy's names too, as annotations have them.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "trace" => Ok(Self::Trace),
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" | "critical" => Ok(Self::Error),
            "off" => Ok(Self::Off),
            _ => {
                let expected =
                    "it is `trace`, `debug`, `info`, `warning`, `error`, `critical` or `off`";
                Err(InvalidValue::new(text, expected))
            }
        }
    }
}

/// An amount as Kubernetes writes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Quantity(String);

impl Quantity {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Quantity {
    type Err = InvalidValue;

    /// Source: Kubernetes `resource.Quantity`, without signs and exponents.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let expected =
            "amounts are numbers, with a unit behind them as in `100m`, `0.5`, `64Mi` or `1G`";
        let unit_at = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let is_number = number.starts_with(|c: char| c.is_ascii_digit())
            && !number.ends_with('.')
            && number.matches('.').count() <= 1;
        let units = [
            "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
        ];
        if is_number && units.contains(&unit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue::new(text, expected))
        }
    }
}

/// A file in a ConfigMap.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct ConfigMapFile {
    /// Of the ConfigMap.
    pub name: String,
    /// Its key, which is the file's name.
    pub key: String,
}

impl Default for ConfigMapFile {
    fn default() -> Self {
        Self {
            name: "mesh-agent".to_owned(),
            key: "mesh-agent.toml".to_owned(),
        }
    }
}

impl fmt::Display for ConfigMapFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.key)
    }
}

impl FromStr for ConfigMapFile {
    type Err = InvalidValue;

    /// Reads `NAME/KEY`, or `NAME` with the default key.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let default = Self::default();
        let (name, key) = text.split_once('/').unwrap_or((text, &default.key));
        if !is_object_name(name) || !is_config_key(key) {
            return Err(InvalidValue::new(
                text,
                "it is the name of a ConfigMap, and after a `/` one of its keys",
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            key: key.to_owned(),
        })
    }
}

/// Whether Kubernetes would let an object have this name.
pub(crate) fn is_object_name(name: &str) -> bool {
    let is_part = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_part)
}

fn is_config_key(key: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !key.is_empty()
        && key.len() <= 253
        && key != "."
        && !key.starts_with("..")
        && key.bytes().all(is_allowed)
}

/// Has types be read from TOML as from the command line.
macro_rules! from_string {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }
    )*};
}

from_string!(
    NativeSidecar,
    PullPolicy,
    LogLevel,
    Quantity,
    ConfigMapFile,
    crate::Identity
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        for text in ["1", "100m", "0.5", "64Mi", "1G", "1.5Gi", "0"] {
            assert!(text.parse::<Quantity>().is_ok(), "{text}");
        }
        for text in [
            "", "m", "-1", "1.", ".5", "1.2.3", "64MB", "1 G", "1m1", "é",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_in_a_config_map() {
        let parse = |text: &str| text.parse::<ConfigMapFile>().map(|file| file.to_string());
        assert_eq!(parse("agent").unwrap(), "agent/mesh-agent.toml");
        assert_eq!(parse("a.b-c/x_Y.toml").unwrap(), "a.b-c/x_Y.toml");
        for text in ["", "/", "a/", "/b", "A", "-a", "a/b/c", "a/..b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn envoys_levels_are_ours() {
        assert_eq!("warning".parse(), Ok(LogLevel::Warn));
        assert_eq!("critical".parse(), Ok(LogLevel::Error));
        let error = "loud".parse::<LogLevel>().unwrap_err().to_string();
        assert!(
            error.starts_with("`loud` is not possible: it is `trace`"),
            "{error}"
        );
    }
}
