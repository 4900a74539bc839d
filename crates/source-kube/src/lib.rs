//! Follows the objects of a Kubernetes API server, and pushes what changed.
//!
//! [`start`] runs everything on a thread of its own, with a task for each kind: it lists, watches, and begins again where
//! the API server wants that. Each object is sent as a file of its own, `kubernetes:KIND/NAMESPACE/NAME`, so that the same
//! code reads, checks and remembers it as if it lay in a folder. A kind that cannot be followed is an unreadable folder
//! `kubernetes:KIND`: what was read before stays in force, and an error says why.
//!
//! This crate decides nothing about objects but what of them is worth keeping: it takes off what only Kubernetes uses.
//!
//! Beside that it does what one of several replicas does, which is elected by a Lease: [`tell_status`] tells objects what
//! became of them, and [`share_orders`] has replicas order certificates together. And it reads and writes what has a name:
//! [`Secrets`], whoever else writes them, and whom the API server trusts to be a webhook ([`WebhookConfigurations`]).
//!
//! Source: Kubernetes API concepts, "Efficient detection of changes" and "Streaming lists".

mod acting;
mod asking;
mod connect;
mod election;
mod follow;
mod kinds;
mod known;
mod orders;
mod plan;
mod presence;
mod raw_object;
mod refusal;
mod replica;
mod runner;
mod scope;
mod secrets;
mod settings;
mod status;
mod timing;
mod trim;
mod webhooks;

#[cfg(test)]
mod tests;

pub use acting::Acting;
pub use asking::{Unanswered, Unwritten};
pub use connect::Unreachable;
pub use election::driver::Turn;
pub use orders::{Challenge, Orders, share_orders};
pub use replica::{InvalidProxyName, ProxyName, ReplicaSettings};
pub use runner::{Objects, start};
pub use secrets::{SecretData, Secrets, StoredSecret};
pub use settings::{Access, Settings, SidecarSettings};
pub use status::{Seen, tell_status};
pub use webhooks::{WebhookConfiguration, WebhookConfigurations, WebhookKind};
