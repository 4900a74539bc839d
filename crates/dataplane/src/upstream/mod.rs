//! The way upstream: clusters with their endpoints, and what is remembered about them.

mod cluster;
mod keep_alive;
mod peer;
mod snapshot;

#[cfg(test)]
mod tests;

pub use cluster::Cluster;
pub use keep_alive::KeepAlive;
pub use peer::{Attempt, Upstream};
pub use snapshot::Snapshot;
