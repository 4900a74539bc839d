//! One listening socket and the task that accepts from it.

use super::Limits;
use super::manager::Application;
use super::own_ports::OwnPort;
use super::proxy_protocol::{self, Broken};
use super::registry::{Admitted, Refused, Registry};
use super::serve::serve;
use crate::connection::{ConnectionInfo, Side};
use crate::tls::Handshakes;
use pingora_core::server::ShutdownWatch;
use rules::ListenerKey;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long accepting rests when the process has no file descriptor left.
const EXHAUSTED_REST: Duration = Duration::from_millis(50);
/// Connections taken from the kernel's queue when a listener goes, so that none of them is reset.
const LAST_ACCEPTS: usize = 4096;

/// Ended connections remembered before they are swept out.
const SPARE_STATES: usize = 64;

/// Told of connections as they come, go, or are turned away. Metrics implement it.
pub trait ConnectionObserver: Send + Sync + 'static {
    /// A connection was accepted.
    fn opened(&self, listener: &ListenerKey);
    /// It ended.
    fn closed(&self, listener: &ListenerKey);
    /// A connection was closed at once.
    fn refused(&self, listener: &ListenerKey, why: Refused);
}

/// What all listeners share.
pub(super) struct Serving<A> {
    pub(super) app: Arc<A>,
    pub(super) limits: Limits,
    pub(super) registry: Arc<Registry>,
    pub(super) observer: Arc<dyn ConnectionObserver>,
    pub(super) handshakes: Arc<Handshakes>,
}

/// A bound port. Dropping it stops accepting; its connections finish what they serve.
pub(super) struct Listener {
    socket: Arc<TcpListener>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    drain: watch::Sender<bool>,
    connections: Arc<Connections>,
    #[expect(dead_code, reason = "what counts is that it is there")]
    own_port: OwnPort,
}

/// The connections of one listener.
struct Connections {
    key: ListenerKey,
    count: AtomicUsize,
    states: std::sync::Mutex<Vec<std::sync::Weak<super::ConnectionState>>>,
    /// Another listener accepts from the socket now.
    handed_over: AtomicBool,
}

impl Connections {
    fn remember(&self, state: &Arc<super::ConnectionState>) {
        let mut states = self
            .states
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // What ended is swept out once it is the greater part, so the list stays within what lives.
        if states.len() > 2 * self.count.load(Ordering::Relaxed) + SPARE_STATES {
            states.retain(|state| state.strong_count() > 0);
        }
        states.push(Arc::downgrade(state));
    }

    /// Tells each of them.
    fn tell(&self, what: fn(&super::ConnectionState)) {
        let states = self
            .states
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        states
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .for_each(|state| what(&state));
    }
}

impl Listener {
    /// Starts accepting on a bound socket.
    pub(super) fn start<A: Application>(
        key: ListenerKey,
        socket: Arc<TcpListener>,
        serving: Arc<Serving<A>>,
    ) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let (drain, drained) = watch::channel(false);
        let connections = Arc::new(Connections {
            key,
            count: AtomicUsize::new(0),
            states: std::sync::Mutex::default(),
            handed_over: AtomicBool::new(false),
        });
        let own_port = serving.app.shared().own_ports.hold(address.port());
        let acceptor = Acceptor {
            socket: socket.clone(),
            address,
            serving,
            stopped,
            drained,
            connections: connections.clone(),
        };
        tokio::spawn(acceptor.run());
        Ok(Self {
            socket,
            address,
            stop,
            drain,
            connections,
            own_port,
        })
    }

    /// The bound address, with the port the kernel chose when 0 was asked for.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket, for a listener of another key at the same address. This one accepts no more.
    pub(super) fn hand_over(&self) -> Arc<TcpListener> {
        self.connections.handed_over.store(true, Ordering::Release);
        self.socket.clone()
    }

    /// From now on every answer is the last of its connection. New connections are still accepted.
    pub(super) fn announce_end(&self) {
        let _ = self.drain.send(true);
        self.connections.tell(super::ConnectionState::announce_end);
    }

    /// Connections open on it.
    pub(super) fn connections(&self) -> usize {
        self.connections.count.load(Ordering::Relaxed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The acceptor may have ended by itself; then nobody listens, which is what is wanted.
        let _ = self.stop.send(true);
        let _ = self.drain.send(true);
        self.connections
            .tell(super::ConnectionState::close_when_idle);
    }
}

