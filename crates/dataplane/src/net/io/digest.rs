//! What Pingora asks a connection about itself.

use super::{DownstreamIo, Protocol};
use crate::connection::ConnectionInfo;
use crate::net::Transport;
use crate::tls::TlsFacts;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// What costs nothing to know; requests find the rest in [`ConnectionInfo::tls`].
pub(super) fn ssl_digest(tls: &TlsFacts) -> Arc<SslDigest> {
    let (cipher, version) = (tls.cipher, tls.version);
    Arc::new(SslDigest::new(cipher, version, None, None, Vec::new()))
}

/// The addresses are those the connection was settled on: a PROXY header may have told them.
pub(super) fn socket_digest(transport: &Transport, info: &ConnectionInfo) -> Arc<SocketDigest> {
    let digest = SocketDigest::from_raw_fd(transport.socket().as_raw_fd());
    let _ = digest.peer_addr.set(Some(info.peer.into()));
    let _ = digest.local_addr.set(Some(info.local.into()));
    Arc::new(digest)
}

impl UniqueID for DownstreamIo {
    fn id(&self) -> UniqueIDType {
        self.transport.socket().as_raw_fd()
    }
}

impl Ssl for DownstreamIo {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl_digest.clone()
    }

    /// Pingora runs its HTTP/2 server on what says `h2` here, sniffed plain connections included.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(match self.protocol {
            Protocol::Http1 => ALPN::H1,
            Protocol::Http2 => ALPN::H2,
        })
    }
}

impl GetTimingDigest for DownstreamIo {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for DownstreamIo {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.proxy_digest.clone())
    }
}

impl GetSocketDigest for DownstreamIo {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket_digest.clone())
    }
}

impl Peek for DownstreamIo {}
