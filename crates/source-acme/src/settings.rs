//! What is wanted from which server.

use crate::{CredentialName, DirectoryUrl, Names};
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// Everything that is decided before the first order.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server tells its other URLs. An account belongs to one directory.
    pub directory: DirectoryUrl,
    /// A PEM file with the authorities that the server's own certificate is verified against, alone. Absent: the
    /// system's.
    pub ca_certificate: Option<PathBuf>,
    /// Whom the server may write to about the account: `mailto:ops@example.com`. May be empty.
    pub contact: Vec<String>,
    /// The folder of the account and the certificates. Made, for its owner only, when it is not there.
    pub storage: PathBuf,
    /// What kind of challenge is answered where the server leaves a choice.
    pub challenge: ChallengeKind,
    /// A customer account at the server that the ACME account is bound to when it is made.
    pub external_account: Option<ExternalAccount>,
    /// The certificates to hold.
    pub wanted: Vec<Wanted>,
}

/// A certificate to hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// The folder that it is stored in, under [`Settings::storage`].
    pub credential: CredentialName,
    /// What it is valid for.
    pub names: Names,
}

/// How a server is shown that a name leads here.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq)]
pub enum ChallengeKind {
    /// It asks over HTTP on port 80.
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// It asks over TLS on port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        })
    }
}

/// What a server gave out that wants to know its customers.
///
/// Source: RFC 8555, section 7.3.4.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExternalAccount {
    /// The name of the key.
    pub key_id: String,
    /// A file with the key, Base64 as servers print it. Read when the account is made.
    pub hmac_key_file: PathBuf,
}