struct Acceptor<A> {
    socket: Arc<TcpListener>,
    address: SocketAddr,
    serving: Arc<Serving<A>>,
    stopped: watch::Receiver<bool>,
    drained: ShutdownWatch,
    connections: Arc<Connections>,
}

impl<A: Application> Acceptor<A> {
    async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        loop {
            tokio::select! {
                biased;
                _ = stopped.changed() => break,
                accepted = self.socket.accept() => self.accepted(accepted).await,
            }
        }
        if !self.connections.handed_over.load(Ordering::Acquire) {
            self.accept_last();
        }
    }

    async fn accepted(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((socket, peer)) => self.admit(socket, peer),
            // The client gave up before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(listener = %self.address, %error, "cannot accept connections");
                tokio::time::sleep(EXHAUSTED_REST).await;
            }
        }
    }

    /// Takes what the kernel has completed already: closing the socket would reset it.
    fn accept_last(&mut self) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..LAST_ACCEPTS {
            let std::task::Poll::Ready(Ok((socket, peer))) = self.socket.poll_accept(&mut context)
            else {
                return;
            };
            self.admit(socket, peer);
        }
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr) {
        let observer = &self.serving.observer;
        match self.serving.registry.admit(peer) {
            Ok(admitted) => self.spawn(socket, peer, admitted),
            Err(why) => observer.refused(&self.connections.key, why),
        }
    }

    fn spawn(&self, mut socket: TcpStream, peer: SocketAddr, admitted: Admitted) {
        let serving = self.serving.clone();
        let drained = self.drained.clone();
        let open = OpenConnection::new(self.connections.clone(), serving.observer.clone());
        self.connections.remember(&admitted.state);
        let mut info = ConnectionInfo {
            listener: self.connections.key,
            local: socket.local_addr().unwrap_or(self.address),
            peer,
            state: admitted.state.clone(),
            tls: None,
            side: Side::Gateway,
            proxied: None,
        };
        tokio::spawn(async move {
            let _counted = (admitted, open);
            if serving.limits.proxies(info.peer.ip())
                && !is_introduced(&mut socket, &mut info, &serving).await
            {
                return;
            }
            serve(socket, info, &serving, &drained).await;
        });
    }
}

/// Whether a proxy says whose connection it is, as those that are named must.
async fn is_introduced<A>(
    socket: &mut TcpStream,
    info: &mut ConnectionInfo,
    serving: &Serving<A>,
) -> bool {
    // Boxed, as most connections never need the room.
    let header = Box::pin(proxy_protocol::read_into(
        info,
        socket,
        serving.limits.head_timeout,
    ));
    match header.await {
        Ok(()) => true,
        Err(Broken::Unused) => false,
        Err(broken) => {
            tracing::debug!(listener = %info.local, peer = %info.peer, %broken, "refused");
            serving
                .observer
                .refused(&info.listener, Refused::ProxyProtocol);
            false
        }
    }
}

/// Counts a connection while it lives.
struct OpenConnection {
    connections: Arc<Connections>,
    observer: Arc<dyn ConnectionObserver>,
}

impl OpenConnection {
    fn new(connections: Arc<Connections>, observer: Arc<dyn ConnectionObserver>) -> Self {
        connections.count.fetch_add(1, Ordering::Relaxed);
        observer.opened(&connections.key);
        Self {
            connections,
            observer,
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.count.fetch_sub(1, Ordering::Relaxed);
        self.observer.closed(&self.connections.key);
    }
}
