//! The way upstream: clusters with their endpoints, and what is remembered about them.

mod cluster;
mod connection;
mod connections;
mod connector;
pub(crate) mod dial;
mod keep_alive;
mod kept;
mod on_demand;
mod peer;
mod snapshot;
mod streams;
mod sweep;
pub(crate) mod tls;
mod tracked;
mod way;

#[cfg(test)]
mod tests;

use pingora_core::server::configuration::ServerConf;

pub(crate) use cluster::Surroundings;
pub use cluster::{Cluster, Usage};
pub(crate) use connection::{Open, Use};
pub(crate) use connector::UpstreamConnector;
pub(crate) use dial::{DialError, UpstreamIo};
pub use dial::{SIDECAR_V4, SIDECAR_V6};
pub use keep_alive::KeepAlive;
pub(crate) use kept::{Kept, Overflow};
pub(crate) use on_demand::{NotFound, OnDemandClusters, implied};
pub(crate) use peer::Wrap;
pub use peer::{Attempt, Upstream};
pub use snapshot::Snapshot;
pub(crate) use streams::{Admission, Http2Upstream, Stream};
pub(crate) use sweep::start as look_after;
pub(crate) use tracked::connection_of;

/// How connectors of Pingora are made: without the system's authorities, which it would load for each of them, and
/// end the process where there are none. No upstream is asked for TLS through them.
pub(crate) fn connector_conf() -> ServerConf {
    ServerConf {
        threads: 1,
        ca_file: Some("/dev/null".to_owned()),
        ..ServerConf::default()
    }
}
