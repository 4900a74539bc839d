//! A connection that requests share, from before it is made, and a stream on it.

use super::super::connection::{Connection, OnEnd};
use super::super::dial::DialError;
use super::super::tracked::Tracked;
use super::super::way::Way;
use super::{Http2Upstream, Maker, StreamKey, Streams, Terms};
use http::uri::Scheme;
use pingora_core::connectors::http::v2::{ConnectionRef, H2HandshakeSettings, handshake};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::watch;

/// Response bytes a slow client may leave waiting here, for one stream.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Response bytes all streams of a connection may leave waiting here.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// How long a server has to say how many requests it allows, before they are sent all the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// A connection that requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) connection: Arc<Connection>,
    /// It may be made whatever the limit says.
    anyway: bool,
    is_encrypted: bool,
    /// Whether a request has had a stream of the protocol on it.
    is_used: AtomicBool,
    state: watch::Sender<State>,
    /// Whether its server has said something, and so how many requests it allows.
    pub(super) heard: Arc<watch::Sender<bool>>,
    /// Requests that have a stream of the protocol, of those that have a place.
    begun: AtomicU32,
}

/// How far it is.
#[derive(Clone)]
enum State {
    Making,
    Made(ConnectionRef),
    Failed(Arc<DialError>),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Making => "making",
            Self::Made(_) => "made",
            Self::Failed(_) => "failed",
        })
    }
}

/// A request's place on a connection. It counts there for as long as it exists.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) shared: Arc<Shared>,
    home: Arc<Streams>,
    pub(super) key: StreamKey,
}

impl Shared {
    pub(super) fn new(connection: Arc<Connection>, terms: Terms, anyway: bool) -> Self {
        Self {
            connection,
            anyway,
            is_encrypted: terms.is_encrypted,
            is_used: AtomicBool::new(false),
            state: watch::Sender::new(State::Making),
            heard: Arc::new(watch::Sender::new(false)),
            begun: AtomicU32::new(0),
        }
    }

    /// Whether it could not be made, or has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.connection.is_closed() || matches!(*self.state.borrow(), State::Failed(_))
    }

    /// Gives one more request a place on it, if there is room and it is not about to end. `expected`: how many requests
    /// its server will allow, as long as it has not said so.
    pub(super) fn try_share(&self, terms: Terms, expected: u32) -> bool {
        let room = match &*self.state.borrow() {
            State::Failed(_) => return false,
            State::Made(connection) if *self.heard.borrow() => self.allowed(connection),
            State::Making | State::Made(_) => expected,
        };
        self.connection
            .try_share(terms.streams.min(room), terms.requests)
    }

    /// How many requests its server allows at one time. 0: it has ended, or is let go, and nobody is on it.
    fn allowed(&self, connection: &ConnectionRef) -> u32 {
        let free = u32::try_from(connection.free_stream_slots()).unwrap_or(u32::MAX);
        self.begun.load(SeqCst).saturating_add(free)
    }

    /// How many requests its server allows at one time, if it has said so and still takes any.
    pub(super) fn learned(&self) -> Option<u32> {
        let state = self.state.borrow();
        let State::Made(connection) = &*state else {
            return None;
        };
        let is_there = !connection.is_closed() && !connection.is_shutting_down();
        (is_there && *self.heard.borrow()).then(|| self.allowed(connection).max(1))
    }

    pub(super) fn is_made(&self, connection: ConnectionRef) {
        self.state.send_replace(State::Made(connection));
    }

    /// It could not be made. All that wait for it are told.
    pub(super) fn has_failed(&self, error: DialError) {
        self.state.send_replace(State::Failed(Arc::new(error)));
    }

    /// A stream of the protocol, as soon as there is the connection. The second value: whether it is not the first.
    ///
    /// # Errors
    /// Why there is no connection, or that it is of no use any more.
    pub(in super::super) async fn session(
        self: &Arc<Self>,
    ) -> Result<(Http2Upstream, bool), DialError> {
        let connection = self.made().await?;
        if self.begun.load(SeqCst) > 0 {
            self.settle().await;
        }
        if connection.free_stream_slots() == 0 {
            return Err(DialError::Missing);
        }
        let begun = Begun::on(self.clone());
        match connection.spawn_stream().await {
            Ok(Some(session)) => {
                let is_reused = self.is_used.swap(true, SeqCst);
                Ok((Http2Upstream::new(session, begun), is_reused))
            }
            // It is full, or its server lets it go.
            Ok(None) => Err(DialError::Missing),
            Err(_) => {
                self.connection.leave();
                Err(DialError::Missing)
            }
        }
    }

    async fn made(&self) -> Result<ConnectionRef, DialError> {
        let mut state = self.state.subscribe();
        let made = state
            .wait_for(|state| !matches!(state, State::Making))
            .await;
        match made.as_deref() {
            Ok(State::Made(connection)) => Ok(connection.clone()),
            Ok(State::Failed(error)) => Err(DialError::Shared(error.clone())),
            Ok(State::Making) | Err(_) => Err(DialError::Missing),
        }
    }

    /// Waits until it is known how many requests the server allows, which it says first. Who comes first need not.
    async fn settle(&self) {
        if *self.heard.borrow() {
            return;
        }
        let mut heard = self.heard.subscribe();
        let said = heard.wait_for(|heard| *heard);
        let was_said = tokio::time::timeout(PATIENCE, said).await.is_ok();
        if was_said {
            // What was read is understood by another task.
            tokio::task::yield_now().await;
        }
    }

    /// Has the connection end when nobody is on it any more: it does not answer.
    pub(super) fn give_up(&self) {
        self.connection.leave();
    }

    pub(super) fn scheme(&self) -> Scheme {
        match self.is_encrypted {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        }
    }
}

