//! What a workload reaches: the services of the registry, with the rules of `mesh`.

mod build;
mod listener;
mod mesh_rules;
mod names;
mod service;
mod sidecar;
mod unknown;
mod view;

pub(super) use listener::ForwardProxyCompiler;
pub(super) use mesh_rules::is_of_mesh;
pub(super) use service::{connection_route, forwarding};
pub(super) use sidecar::Limits;
pub(super) use view::{Surroundings, View};
