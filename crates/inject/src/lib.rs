//! Kubernetes workloads in YAML or JSON, with the sidecar added: what `mesh-agent inject` does.

mod annotations;
mod catalogue;
mod checks;
mod decide;
mod finding;
mod identity;
mod native;
mod options;
mod pod;
mod proxy_config;
mod redirect;
mod settings;
mod user_volumes;
mod values;
mod workload;
mod yaml;

pub use decide::Skipped;
pub use finding::Finding;
pub use identity::Identity;
pub use options::{InjectOptions, Quantities};
pub use values::{ConfigMapFile, InvalidValue, LogLevel, NativeSidecar, PullPolicy, Quantity};
