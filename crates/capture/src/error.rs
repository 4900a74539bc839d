//! Why rules are not printed, installed or removed.

use crate::iptables::InstallError;
use crate::process::ToolError;
use crate::values::InvalidValue;
use std::io;
use std::path::PathBuf;

/// Why `mesh-agent iptables` did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag or an environment variable has no meaning.
    #[error(transparent)]
    Option(#[from] InvalidOption),
    /// Options that do not go together.
    #[error("{0}")]
    Conflict(String),
    /// The name servers are not known.
    #[error(
        "cannot read the name servers of {}; name another file by --resolv-conf, or capture all queries by \
         --capture-all-dns",
        path.display()
    )]
    NameServers {
        /// The file that has them.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: io::Error,
    },
    /// The tool that installs rules is not there.
    #[error(
        "{0} is not installed: install the package iptables, or nftables for --native-nftables"
    )]
    NoTool(String),
    /// The address that the agent's own connections come from cannot be added.
    #[error(
        "`ip` is not installed, and IPv6 needs it: install the package iproute2, or leave IPv6 out by --ipv6 off"
    )]
    NoIp,
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Others change the rules all the time.
    #[error("{0}: run it again")]
    Contended(String),
    /// What is to be said cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

impl Error {
    /// Whether the command line or the environment is wrong, rather than the machine: the exit code is 2.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Option(_) | Self::Conflict(_))
    }
}

impl From<InstallError> for Error {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Tool(error) => Self::Tool(error),
            InstallError::Contended(_) => Self::Contended(error.to_string()),
        }
    }
}

/// A flag or an environment variable whose value has no meaning.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct InvalidOption {
    /// The flag, as `--istio-inbound-ports`, or the environment variable.
    pub place: String,
    /// What is wrong.
    pub reason: InvalidValue,
}
