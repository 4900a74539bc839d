//! What a workload receives.

use super::super::listener::Serving;
use super::super::manager::Application;
use super::super::sniff::{Begun, detect};
use super::super::{Limits, Transport};
use super::{Way, original};
use crate::Shared;
use crate::connection::{ConnectionInfo, Side};
use crate::tcp::{MeshTls, TcpConnection};
use crate::tls::{self, HandshakeFailure, Handshakes, Turn, hello, is_hello};
use bytes::Bytes;
use rules::{Denial, InboundPort, MtlsMode, OutboundProtocol, TlsServer, alpn};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Tells what a connection to the workload is.
///
/// Source: Istio, inbound behaviour by the mode of PeerAuthentication and the protocol of the port.
pub(in crate::net) async fn inbound<A: Application>(
    socket: TcpStream,
    info: &mut ConnectionInfo,
    serving: &Serving<A>,
) -> Way {
    let shared = serving.app.shared();
    info.side = Side::Inbound;
    if !original::settle(&socket, info) {
        drop(TcpConnection::denied(shared, info, "", Denial::Itself));
        return Way::Over;
    }
    let Some(inbound) = info.inbound_in(&shared.snapshot().table).cloned() else {
        // The listener has just become another.
        return Way::Over;
    };
    let number = info.local.port();
    let arrived = Arrived {
        port: inbound.port(number).clone(),
        server: inbound.server.clone(),
        limits: &serving.limits,
        handshakes: &serving.handshakes,
        shared,
    };
    let setting = inbound.mtls.setting(number);
    match (setting.mode, arrived.port.tls.clone()) {
        (MtlsMode::Disable, Some(server)) => arrived.own_tls(socket, info, &server).await,
        (MtlsMode::Disable, None) => arrived.in_clear(socket, Bytes::new(), info).await,
        (MtlsMode::Permissive, _) => arrived.either(socket, info).await,
        (MtlsMode::Strict, _) => {
            let otherwise = HandshakeFailure::NotMutual(setting.origin.clone());
            let server = arrived.server.clone();
            arrived.only_tls(socket, info, &server, otherwise).await
        }
    }
}

/// A connection whose port is known.
struct Arrived<'s> {
    port: Arc<InboundPort>,
    /// Where the mesh's TLS ends.
    server: Arc<TlsServer>,
    limits: &'s Limits,
    handshakes: &'s Arc<Handshakes>,
    shared: &'s Arc<Shared>,
}

