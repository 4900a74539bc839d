//! `[tls]`: where certificates and keys lie.

use serde::Deserialize;
use std::path::PathBuf;

/// Where certificates and keys lie.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Tls {
    /// The folder with a folder for each credential name. Empty: Secrets alone have names.
    pub certificates: PathBuf,
    /// The folder of the proxy's identity in the mesh. Empty: it has none.
    pub identity: PathBuf,
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::Misdirected;

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
