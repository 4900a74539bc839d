//! Kubernetes workloads in YAML or JSON, with the sidecar added: what `mesh-agent inject` does.
//!
//! [`inject`] works on text alone. What it gives out is the user's text with insertions, comments and all, so that it
//! can be reviewed and kept beside the original. [`InjectArgs`] are the flags of the command, and [`InjectArgs::run`]
//! reads and writes the files that they name.
//!
//! This crate asks no API server and knows nothing of namespaces' labels: what a file does not say, flags say. It writes
//! neither the ConfigMaps nor the Secrets that its pods mount.

mod annotations;
mod args;
mod catalogue;
mod change;
mod checks;
mod decide;
pub mod downward;
mod finding;
mod identity;
mod inject;
mod metrics;
mod native;
mod options;
mod pod;
mod probes;
mod proxy_config;
mod redirect;
mod run;
mod settings;
mod template;
mod user_volumes;
mod values;
mod workload;
mod yaml;

pub use args::InjectArgs;
pub use decide::Skipped;
pub use finding::Finding;
pub use identity::Identity;
pub use inject::{Injected, Workload, inject};
pub use options::{InjectOptions, Quantities};
pub use run::InjectFailure;
pub use values::{ConfigMapFile, InvalidValue, LogLevel, NativeSidecar, PullPolicy, Quantity};
