//! Kubernetes workloads in YAML or JSON, with the sidecar added: what `mesh-agent inject` does.

mod yaml;
