//! An endpoint as Pingora dials it.

use super::KeepAlive;
use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::HttpPeer;
use rules::{EndpointAddr, UpstreamProtocol};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Requests on one upstream HTTP/2 connection at a time. Pingora's default of 1 makes a connection for each.
const HTTP2_STREAMS: usize = 100;
/// Response bytes a slow client may leave waiting here, for one stream.
const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
/// Response bytes all streams of an upstream connection may leave waiting here.
const HTTP2_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Flipped in the pool's key to keep HTTP/2 connections of `useClientProtocol` from HTTP/1 requests.
const CLIENT_HTTP2: u64 = 1 << 62;
/// Marks the pool's keys that each serve one attempt.
const FRESH: u64 = 1 << 63;

/// One endpoint of a cluster: its address, and how it is dialled.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: EndpointAddr,
    /// What is known of its own idle timeout.
    pub keep_alive: std::sync::Arc<KeepAlive>,
    template: HttpPeer,
    as_client: bool,
    idle_timeout: Duration,
    connect_timeout: Duration,
}

/// How one attempt dials.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt {
    /// HTTP/1.1 whatever the cluster speaks, since HTTP/2 cannot carry an upgrade here.
    pub upgrade: bool,
    /// The client speaks HTTP/2, which matters to clusters that speak as their clients do.
    pub client_http2: bool,
    /// Not on a connection that was idle.
    pub fresh: bool,
    /// Bounds the connection, and each read of the response. Absent: only the cluster's connect timeout holds.
    pub timeout: Option<Duration>,
    /// Bounds the connection alone, when reads are not bounded.
    pub connect_timeout: Option<Duration>,
}

impl Upstream {
    /// An endpoint of `cluster`. `None` when its address cannot be dialled at all.
    pub fn new(
        address: &EndpointAddr,
        cluster: &rules::Cluster,
        keep_alive: std::sync::Arc<KeepAlive>,
    ) -> Option<Self> {
        let mut template = match address {
            EndpointAddr::Tcp(address) => HttpPeer::new(*address, false, String::new()),
            EndpointAddr::Unix(path) => HttpPeer::new_uds(path, false, String::new()).ok()?,
        };
        template.group_key = group_key(cluster);
        shape(&mut template, cluster.protocol);
        Some(Self {
            address: address.clone(),
            keep_alive,
            template,
            as_client: cluster.protocol == UpstreamProtocol::AsClient,
            idle_timeout: cluster.pool.idle_timeout,
            connect_timeout: cluster.pool.connect_timeout,
        })
    }

    /// What Pingora needs to make this attempt.
    pub fn peer(&self, attempt: Attempt) -> Box<HttpPeer> {
        let mut peer = Box::new(self.template.clone());
        let options = &mut peer.options;
        let bound = attempt.timeout.or(attempt.connect_timeout);
        let connect = bound.map_or(self.connect_timeout, |bound| {
            bound.min(self.connect_timeout)
        });
        options.connection_timeout = Some(connect);
        options.total_connection_timeout = Some(connect);
        options.read_timeout = attempt.timeout;
        options.idle_timeout = Some(self.keep_alive.idle_timeout(self.idle_timeout));
        if self.as_client && attempt.client_http2 {
            options.set_http_version(2, 2);
            peer.group_key ^= CLIENT_HTTP2;
        }
        if attempt.upgrade {
            peer.options.alpn = ALPN::H1;
        }
        if attempt.fresh {
            peer.options.idle_timeout = Some(Duration::ZERO);
            peer.group_key = unused_key();
        }
        peer
    }
}

/// Whom a pooled connection may serve: Pingora's own key leaves out most of what tells clusters apart.
fn group_key(cluster: &rules::Cluster) -> u64 {
    let mut hasher = DefaultHasher::new();
    cluster.key.hash(&mut hasher);
    (cluster.protocol == UpstreamProtocol::Http2).hash(&mut hasher);
    hasher.finish() & !(FRESH | CLIENT_HTTP2)
}

/// A key that no connection was ever pooled under. The pool forgets keys without connections, so that
/// any number of them may be used.
fn unused_key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    FRESH | NEXT.fetch_add(1, Relaxed)
}

fn shape(peer: &mut HttpPeer, protocol: UpstreamProtocol) {
    let options = &mut peer.options;
    match protocol {
        // A template does not know the client: an attempt for one that speaks HTTP/2 changes this.
        UpstreamProtocol::Http1 | UpstreamProtocol::AsClient | UpstreamProtocol::Tcp => {
            options.set_http_version(1, 1)
        }
        UpstreamProtocol::Http2 => options.set_http_version(2, 2),
    }
    options.max_h2_streams = HTTP2_STREAMS;
    options.h2_stream_window_size = Some(HTTP2_STREAM_WINDOW);
    options.h2_connection_window_size = Some(HTTP2_CONNECTION_WINDOW);
}