/// Counts a stream of the protocol for as long as it exists.
#[derive(Debug)]
pub(super) struct Begun(Arc<Shared>);

impl Begun {
    fn on(shared: Arc<Shared>) -> Self {
        shared.begun.fetch_add(1, SeqCst);
        Self(shared)
    }

    /// The connection that it is on.
    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.begun.fetch_sub(1, SeqCst);
    }
}

impl Stream {
    pub(super) fn new(shared: &Arc<Shared>, home: Arc<Streams>, key: StreamKey) -> Self {
        Self {
            shared: shared.clone(),
            home,
            key,
        }
    }

    /// The connection that it is on.
    pub(in super::super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Has the connection end when nobody is on it any more: it has broken.
    pub(crate) fn leave(&self) {
        self.shared.connection.leave();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.home.release(self);
    }
}

impl Maker for Way {
    fn make(&self, shared: Arc<Shared>, terms: Terms, on_end: OnEnd) {
        let way = self.clone();
        tokio::spawn(async move {
            match way.make_shared(&shared, terms, on_end.clone()).await {
                Ok(connection) => shared.is_made(connection),
                Err(error) => {
                    shared.has_failed(error);
                    on_end();
                }
            }
        });
    }
}

impl Way {
    async fn make_shared(
        &self,
        shared: &Shared,
        terms: Terms,
        on_end: OnEnd,
    ) -> Result<ConnectionRef, DialError> {
        let dialled = self.dial_shared(&shared.connection, shared.anyway).await;
        let (io, mut open) = dialled?;
        open.on_end(on_end);
        let io = Box::new(Tracked::shared(io, open, shared.heard.clone()));
        let made = handshake(io, connection_settings(terms)).await;
        made.map_err(|error| DialError::Io(std::io::Error::other(error.to_string())))
    }
}

/// What Pingora is told of such a connection.
fn connection_settings(terms: Terms) -> H2HandshakeSettings {
    let mut settings = H2HandshakeSettings::new();
    settings.max_streams = terms.streams.max(1) as usize;
    settings.ping_interval = terms.ping_interval;
    settings.stream_window_size = Some(STREAM_WINDOW);
    settings.connection_window_size = Some(CONNECTION_WINDOW);
    settings
}
