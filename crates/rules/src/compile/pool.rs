//! Istio's `ConnectionPoolSettings` to limits and times.

use super::Mesh;
use super::policy::EffectivePolicy;
use crate::{ConnectionPool, NO_IDLE_LIMIT};
use model::{HttpSettings, TcpSettings};
use std::time::Duration;

/// What holds for the connections and requests of a cluster.
pub(super) fn connection_pool(policy: &EffectivePolicy<'_>, mesh: &Mesh) -> ConnectionPool {
    let settings = policy.connection_pool;
    let of_mesh = ConnectionPool {
        connect_timeout: mesh.connect_timeout,
        retry_budget: policy.of_all_ports.retry_budget.copied(),
        ..ConnectionPool::default()
    };
    let with_tcp = match settings.and_then(|pool| pool.tcp.as_ref()) {
        Some(tcp) => with_tcp(of_mesh, tcp),
        None => of_mesh,
    };
    match settings.and_then(|pool| pool.http.as_ref()) {
        Some(http) => with_http(with_tcp, http),
        None => with_tcp,
    }
}

fn with_tcp(pool: ConnectionPool, tcp: &TcpSettings) -> ConnectionPool {
    ConnectionPool {
        max_connections: tcp.max_connections,
        connect_timeout: tcp.connect_timeout.unwrap_or(pool.connect_timeout),
        tcp_keepalive: tcp.tcp_keepalive,
        max_connection_duration: tcp.max_connection_duration,
        tcp_idle_timeout: tcp.idle_timeout.map(or_no_limit),
        // Of connections for requests too, unless `http` says something else.
        idle_timeout: tcp.idle_timeout.map_or(pool.idle_timeout, or_no_limit),
        ..pool
    }
}

fn with_http(pool: ConnectionPool, http: &HttpSettings) -> ConnectionPool {
    ConnectionPool {
        max_pending_requests: http.http1_max_pending_requests,
        max_requests: http.http2_max_requests,
        max_requests_per_connection: http.max_requests_per_connection,
        max_retries: http.max_retries,
        idle_timeout: http.idle_timeout.map_or(pool.idle_timeout, or_no_limit),
        max_concurrent_streams: http.max_concurrent_streams,
        http2_keep_alive: http.http2_keep_alive,
        ..pool
    }
}

fn or_no_limit(timeout: Duration) -> Duration {
    if timeout.is_zero() {
        NO_IDLE_LIMIT
    } else {
        timeout
    }
}
