//! The way upstream: clusters with their endpoints, and what is remembered about them.

mod cluster;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        unused_imports,
        reason = "attempts are not made through it yet"
    )
)]
pub(crate) mod dial;
mod keep_alive;
mod peer;
mod snapshot;
#[cfg_attr(not(test), expect(dead_code, reason = "snapshots do not hold it yet"))]
pub(crate) mod tls;

#[cfg(test)]
mod tests;

use pingora_core::server::configuration::ServerConf;

pub use cluster::Cluster;
pub use keep_alive::KeepAlive;
pub use peer::{Attempt, Upstream};
pub use snapshot::Snapshot;

/// How connectors of Pingora are made: without the system's authorities, which it would load for each of them, and
/// end the process where there are none. No upstream is asked for TLS through them.
pub(crate) fn connector_conf() -> ServerConf {
    ServerConf {
        threads: 1,
        ca_file: Some("/dev/null".to_owned()),
        ..ServerConf::default()
    }
}
