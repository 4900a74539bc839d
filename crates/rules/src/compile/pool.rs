//! Istio's `ConnectionPoolSettings` to limits and times.

use super::Mesh;
use super::policy::EffectivePolicy;
use crate::{ConnectionPool, NO_IDLE_LIMIT};
use model::{ConnectionPoolSettings, HttpSettings, TcpSettings};
use std::time::Duration;

/// What holds for the connections and requests of a cluster.
pub(super) fn connection_pool(policy: &EffectivePolicy<'_>, mesh: &Mesh) -> ConnectionPool {
    let of_mesh = ConnectionPool {
        retry_budget: policy.of_all_ports.retry_budget.copied(),
        ..of_mesh(mesh)
    };
    match policy.connection_pool {
        Some(settings) => with(of_mesh, settings),
        None => of_mesh,
    }
}

/// What holds where no object says anything.
pub(super) fn of_mesh(mesh: &Mesh) -> ConnectionPool {
    ConnectionPool {
        connect_timeout: mesh.connect_timeout,
        ..ConnectionPool::default()
    }
}

/// What holds by these settings alone.
pub(super) fn of_settings(settings: &ConnectionPoolSettings, mesh: &Mesh) -> ConnectionPool {
    with(of_mesh(mesh), settings)
}

fn with(pool: ConnectionPool, settings: &ConnectionPoolSettings) -> ConnectionPool {
    let with_tcp = match &settings.tcp {
        Some(tcp) => with_tcp(pool, tcp),
        None => pool,
    };
    match &settings.http {
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
