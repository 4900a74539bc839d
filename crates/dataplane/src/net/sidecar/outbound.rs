//! What a workload sends.

use super::super::Transport;
use super::super::listener::Serving;
use super::super::manager::Application;
use super::super::sniff::{Begun, detect};
use super::{Way, original};
use crate::Shared;
use crate::connection::{ConnectionInfo, Side};
use crate::tcp::TcpConnection;
use crate::tls::{HandshakeFailure, hello};
use crate::upstream::Snapshot;
use bytes::Bytes;
use rules::{
    Denial, OutboundListener, OutboundProtocol, OutboundService, OutboundTo, Reached, Serves,
    Target, TcpRoutes,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Ports of protocols in which the server speaks first: SMTP, DNS, MySQL, MongoDB. Nobody is waited for there.
///
/// Source: Istio, well-known ports.
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

/// Tells what a connection of the workload is.
pub(in crate::net) async fn outbound<A: Application>(
    socket: TcpStream,
    info: &mut ConnectionInfo,
    serving: &Serving<A>,
) -> Way {
    let shared = serving.app.shared();
    info.side = Side::Outbound;
    let Some(listener) = listener_of(&shared.snapshot(), info) else {
        return Way::Over;
    };
    let is_redirected = listener.to == OutboundTo::OriginalDestination;
    if is_redirected && !original::settle(&socket, info) {
        drop(TcpConnection::denied(shared, info, "", Denial::Itself));
        return Way::Over;
    }
    let asked = Asked {
        port: listener.port(info.local),
        target: listener.target(info.local),
        listener,
    };
    let service = asked.service();
    match service.as_ref().map(|service| service.protocol) {
        Some(OutboundProtocol::Http) => Way::Http {
            transport: Transport::plain(socket),
            sniffed: None,
        },
        Some(OutboundProtocol::Tcp) => asked.send(service, socket, Bytes::new(), info, shared),
        None if SERVER_FIRST.contains(&asked.port) => {
            asked.send(None, socket, Bytes::new(), info, shared)
        }
        protocol => {
            // Whoever speaks TLS speaks first.
            let patience = match protocol {
                Some(OutboundProtocol::Tls) => serving.limits.handshake_timeout,
                _ => serving.limits.protocol_detection_timeout,
            };
            let patience = (patience, serving.limits.handshake_timeout);
            asked.look(service, socket, info, shared, patience).await
        }
    }
}

fn listener_of(snapshot: &Snapshot, info: &ConnectionInfo) -> Option<Arc<OutboundListener>> {
    let listener = snapshot.table.listener(&info.listener, info.local.ip())?;
    match &listener.serves {
        Serves::Outbound(outbound) => Some(outbound.clone()),
        // The listener has just become another.
        _ => None,
    }
}

/// The name that a client asks for, and what was read. What is no hello is forwarded all the same: it is none of ours.
/// `None`: it does not come to an end.
async fn read_hello(
    socket: &mut TcpStream,
    prefix: Bytes,
    patience: Duration,
) -> Option<(Box<str>, Bytes)> {
    let mut ahead: &[u8] = &prefix;
    let mut stream = (&mut ahead).chain(socket);
    let read = tokio::time::timeout(patience, hello::read(&mut stream)).await;
    Some(match read.ok()? {
        Ok(hello) => {
            let sni = hello.accepted.client_hello().server_name().map(Into::into);
            (sni.unwrap_or_default(), hello.raw)
        }
        Err(none) => (Box::default(), none.raw),
    })
}

/// What a connection is for, before anything was read of it.
struct Asked {
    listener: Arc<OutboundListener>,
    port: u16,
    /// Absent: only its requests tell.
    target: Option<Target>,
}

impl Asked {
    fn service(&self) -> Option<Arc<OutboundService>> {
        let target = self.target.as_ref()?;
        self.listener.outbound.service(target).cloned()
    }

    /// Tells by what the client begins with.
    async fn look(
        &self,
        service: Option<Arc<OutboundService>>,
        mut socket: TcpStream,
        info: &ConnectionInfo,
        shared: &Arc<Shared>,
        (patience, for_hello): (Duration, Duration),
    ) -> Way {
        let (begun, prefix) = detect(&mut socket, Bytes::new(), patience).await;
        let is_tls_port = service
            .as_ref()
            .is_some_and(|service| service.protocol == OutboundProtocol::Tls);
        match begun {
            Begun::Closed => Way::Over,
            Begun::Http(protocol) if !is_tls_port => Way::Http {
                transport: Transport::plain(socket),
                sniffed: Some((protocol, prefix)),
            },
            Begun::Tls => match read_hello(&mut socket, prefix, for_hello).await {
                Some((sni, raw)) => self.send_tls(service, socket, (&sni, raw), info, shared),
                None => {
                    HandshakeFailure::TooSlow.record(info, shared);
                    Way::Over
                }
            },
            _ => self.send(service, socket, prefix, info, shared),
        }
    }

    /// By the name in TLS, among those of the service that is at the address, or of the port's.
    fn send_tls(
        &self,
        service: Option<Arc<OutboundService>>,
        socket: TcpStream,
        (sni, raw): (&str, Bytes),
        info: &ConnectionInfo,
        shared: &Arc<Shared>,
    ) -> Way {
        let named = Target::new(sni, self.port).ok();
        let named = named.and_then(|named| self.listener.outbound.service(&named).cloned());
        let named = named.filter(|named| {
            let speaks_tls = matches!(
                named.protocol,
                OutboundProtocol::Tls | OutboundProtocol::Unspecified
            );
            let is_of = |service: &Arc<OutboundService>| service.origin == named.origin;
            speaks_tls && service.as_ref().is_none_or(is_of)
        });
        let snapshot = shared.snapshot();
        let connection = match named.or(service) {
            Some(service) => TcpConnection::routed(shared, &snapshot, info, sni, &service.routes),
            None => self.unknown(&snapshot, info, sni, shared),
        };
        Way::bytes(connection, Transport::plain(socket), raw)
    }

    /// By the address alone.
    fn send(
        &self,
        service: Option<Arc<OutboundService>>,
        socket: TcpStream,
        prefix: Bytes,
        info: &ConnectionInfo,
        shared: &Arc<Shared>,
    ) -> Way {
        let snapshot = shared.snapshot();
        let connection = match service {
            Some(service) => TcpConnection::routed(shared, &snapshot, info, "", &service.routes),
            None => self.unknown(&snapshot, info, "", shared),
        };
        Way::bytes(connection, Transport::plain(socket), prefix)
    }

    /// What is not in the registry goes where it was going, or nowhere.
    fn unknown(
        &self,
        snapshot: &Snapshot,
        info: &ConnectionInfo,
        sni: &str,
        shared: &Arc<Shared>,
    ) -> TcpConnection {
        let denied = |denial| TcpConnection::denied(shared, info, sni, denial);
        let Some(target) = &self.target else {
            return denied(Denial::NotInRegistry);
        };
        match self.listener.outbound.unknown(target) {
            Reached::Refused(denial) => denied(denial),
            Reached::Passed(routes, _) => self.passed(snapshot, info, sni, routes, shared),
            Reached::Service(service) => {
                TcpConnection::routed(shared, snapshot, info, sni, &service.routes)
            }
        }
    }

    fn passed(
        &self,
        snapshot: &Snapshot,
        info: &ConnectionInfo,
        sni: &str,
        routes: &TcpRoutes,
        shared: &Arc<Shared>,
    ) -> TcpConnection {
        let mut connection = TcpConnection::routed(shared, snapshot, info, sni, routes);
        connection.was_going_to(Target::of_address(info.local.ip(), info.local.port()));
        connection
    }
}
