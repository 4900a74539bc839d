//! Sessions of TLS that may be resumed.

use ahash::HashMap;
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names whose sessions are kept. Where there are more, those of any one are given up for each that comes.
const MOST_NAMES: usize = 256;
/// TLS 1.3 tickets of one name.
const TICKETS: usize = 8;

/// Sessions by the name that is sent. The library's own takes memory for all that there may be, and most ways to
/// begin TLS are never gone, or lead to one name.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<ByName>);

type ByName = HashMap<ServerName<'static>, Arc<ClientSessionMemoryCache>>;

impl Sessions {
    /// Forgets those of a name.
    pub(super) fn forget(&self, name: &ServerName<'_>) {
        self.lock().remove(&name.to_owned());
    }

    fn known(&self, name: &ServerName<'_>) -> Option<Arc<ClientSessionMemoryCache>> {
        self.lock().get(&name.to_owned()).cloned()
    }

    fn of(&self, name: ServerName<'static>) -> Arc<ClientSessionMemoryCache> {
        let mut by_name = self.lock();
        if by_name.len() >= MOST_NAMES
            && !by_name.contains_key(&name)
            && let Some(any) = by_name.keys().next().cloned()
        {
            by_name.remove(&any);
        }
        let of_name = by_name.entry(name);
        let new = || Arc::new(ClientSessionMemoryCache::new(TICKETS));
        of_name.or_insert_with(new).clone()
    }

    fn lock(&self) -> MutexGuard<'_, ByName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.of(name.clone()).set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.known(name)?.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.of(name.clone()).set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.known(name)?.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        if let Some(known) = self.known(name) {
            known.remove_tls12_session(name);
        }
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.of(name.clone()).insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.known(name)?.take_tls13_ticket(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_names_have_sessions() {
        let sessions = Sessions::default();
        let name = |number: usize| ServerName::try_from(format!("s{number}.test")).unwrap();
        for number in 0..2 * MOST_NAMES {
            sessions.set_kx_hint(name(number), NamedGroup::X25519);
            let last = sessions.kx_hint(&name(number));
            assert_eq!(last, Some(NamedGroup::X25519));
        }
        assert_eq!(sessions.lock().len(), MOST_NAMES);
        sessions.forget(&name(2 * MOST_NAMES - 1));
        assert_eq!(sessions.kx_hint(&name(2 * MOST_NAMES - 1)), None);
    }
}
