//! What clients of a forward proxy reach: the services of the registry, with the rules of `mesh`.

mod build;
mod listener;
mod mesh_rules;
mod service;
mod sidecar;
mod unknown;
mod view;

pub(super) use listener::ForwardProxyCompiler;
pub(super) use view::Surroundings;
