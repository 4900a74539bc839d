//! What a workload sends.

use super::super::listener::Serving;
use super::super::manager::Application;
use super::super::sniff::{Begun, detect};
use super::super::{Limits, Transport};
use super::{Way, original};
use crate::Shared;
use crate::connection::{ConnectionInfo, Side};
use crate::tcp::TcpConnection;
use crate::tls::{HandshakeFailure, hello};
use bytes::Bytes;
use model::PortProtocol;
use rules::{Denial, Headless, OutboundListener, OutboundProtocol, OutboundTo, Reached};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Tells what a connection of the workload is.
pub(in crate::net) async fn outbound<A: Application>(
    socket: TcpStream,
    info: &mut ConnectionInfo,
    serving: &Serving<A>,
) -> Way {
    let shared = serving.app.shared();
    info.side = Side::Outbound;
    let snapshot = shared.snapshot();
    let headless = snapshot.headless.clone();
    let Some(listener) = info.outbound_in(&snapshot.table).cloned() else {
        // The listener has just become another.
        return Way::Over;
    };
    drop(snapshot);
    let is_redirected = listener.to == OutboundTo::OriginalDestination;
    if is_redirected && !original::settle(&socket, info) {
        drop(TcpConnection::denied(shared, info, "", Denial::Itself));
        return Way::Over;
    }
    let asked = Asked {
        listener,
        headless,
        shared,
    };
    let protocol = asked
        .listener
        .service(info.local, &asked.headless)
        .map(|one| one.protocol);
    match protocol {
        Some(OutboundProtocol::Http) => Way::http(Transport::plain(socket)),
        Some(OutboundProtocol::Tcp) => asked.send(socket, Bytes::new(), info),
        None if is_server_first(asked.listener.port(info.local)) => {
            asked.send(socket, Bytes::new(), info)
        }
        protocol => asked.look(protocol, socket, info, &serving.limits).await,
    }
}

/// Whether nobody is waited for on a port that nothing declares: SMTP, DNS, MySQL, MongoDB.
fn is_server_first(port: u16) -> bool {
    PortProtocol::of_service_port(None, None, port) != PortProtocol::Unspecified
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

/// A connection of which nothing was read.
struct Asked<'s> {
    listener: Arc<OutboundListener>,
    headless: Headless,
    shared: &'s Arc<Shared>,
}

impl Asked<'_> {
    /// Tells by what the client begins with. Whoever speaks TLS speaks first.
    async fn look(
        &self,
        protocol: Option<OutboundProtocol>,
        mut socket: TcpStream,
        info: &ConnectionInfo,
        limits: &Limits,
    ) -> Way {
        let is_tls_port = protocol == Some(OutboundProtocol::Tls);
        let patience = match is_tls_port {
            true => limits.handshake_timeout,
            false => limits.protocol_detection_timeout,
        };
        let (begun, prefix) = detect(&mut socket, Bytes::new(), patience).await;
        match begun {
            Begun::Failed => Way::Over,
            Begun::Http(protocol) if !is_tls_port => Way::Http {
                transport: Transport::plain(socket),
                sniffed: Some((protocol, prefix)),
            },
            Begun::Tls => self.send_tls(socket, prefix, info, limits).await,
            _ => self.send(socket, prefix, info),
        }
    }

    /// By the name in TLS.
    async fn send_tls(
        &self,
        mut socket: TcpStream,
        prefix: Bytes,
        info: &ConnectionInfo,
        limits: &Limits,
    ) -> Way {
        let read = read_hello(&mut socket, prefix, limits.handshake_timeout).await;
        let Some((sni, raw)) = read else {
            HandshakeFailure::TooSlow.record(info, self.shared);
            return Way::Over;
        };
        let reached = self
            .listener
            .reach_by_name(info.local, &sni, &self.headless);
        let connection = self.connection(reached, info, &sni);
        Way::bytes(connection, Transport::plain(socket), raw)
    }

    /// By the address alone.
    fn send(&self, socket: TcpStream, prefix: Bytes, info: &ConnectionInfo) -> Way {
        let connection = self.connection(self.listener.reach(info.local, &self.headless), info, "");
        Way::bytes(connection, Transport::plain(socket), prefix)
    }

    fn connection(&self, reached: Reached<'_>, info: &ConnectionInfo, sni: &str) -> TcpConnection {
        let shared = self.shared;
        let snapshot = shared.snapshot();
        match reached {
            Reached::Service(service) => {
                TcpConnection::routed(shared, &snapshot, info, sni, &service.routes)
            }
            Reached::Passed(routes, _) => {
                let mut passed = TcpConnection::routed(shared, &snapshot, info, sni, routes);
                passed.was_going_to(info.target());
                passed
            }
            Reached::Refused(denial) => TcpConnection::denied(shared, info, sni, denial),
        }
    }
}