impl Arrived<'_> {
    /// Whatever it begins with is for the application.
    async fn in_clear(&self, mut socket: TcpStream, prefix: Bytes, info: &ConnectionInfo) -> Way {
        match self.port.protocol {
            OutboundProtocol::Http => Way::http(Transport::plain(socket)),
            OutboundProtocol::Tcp | OutboundProtocol::Tls => {
                self.forward(Transport::plain(socket), prefix, info)
            }
            OutboundProtocol::Unspecified => {
                let patience = self.limits.protocol_detection_timeout;
                let (begun, prefix) = detect(&mut socket, prefix, patience).await;
                self.begun(Transport::plain(socket), begun, prefix, info)
            }
        }
    }

    /// It may come in the mesh's TLS or not.
    async fn either(&self, mut socket: TcpStream, info: &mut ConnectionInfo) -> Way {
        let patience = match self.port.protocol {
            // The server may speak first: who does is told when it is reached.
            OutboundProtocol::Tcp | OutboundProtocol::Tls => return self.listen(socket, info),
            OutboundProtocol::Http => self.limits.head_timeout,
            OutboundProtocol::Unspecified => self.limits.protocol_detection_timeout,
        };
        let (begun, prefix) = detect(&mut socket, Bytes::new(), patience).await;
        let is_http_port = self.port.protocol == OutboundProtocol::Http;
        match begun {
            Begun::Tls => self.tls(socket, prefix, info).await,
            Begun::Other if is_http_port && prefix.is_empty() => Way::Over,
            // It waits for the server, and may begin with the mesh's TLS all the same.
            Begun::Other if prefix.is_empty() => self.listen(socket, info),
            // What is no HTTP is refused as such.
            Begun::Other if is_http_port => Way::Http {
                transport: Transport::plain(socket),
                sniffed: Some((super::Protocol::Http1, prefix)),
            },
            begun => self.begun(Transport::plain(socket), begun, prefix, info),
        }
    }

    /// Whoever speaks first decides.
    fn listen(&self, socket: TcpStream, info: &ConnectionInfo) -> Way {
        let mut connection = self.routed(info);
        connection.may_begin_mesh_tls(MeshTls {
            server: self.server.clone(),
            handshakes: self.handshakes.clone(),
            patience: self.limits.handshake_timeout,
            begins_within: self.limits.protocol_detection_timeout,
        });
        Way::bytes(connection, Transport::plain(socket), Bytes::new())
    }

    /// It comes in TLS: the mesh's, or an application's own, which goes through where bytes may.
    async fn tls(&self, mut socket: TcpStream, prefix: Bytes, info: &mut ConnectionInfo) -> Way {
        let turn = self.turn();
        let hello = {
            let mut ahead: &[u8] = &prefix;
            let mut stream = (&mut ahead).chain(&mut socket);
            timeout(self.limits.handshake_timeout, hello::read(&mut stream)).await
        };
        match hello {
            Err(_) => self.failed(&HandshakeFailure::TooSlow, info),
            Ok(Ok(hello)) if tls::speaks_mesh(&hello.accepted.client_hello()) => {
                self.end(hello, turn, socket, &self.server, info).await
            }
            Ok(_) if self.port.protocol == OutboundProtocol::Http => {
                reset(&socket);
                self.failed(&HandshakeFailure::ForeignTls, info)
            }
            Ok(Ok(hello)) => self.forward(Transport::plain(socket), hello.raw, info),
            Ok(Err(none)) => self.forward(Transport::plain(socket), none.raw, info),
        }
    }

    /// It has to come in the TLS of the Sidecar's listener.
    async fn own_tls(
        &self,
        socket: TcpStream,
        info: &mut ConnectionInfo,
        server: &Arc<TlsServer>,
    ) -> Way {
        self.only_tls(socket, info, server, HandshakeFailure::PlainHttp)
            .await
    }

    /// It has to come in TLS that ends at this server.
    async fn only_tls(
        &self,
        mut socket: TcpStream,
        info: &mut ConnectionInfo,
        server: &Arc<TlsServer>,
        otherwise: HandshakeFailure,
    ) -> Way {
        let turn = self.turn();
        let read = timeout(self.limits.handshake_timeout, hello::read(&mut socket)).await;
        match read {
            Err(_) => self.failed(&HandshakeFailure::TooSlow, info),
            Ok(Ok(hello)) => self.end(hello, turn, socket, server, info).await,
            Ok(Err(none)) if none.is_end() => self.failed(&none.failure, info),
            Ok(Err(none)) if is_hello(&none.raw) => self.failed(&none.failure, info),
            Ok(Err(_)) => {
                reset(&socket);
                self.failed(&otherwise, info)
            }
        }
    }

    /// A handshake whose hello is to be read.
    fn turn(&self) -> Turn<'_> {
        self.handshakes.turn(self.limits.handshake_timeout)
    }

    async fn end(
        &self,
        hello: hello::Hello,
        turn: Turn<'_>,
        socket: TcpStream,
        server: &Arc<TlsServer>,
        info: &mut ConnectionInfo,
    ) -> Way {
        let ended = tls::end(hello, socket, server, info, self.shared, turn).await;
        let Some((stream, facts)) = ended else {
            return Way::Over;
        };
        let spoken = facts.alpn.clone();
        info.tls = Some(facts);
        let mut transport = Transport::tls(stream);
        match self.port.protocol {
            OutboundProtocol::Http => Way::http(transport),
            OutboundProtocol::Tcp | OutboundProtocol::Tls => {
                self.forward(transport, Bytes::new(), info)
            }
            OutboundProtocol::Unspecified if spoken.is_some_and(|name| alpn::is_http(&name)) => {
                Way::http(transport)
            }
            OutboundProtocol::Unspecified => {
                let patience = self.limits.protocol_detection_timeout;
                let (begun, prefix) = detect(&mut transport, Bytes::new(), patience).await;
                self.begun(transport, begun, prefix, info)
            }
        }
    }

    fn begun(
        &self,
        transport: Transport,
        begun: Begun,
        prefix: Bytes,
        info: &ConnectionInfo,
    ) -> Way {
        match begun {
            Begun::Failed => Way::Over,
            Begun::Http(protocol) => Way::Http {
                transport,
                sniffed: Some((protocol, prefix)),
            },
            Begun::Tls | Begun::Other => self.forward(transport, prefix, info),
        }
    }

    fn forward(&self, transport: Transport, prefix: Bytes, info: &ConnectionInfo) -> Way {
        Way::bytes(self.routed(info), transport, prefix)
    }

    fn routed(&self, info: &ConnectionInfo) -> TcpConnection {
        let sni = info.tls.as_ref().and_then(|facts| facts.sni.as_deref());
        let snapshot = self.shared.snapshot();
        let routes = &self.port.routes;
        TcpConnection::routed(
            self.shared,
            &snapshot,
            info,
            sni.unwrap_or_default(),
            routes,
        )
    }

    fn failed(&self, failure: &HandshakeFailure, info: &ConnectionInfo) -> Way {
        failure.record(info, self.shared);
        Way::Over
    }
}

/// Makes the close to come a reset, as from Istio where there is no filter chain.
fn reset(socket: &TcpStream) {
    let _ = socket.set_zero_linger();
}
