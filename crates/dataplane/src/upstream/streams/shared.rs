//! A connection that requests share, from before it is made, and a stream on it.

use super::super::connection::{Connection, Open};
use super::super::dial::DialError;
use super::super::way::{Occasion, Way, carry, of_pingora};
use super::{StreamKey, Streams, Terms};
use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr as L4Address;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_error::Result;
use std::sync::atomic::{
    AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Look-ups before a connection counts as one that cannot be found. Pingora's pool has it in no place for an instant
/// when a stream ends.
const LOOKUPS: u32 = 4;

/// A connection that requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) connection: Arc<Connection>,
    /// Its key in Pingora's pool.
    number: u64,
    /// Whose turn it is to make it, or to look it up.
    turn: Arc<Mutex<()>>,
    /// Why it could not be made.
    failure: OnceLock<Arc<DialError>>,
    /// Whoever was to make it did not.
    abandoned: AtomicBool,
}

/// A request's place on a connection. It counts there for as long as it exists.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) shared: Arc<Shared>,
    home: Arc<Streams>,
    pub(super) key: StreamKey,
    pub(super) terms: Terms,
    role: Role,
    turn: Option<OwnedMutexGuard<()>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// Makes the connection.
    Maker,
    /// Uses one that there is, or that somebody else makes. Has looked for it so often.
    Joiner(u32),
    /// Is on it.
    Begun,
}

impl Shared {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            connection,
            number: NEXT.fetch_add(1, Relaxed),
            turn: Arc::default(),
            failure: OnceLock::new(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// It could not be made. Requests that wait for it end as the one that was to make it.
    pub(super) fn fail(&self, error: DialError) -> DialError {
        let error = self.failure.get_or_init(|| Arc::new(error));
        DialError::Shared(error.clone())
    }

    /// Whether it will never be, or is no more.
    pub(super) fn is_gone(&self) -> bool {
        let is_abandoned = self.abandoned.load(Acquire);
        is_abandoned || self.failure.get().is_some() || self.connection.is_closed()
    }
}

impl Stream {
    pub(super) fn making(
        shared: &Arc<Shared>,
        home: Arc<Streams>,
        key: StreamKey,
        terms: Terms,
    ) -> Self {
        // Nobody else has it yet.
        let turn = shared.turn.clone().try_lock_owned().ok();
        Self {
            shared: shared.clone(),
            home,
            key,
            terms,
            role: Role::Maker,
            turn,
        }
    }

    pub(super) fn joining(
        shared: &Arc<Shared>,
        home: Arc<Streams>,
        key: StreamKey,
        terms: Terms,
    ) -> Self {
        Self {
            shared: shared.clone(),
            home,
            key,
            terms,
            role: Role::Joiner(0),
            turn: None,
        }
    }

    /// Takes the turn to ask Pingora for the connection, if nobody else has it.
    pub(crate) fn try_turn(&mut self) -> bool {
        if self.turn.is_none() {
            self.turn = self.shared.turn.clone().try_lock_owned().ok();
        }
        self.turn.is_some()
    }

    /// Waits for the turn to ask Pingora for the connection.
    pub(crate) async fn turn(&mut self) {
        if !self.try_turn() {
            self.turn = Some(self.shared.turn.clone().lock_owned().await);
        }
    }

    /// Whether another one has to be asked for: this one is gone, and nobody knows why.
    pub(crate) fn is_lost(&self) -> bool {
        self.shared.failure.get().is_none() && self.shared.is_gone()
    }

    /// Pingora has found or made the connection, and the next may look for it.
    pub(crate) fn begin(&mut self) {
        self.role = Role::Begun;
        self.turn = None;
    }

    /// Whether it relies on a connection that there was, or that somebody else was to make.
    pub(crate) fn is_joining(&self) -> bool {
        matches!(self.role, Role::Joiner(_))
    }

    /// Pingora's pool did not have the connection. Whether it is worth looking once more.
    pub(crate) fn missed(&mut self) -> bool {
        let Role::Joiner(lookups) = &mut self.role else {
            return false;
        };
        *lookups += 1;
        if *lookups < LOOKUPS && !self.shared.is_gone() {
            return true;
        }
        self.home.shrink(self);
        false
    }

    /// What the connection tells the endpoint.
    pub(in super::super) fn occasion(&self) -> &Occasion {
        &self.key.occasion
    }

    /// The connection's key in Pingora's pool.
    pub(in super::super) fn number(&self) -> u64 {
        self.shared.number
    }

    /// What makes the connection, or tells that somebody else was to.
    pub(in super::super) fn connector(&self, way: &Arc<Way>) -> Arc<dyn L4Connect + Send + Sync> {
        match self.role {
            Role::Maker => Arc::new(Made {
                way: way.clone(),
                shared: self.shared.clone(),
                home: self.home.clone(),
                key: self.key.clone(),
                terms: self.terms,
            }),
            Role::Joiner(_) | Role::Begun => Arc::new(Joined(self.shared.clone())),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.role == Role::Maker {
            self.shared.abandoned.store(true, Release);
            self.shared.connection.leave();
        }
        self.home.release(self);
    }
}

/// Makes the connection that is shared.
#[derive(Debug)]
struct Made {
    way: Arc<Way>,
    shared: Arc<Shared>,
    home: Arc<Streams>,
    key: StreamKey,
    terms: Terms,
}

impl Made {
    async fn open(&self) -> Result<(L4Stream, Open), DialError> {
        let made = self.way.dial_shared(&self.shared.connection).await;
        made.map_err(|error| self.shared.fail(error))
    }
}

#[async_trait]
impl L4Connect for Made {
    async fn connect(&self, _address: &L4Address) -> Result<L4Stream> {
        let (mut stream, mut open) = self.open().await.map_err(of_pingora)?;
        let (home, key, terms) = (self.home.clone(), self.key.clone(), self.terms);
        open.on_end(move || home.forget(&key, terms));
        carry(&mut stream, open)?;
        Ok(stream)
    }
}

/// Stands for a connection that is made already: who comes here has not found it.
#[derive(Debug)]
struct Joined(Arc<Shared>);

#[async_trait]
impl L4Connect for Joined {
    async fn connect(&self, _address: &L4Address) -> Result<L4Stream> {
        Err(of_pingora(match self.0.failure.get() {
            Some(failure) => DialError::Shared(failure.clone()),
            None => DialError::Missing,
        }))
    }
}
