//! Kubernetes workloads in YAML or JSON, with the sidecar added: what `mesh-agent inject` does.

mod identity;
mod options;
mod values;
mod yaml;

pub use identity::Identity;
pub use options::{InjectOptions, Quantities};
pub use values::{ConfigMapFile, InvalidValue, LogLevel, NativeSidecar, PullPolicy, Quantity};
