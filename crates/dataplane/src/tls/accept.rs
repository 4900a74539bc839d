//! From an accepted socket to a connection of TLS, or to one that goes through.

use super::alert::{Alert, say};
use super::config::{self, Ready};
use super::facts::TlsFacts;
use super::failure::HandshakeFailure;
use super::hello::{self, Hello};
use crate::net::{Encrypted, Limits, ReadAhead, linger};
use crate::upstream::Snapshot;
use crate::{Challenges, ConnectionInfo, Shared};
use bytes::Bytes;
use rules::{TlsAction, TlsServer, TlsTermination, alpn};
use rustls::pki_types::UnixTime;
use rustls::server::{Accepted, ClientHello};
use rustls::{HandshakeKind, ServerConfig};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::StartHandshake;

/// What a connection on a TLS port became.
pub(crate) enum Incoming {
    /// HTTP in TLS that ended here.
    Http(Box<Encrypted>, Arc<TlsFacts>),
    /// HTTP to a forward proxy, in TLS that ended here.
    ForwardProxy(Box<Encrypted>, Arc<TlsFacts>),
    /// Bytes in TLS that ended here.
    Tcp(Box<Encrypted>, Arc<TlsFacts>, Routed),
    /// TLS that goes through, with the bytes that were read of it.
    Through(TcpStream, Bytes, Routed),
}

/// Who takes a connection that is not HTTP.
pub(crate) struct Routed {
    /// The configuration that chose the server.
    pub(crate) snapshot: Arc<Snapshot>,
    /// The server.
    pub(crate) server: Arc<TlsServer>,
    /// What the client asked for, in lower case.
    pub(crate) sni: Option<Box<str>>,
}

/// The handshakes that are going on.
pub(crate) struct Handshakes(Semaphore);

impl Handshakes {
    /// As many at once as the limits allow.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self(Semaphore::new(limits.handshakes))
    }

    /// One of them, which may take as long as this from now on.
    pub(crate) fn turn(&self, patience: Duration) -> Turn<'_> {
        Turn {
            handshakes: self,
            deadline: Instant::now() + patience,
        }
    }
}

/// A handshake that is to come. It counts once it costs something: a client that only connects keeps nobody away.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'h> {
    handshakes: &'h Handshakes,
    deadline: Instant,
}

impl<'h> Turn<'h> {
    /// Waits until the client has begun, or its time is over.
    pub(crate) async fn wait_for(&self, socket: &TcpStream) {
        // Whatever there is, or is not, is found when the hello is read.
        let _ = timeout_at(self.deadline, socket.readable()).await;
    }

    async fn take(&self) -> Result<SemaphorePermit<'h>, HandshakeFailure> {
        let turn = timeout_at(self.deadline, self.handshakes.0.acquire()).await;
        turn.ok()
            .and_then(Result::ok)
            .ok_or(HandshakeFailure::TooMany)
    }
}

/// Brings a connection through its handshake. `None`: it failed, which is counted.
pub(crate) async fn accept(
    socket: TcpStream,
    info: &ConnectionInfo,
    shared: &Arc<Shared>,
    turn: Turn<'_>,
) -> Option<Incoming> {
    let done = timeout_at(turn.deadline, begin(socket, info, shared, turn)).await;
    let done = done.unwrap_or(Err(HandshakeFailure::TooSlow));
    done.unwrap_or_else(|failure| {
        failure.record(info, shared);
        None
    })
}

async fn begin(
    mut socket: TcpStream,
    info: &ConnectionInfo,
    shared: &Arc<Shared>,
    turn: Turn<'_>,
) -> Result<Option<Incoming>, HandshakeFailure> {
    let read = hello::read(&mut socket).await;
    let Hello { accepted, raw } = read.map_err(|none| {
        if !none.answer.is_empty() {
            say(&socket, &none.answer);
        }
        none.failure
    })?;
    let hello = accepted.client_hello();
    let sni: Option<Box<str>> = hello.server_name().map(Into::into);
    if let Some(config) = challenge(&hello, sni.as_deref(), &shared.challenges) {
        handshake(accepted, socket, config, turn).await?;
        return Ok(None);
    }
    let snapshot = shared.snapshot();
    let listener = info.listener_in(&snapshot.table);
    let server = listener.and_then(|listener| listener.tls_server(sni.as_deref()));
    let Some(server) = server.cloned() else {
        Alert::UnrecognizedName.send(&socket);
        return Err(HandshakeFailure::UnknownServer(sni.map(Into::into)));
    };
    if matches!(server.action, TlsAction::AutoPassthrough(_)) && !speaks_mesh(&hello) {
        Alert::UnrecognizedName.send(&socket);
        return Err(HandshakeFailure::NotOfTheMesh(sni.map(Into::into)));
    }
    let routed = Routed {
        snapshot,
        server,
        sni,
    };
    let Some(tls) = routed.server.termination() else {
        return Ok(Some(Incoming::Through(socket, raw, routed)));
    };
    drop(raw);
    let ended = end_tls(
        accepted,
        socket,
        &routed.snapshot,
        &routed.server,
        tls,
        turn,
    )
    .await;
    let (stream, facts) =
        ended.map_err(|failure| failure.at(&routed.server, routed.sni.as_deref()))?;
    Ok(Some(match routed.server.action {
        TlsAction::Https { .. } => Incoming::Http(stream, facts),
        TlsAction::ForwardProxy { .. } => Incoming::ForwardProxy(stream, facts),
        _ => Incoming::Tcp(stream, facts, routed),
    }))
}

