//! `[tls]`: where certificates and keys lie.

use certificates::SpiffeId;
use serde::{Deserialize, Deserializer, de};
use source_spiffe::{Endpoint, InvalidEndpoint};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where certificates and keys lie.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Tls {
    /// The folder with a folder for each credential name. Empty: Secrets alone have names.
    pub certificates: PathBuf,
    /// The folder of the proxy's identity in the mesh. Empty: it has none in files.
    pub identity: PathBuf,
    /// Where the identity is asked for otherwise: the SPIFFE Workload API. Absent or empty, and no folder either: what
    /// the environment says ([`Endpoint::VARIABLE`]), else the proxy has no identity.
    #[serde(deserialize_with = "unless_empty")]
    pub workload_api: Option<Endpoint>,
    /// Which of the identities that are issued there the proxy's is. Absent or empty: the first, which is the default.
    #[serde(deserialize_with = "unless_empty")]
    pub spiffe_id: Option<SpiffeId>,
    /// Whether files of keys may be readable by others than their owner.
    pub allow_readable_keys: bool,
    /// The answer to a request for a host that the TLS server of its connection does not serve.
    pub misdirected_status: MisdirectedStatus,
}

/// 421, so that the client asks again on another connection, or Istio's 404.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "u16")]
pub struct MisdirectedStatus(pub(crate) dataplane::Misdirected);

impl TryFrom<u16> for MisdirectedStatus {
    type Error = &'static str;

    fn try_from(status: u16) -> Result<Self, &'static str> {
        match status {
            421 => Ok(Self(dataplane::Misdirected::Status421)),
            404 => Ok(Self(dataplane::Misdirected::NotFound)),
            _ => Err("must be 421 or 404"),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificates: PathBuf::from("../certs"),
            identity: PathBuf::new(),
            workload_api: None,
            spiffe_id: None,
            allow_readable_keys: false,
            misdirected_status: MisdirectedStatus::default(),
        }
    }
}

impl Tls {
    /// The paths among these.
    pub(super) fn paths(&mut self) -> [&mut PathBuf; 2] {
        [&mut self.certificates, &mut self.identity]
    }

    /// Whether the proxy has an identity in the mesh, or waits for one.
    pub fn has_identity(&self) -> bool {
        self.workload_api.is_some() || self.has_folder()
    }

    /// Has what the environment says count where nothing else is said.
    ///
    /// # Errors
    /// When more than one place is named, or an identity and no place.
    pub(crate) fn complete(
        &mut self,
        environment: impl FnOnce() -> Result<Option<Endpoint>, InvalidEndpoint>,
    ) -> Result<(), InvalidIdentity> {
        if self.has_folder() {
            return match (&self.workload_api, &self.spiffe_id) {
                (Some(_), _) => Err(InvalidIdentity::Two),
                (None, Some(_)) => Err(InvalidIdentity::NamedInFolder),
                (None, None) => Ok(()),
            };
        }
        if self.workload_api.is_none() {
            self.workload_api = environment().map_err(InvalidIdentity::Environment)?;
        }
        match (&self.workload_api, &self.spiffe_id) {
            (None, Some(_)) => Err(InvalidIdentity::Nowhere),
            _ => Ok(()),
        }
    }

    fn has_folder(&self) -> bool {
        !self.identity.as_os_str().is_empty()
    }
}

/// What is wrong with where the identity is to come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum InvalidIdentity {
    #[error("identity and workload-api cannot both be given, the proxy has one identity")]
    Two,
    #[error("spiffe-id chooses among what workload-api issues, and identity is a folder with one")]
    NamedInFolder,
    #[error(
        "spiffe-id chooses among what workload-api issues, and neither that nor {} is given",
        Endpoint::VARIABLE
    )]
    Nowhere,
    #[error("the environment's {variable} {0}", variable = Endpoint::VARIABLE)]
    Environment(InvalidEndpoint),
}

/// A text that may be empty, which is none.
fn unless_empty<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = (!text.is_empty()).then(|| text.parse());
    parsed.transpose().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::Misdirected;

    const SOCKET: &str = "workload-api = 'unix:///run/spire/agent.sock'";
    const NAMED: &str = "spiffe-id = 'spiffe://mesh.test/ns/shop/sa/edge'";

    /// What is written, where the environment says this.
    fn complete(written: &[&str], variable: Option<&str>) -> Result<Tls, String> {
        let mut tls: Tls =
            toml::from_str(&written.join("\n")).map_err(|error| error.to_string())?;
        let environment = || variable.map(str::parse).transpose();
        tls.complete(environment)
            .map_err(|error| error.to_string())?;
        Ok(tls)
    }

    #[test]
    fn an_identity_comes_from_one_place() {
        let folder = "identity = 'own'";
        for (written, variable, want) in [
            (&[][..], None, None),
            (&["workload-api = ''", "spiffe-id = ''"], None, None),
            (&[SOCKET], None, Some("unix:///run/spire/agent.sock")),
            (
                &[SOCKET, NAMED],
                Some("junk"),
                Some("unix:///run/spire/agent.sock"),
            ),
            (
                &[NAMED],
                Some("tcp://127.0.0.1:1"),
                Some("tcp://127.0.0.1:1"),
            ),
            (&[], Some("unix:///a"), Some("unix:///a")),
            (&[folder], Some("unix:///a"), None),
        ] {
            let tls = complete(written, variable).unwrap();
            let endpoint = tls.workload_api.as_ref().map(ToString::to_string);
            assert_eq!(endpoint.as_deref(), want, "{written:?}");
            assert_eq!(tls.has_identity(), want.is_some() || written == [folder]);
        }
        for (written, variable, want) in [
            (&[folder, SOCKET][..], None, "cannot both be given"),
            (&[folder, NAMED], None, "identity is a folder with one"),
            (
                &[NAMED],
                None,
                "neither that nor SPIFFE_ENDPOINT_SOCKET is given",
            ),
            (
                &[],
                Some("/agent.sock"),
                "SPIFFE_ENDPOINT_SOCKET must begin with unix:// or tcp://",
            ),
            (
                &["workload-api = 'agent.sock'"],
                None,
                "must begin with unix://",
            ),
            (
                &["spiffe-id = 'edge'"],
                None,
                "does not begin with spiffe://",
            ),
        ] {
            let refused = complete(written, variable).unwrap_err();
            assert!(refused.contains(want), "{written:?}: {refused}");
        }
    }

    #[test]
    fn a_misdirected_request_gets_421_or_404() {
        for (text, want) in [
            ("", Misdirected::Status421),
            ("misdirected-status = 421", Misdirected::Status421),
            ("misdirected-status = 404", Misdirected::NotFound),
        ] {
            let tls: Tls = toml::from_str(text).unwrap();
            assert_eq!(tls.misdirected_status.0, want, "{text}");
        }
        assert!(toml::from_str::<Tls>("misdirected-status = 500").is_err());
    }
}
