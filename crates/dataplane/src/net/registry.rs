//! The connections that are open, counted and within reach.

use super::Limits;
use super::state::ConnectionState;
use ahash::{HashMap, HashMapExt};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The process has as many connections as it may.
    #[error("max_connections")]
    TooMany,
    /// The client's address has as many as it may.
    #[error("max_connections_per_client")]
    TooManyOfOneClient,
    /// Its header of the PROXY protocol was missing or broken.
    #[error("proxy_protocol")]
    ProxyProtocol,
}

/// All open downstream connections of the process.
#[derive(Debug)]
pub struct Registry {
    limit: usize,
    limit_per_client: Option<usize>,
    next_id: AtomicU64,
    open: Mutex<Open>,
    emptied: Notify,
}

#[derive(Debug)]
struct Open {
    connections: HashMap<u64, Arc<ConnectionState>>,
    /// Filled only when clients are limited one by one.
    by_client: HashMap<IpAddr, usize>,
}

impl Registry {
    /// An empty registry.
    pub fn new(limits: &Limits) -> Arc<Self> {
        let open = Open {
            connections: HashMap::new(),
            by_client: HashMap::new(),
        };
        Arc::new(Self {
            limit: limits.connections,
            limit_per_client: limits.connections_per_client,
            next_id: AtomicU64::new(1),
            open: Mutex::new(open),
            emptied: Notify::new(),
        })
    }

    /// Lets a connection in. It counts until the returned guard is dropped.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn admit(self: &Arc<Self>, peer: SocketAddr) -> Result<Admitted, Refused> {
        let mut open = self.lock();
        if open.connections.len() >= self.limit {
            return Err(Refused::TooMany);
        }
        if let Some(limit) = self.limit_per_client {
            let count = open.by_client.entry(peer.ip()).or_insert(0);
            if *count >= limit {
                return Err(Refused::TooManyOfOneClient);
            }
            *count += 1;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(ConnectionState::new(id, peer));
        open.connections.insert(id, state.clone());
        Ok(Admitted {
            state,
            registry: self.clone(),
        })
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks every connection to end once it serves no request.
    pub fn close_idle(&self) {
        for state in self.lock().connections.values() {
            state.close_when_idle();
        }
    }

    /// Returns when no connection is open.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn release(&self, state: &ConnectionState) {
        let mut open = self.lock();
        open.connections.remove(&state.id);
        if self.limit_per_client.is_some() {
            open.forget_client(state.peer.ip());
        }
        if open.connections.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        // A panic while holding the lock leaves the counts as they are, which is still usable.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn forget_client(&mut self, client: IpAddr) {
        let Some(count) = self.by_client.get_mut(&client) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.by_client.remove(&client);
        }
    }
}

/// A connection that was let in. Dropping it lets another in.
#[derive(Debug)]
pub struct Admitted {
    /// The connection's shared state.
    pub state: Arc<ConnectionState>,
    registry: Arc<Registry>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.registry.release(&self.state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 1))
    }

    #[test]
    fn the_limit_holds_until_a_connection_ends() {
        let registry = Registry::new(&Limits {
            connections: 1,
            ..Limits::default()
        });
        let first = registry.admit(client(1)).unwrap();
        assert_eq!(registry.admit(client(2)).unwrap_err(), Refused::TooMany);
        drop(first);
        assert!(registry.admit(client(2)).is_ok());
    }

    #[test]
    fn one_client_cannot_take_the_place_of_others() {
        let limits = Limits {
            connections_per_client: Some(1),
            ..Limits::default()
        };
        let registry = Registry::new(&limits);
        let first = registry.admit(client(1)).unwrap();
        assert_eq!(
            registry.admit(client(1)).unwrap_err(),
            Refused::TooManyOfOneClient
        );
        assert!(registry.admit(client(2)).is_ok());
        drop(first);
        assert!(registry.admit(client(1)).is_ok());
    }

    #[tokio::test]
    async fn waiting_for_the_last_connection_ends_with_it() {
        let registry = Registry::new(&Limits::default());
        let only = registry.admit(client(1)).unwrap();
        let waiting = registry.clone();
        let waiter = tokio::spawn(async move { waiting.emptied().await });
        tokio::task::yield_now().await;
        registry.close_idle();
        assert!(only.state.is_closing());
        drop(only);
        waiter.await.unwrap();
    }
}
