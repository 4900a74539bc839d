//! Follows the objects of a Kubernetes API server, and pushes what changed.
//!
//! [`start`] runs everything on a thread of its own, with a task for each kind: it lists, watches, and begins again where
//! the API server wants that. Each object is sent as a file of its own, `kubernetes:KIND/NAMESPACE/NAME`, so that the same
//! code reads, checks and remembers it as if it lay in a folder. A kind that cannot be followed is an unreadable folder
//! `kubernetes:KIND`: what was read before stays in force, and an error says why.
//!
//! This crate decides nothing about objects but what of them is worth keeping: it takes off what only Kubernetes uses.
//!
//! Source: Kubernetes API concepts, "Efficient detection of changes" and "Streaming lists".

mod connect;
mod election;
mod follow;
mod kinds;
mod refusal;
mod runner;
mod settings;
mod status;
mod timing;
mod trim;

#[cfg(test)]
mod tests;

pub use runner::start;
pub use settings::{Access, Settings};
pub use status::{InvalidProxyName, ProxyName, Seen, StatusSettings, Telling, tell_status};