/// Whether the client offers a protocol by which the mesh's proxies know each other. Whoever spells a cluster is
/// led to it, so nobody else may.
///
/// Source: Istio, `AUTO_PASSTHROUGH`.
pub(crate) fn speaks_mesh(hello: &ClientHello<'_>) -> bool {
    hello
        .alpn()
        .is_some_and(|mut offered| offered.any(alpn::is_of_mesh))
}

/// The configuration for an ACME server that validates a name.
fn challenge(
    hello: &ClientHello<'_>,
    sni: Option<&str>,
    challenges: &Challenges,
) -> Option<Arc<ServerConfig>> {
    let mut offered = hello.alpn()?;
    if offered.next() != Some(Challenges::TLS_ALPN) || offered.next().is_some() {
        return None;
    }
    config::challenge(challenges.tls_alpn01(sni?)?).ok()
}

/// Ends the TLS of a client whose hello was read, at a server that is known. `None`: it failed, which is counted.
pub(crate) async fn end(
    hello: Hello,
    socket: TcpStream,
    server: &Arc<TlsServer>,
    info: &ConnectionInfo,
    shared: &Arc<Shared>,
    turn: Turn<'_>,
) -> Option<(Box<Encrypted>, Arc<TlsFacts>)> {
    let tls = server.termination()?;
    let snapshot = shared.snapshot();
    let sni: Option<Box<str>> = hello.accepted.client_hello().server_name().map(Into::into);
    let ending = end_tls(hello.accepted, socket, &snapshot, server, tls, turn);
    let ended = match timeout_at(turn.deadline, ending).await {
        Ok(ended) => ended.map_err(|failure| failure.at(server, sni.as_deref())),
        Err(_) => Err(HandshakeFailure::TooSlow),
    };
    ended.map_err(|failure| failure.record(info, shared)).ok()
}

async fn end_tls(
    accepted: Accepted,
    socket: TcpStream,
    snapshot: &Snapshot,
    server: &Arc<TlsServer>,
    tls: &Arc<TlsTermination>,
    turn: Turn<'_>,
) -> Result<(Box<Encrypted>, Arc<TlsFacts>), HandshakeFailure> {
    let ready = snapshot
        .terminations
        .of(server)
        .map(|termination| &termination.ready);
    let ready = match ready {
        Some(Ok(ready)) => ready,
        other => {
            Alert::InternalError.send(&socket);
            let why = other.and_then(|ready| ready.as_ref().err());
            let why = why.map_or("it was not published", String::as_str);
            return Err(HandshakeFailure::NotReady {
                server: server.clone(),
                why: why.to_owned(),
            });
        }
    };
    let config = config_for(&accepted.client_hello(), ready);
    let stream = handshake(accepted, socket, config, turn).await?;
    let session = stream.get_ref().1;
    verify_again(ready, session).map_err(|error| {
        linger(stream.get_ref().0.get_ref());
        HandshakeFailure::rejected(io::Error::new(io::ErrorKind::InvalidData, error))
    })?;
    let facts = TlsFacts::new(server, tls, ready.local_uri.clone(), session);
    Ok((Box::new(stream), Arc::new(facts)))
}

/// With or without a protocol to agree on.
fn config_for(hello: &ClientHello<'_>, ready: &Ready) -> Arc<ServerConfig> {
    let spoken = &ready.config.alpn_protocols;
    let in_common = hello
        .alpn()
        .is_none_or(|mut offered| offered.any(|name| spoken.iter().any(|own| own == name)));
    if in_common {
        ready.config.clone()
    } else {
        ready.without_alpn.clone()
    }
}

async fn handshake(
    accepted: Accepted,
    socket: TcpStream,
    config: Arc<ServerConfig>,
    turn: Turn<'_>,
) -> Result<Encrypted, HandshakeFailure> {
    let _turn = turn.take().await?;
    let start = StartHandshake::from_parts(accepted, ReadAhead::new(socket));
    let done = start.into_stream(config).into_fallible().await;
    done.map_err(|(error, socket)| {
        // The alert that says why must not be lost to what the client still sends.
        linger(socket.get_ref());
        HandshakeFailure::rejected(error)
    })
}

/// A resumed session brings the client's certificate along, which may have expired meanwhile.
fn verify_again(ready: &Ready, session: &rustls::ServerConnection) -> Result<(), rustls::Error> {
    let (Some(verifier), Some(HandshakeKind::Resumed)) =
        (&ready.verifier, session.handshake_kind())
    else {
        return Ok(());
    };
    match session.peer_certificates() {
        Some([leaf, intermediates @ ..]) => verifier
            .verify_client_cert(leaf, intermediates, UnixTime::now())
            .map(drop),
        _ if verifier.client_auth_mandatory() => Err(rustls::Error::NoCertificatesPresented),
        _ => Ok(()),
    }
}
