//! The redirect rules of a pod: made, printed, installed and removed.
//!
//! [`IptablesArgs`] are the flags of `mesh-agent iptables`, Istio's and ours, and [`IptablesArgs::run`] does what they
//! ask for. [`CaptureOptions`] say what is captured; they come from those flags and the environment, or from a pod's
//! annotations. A [`Ruleset`] is what the options mean for one family of addresses: pure data, written as text for
//! `iptables-restore` or `nft`. Installing compares it with what is there, and changes what differs in one transaction
//! a table.
//!
//! This crate opens no socket, knows no other crate, and needs no runtime: it ends before the agent begins. It does
//! not do TPROXY, because the data plane accepts redirected connections only.

mod annotations;
mod args;
mod backend;
mod environment;
mod error;
mod hint;
mod install;
mod iptables;
mod lock;
mod machine;
mod nft;
mod options;
mod plan;
mod process;
mod restore;
mod ruleset;
mod saved;
mod values;

#[cfg(test)]
mod test_options;
#[cfg(test)]
mod test_tools;

pub use annotations::{InvalidAnnotation, unknown_annotations};
pub use args::IptablesArgs;
pub use error::{Error, InvalidOption};
pub use options::{CaptureOptions, DnsCapture, Interception, Ipv6, Layout, OwnerGroups, Selection};
pub use process::{ToolError, ToolFailure};
pub use ruleset::{Family, OWN_SOURCE_V4, OWN_SOURCE_V6, Ruleset};
pub use values::{Interface, InvalidValue, Owner};
