//! Follows the proxy's identity in the mesh at the SPIFFE Workload API, and pushes changes.
//!
//! [`start`] runs everything on a thread of its own: it asks for X.509-SVIDs, keeps the stream of answers open, and
//! sends what comes as [`config::Message::Identity`]. When the stream ends it is opened again, with growing pauses
//! while that fails. Nothing here is fatal to the process, and what was issued before stays with who was told.
//!
//! What a server takes back, with `PermissionDenied` or by leaving it out, stays as well until it runs out, which is
//! soon: servers say the same while they start or lag behind, and a mesh must not stop for that.
//!
//! This crate reads no certificate and checks no key: who is told does. It writes nothing to disk, and no key to a log.
//!
//! Source: SPIFFE Workload API, section 5, and SPIFFE Workload Endpoint.

mod call;
mod choice;
mod endpoint;
mod failure;
mod frame;
mod runner;
mod timing;
mod workload_api;

#[cfg(test)]
mod tests;

pub use endpoint::{Endpoint, InvalidEndpoint};
pub use runner::{Settings, start};
