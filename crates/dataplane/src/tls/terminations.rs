//! How the TLS servers of a table end TLS: built when published, found at the handshake.

use super::config::{Materials, Ready, build, verifier};
use ahash::{HashMap, HashMapExt};
use certificates::{Authorities, Credentials};
use rules::{ClientVerification, Serves, Table, TlsServer, TlsTermination};
use rustls::crypto::ring::Ticketer;
use rustls::server::ProducesTickets;
use rustls::server::danger::ClientCertVerifier;
use std::fmt;
use std::sync::Arc;

/// The configurations of all servers that end TLS, by their names.
#[derive(Default)]
pub(crate) struct Terminations(HashMap<Arc<str>, Arc<Termination>>);

/// How one server ends TLS.
pub(super) struct Termination {
    tls: Arc<TlsTermination>,
    materials: Materials,
    tickets: Result<Arc<dyn ProducesTickets>, String>,
    /// Or why it cannot.
    pub(super) ready: Result<Ready, String>,
}

impl fmt::Debug for Terminations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What verifies clients is shared by servers that ask for the same: it may hold hundreds of authorities.
type Verifiers = HashMap<(ClientVerification, *const Authorities), Verifier>;
type Verifier = Result<Option<Arc<dyn ClientCertVerifier>>, String>;

impl Terminations {
    /// The configurations after these. Those whose server, certificates and authorities are the same stay, and
    /// sessions of clients are resumed as long as clients are verified in the same way.
    pub(crate) fn next(&self, table: &Table, credentials: &Credentials) -> Self {
        let mut next = HashMap::new();
        let mut verifiers = Verifiers::new();
        for server in table
            .listeners
            .values()
            .flat_map(|listener| servers(&listener.serves))
        {
            let Some(tls) = server.termination() else {
                continue;
            };
            if !next.contains_key(&server.name) {
                let termination = self.one(server, tls, credentials, &mut verifiers);
                next.insert(server.name.clone(), termination);
            }
        }
        Self(next)
    }

    fn one(
        &self,
        server: &TlsServer,
        tls: &Arc<TlsTermination>,
        credentials: &Credentials,
        verifiers: &mut Verifiers,
    ) -> Arc<Termination> {
        let materials = Materials::of(tls, credentials);
        let before = self.0.get(&server.name);
        if let Some(before) = before
            && is_same(&before.tls, tls)
            && before.materials.are(&materials)
        {
            return before.clone();
        }
        let tickets = before
            .filter(|before| before.verifies_as(tls, &materials))
            .map_or_else(new_tickets, |before| before.tickets.clone());
        let authorities = materials
            .authorities
            .as_ref()
            .map_or(std::ptr::null(), Arc::as_ptr);
        let verifier = verifiers
            .entry((tls.client.clone(), authorities))
            .or_insert_with(|| verifier(tls, &materials))
            .clone();
        let ready = tickets
            .clone()
            .and_then(|tickets| build(tls, &materials, verifier?, tickets));
        Arc::new(Termination {
            tls: tls.clone(),
            materials,
            tickets,
            ready,
        })
    }

    /// How this server ends TLS. `None`: it was not published, or another has its name.
    pub(super) fn of(&self, server: &TlsServer) -> Option<&Arc<Termination>> {
        let tls = server.termination()?;
        self.0
            .get(&server.name)
            .filter(|termination| is_same(&termination.tls, tls))
    }
}

impl Termination {
    /// Whether a session of the one may be resumed with the other: tickets hold the client's certificate, which
    /// is not asked for again.
    fn verifies_as(&self, tls: &TlsTermination, materials: &Materials) -> bool {
        self.tls.client == tls.client && self.materials.has_authorities_of(materials)
    }
}

fn new_tickets() -> Result<Arc<dyn ProducesTickets>, String> {
    Ticketer::new().map_err(|error| error.to_string())
}

fn is_same(one: &Arc<TlsTermination>, other: &Arc<TlsTermination>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

fn servers(serves: &Serves) -> impl Iterator<Item = &Arc<TlsServer>> {
    let (named, of_workload) = match serves {
        Serves::Tls(servers) => (Some(servers), None),
        Serves::Inbound(inbound) => (None, Some(inbound.servers())),
        _ => (None, None),
    };
    let named = named.into_iter().flat_map(|servers| servers.iter());
    named.chain(of_workload.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::super::tests::gateway::{Server, named, server, serves};
    use super::super::tests::pki::Authority;
    use super::*;
    use rules::{Listener, ListenerKey};

    const KEY: ListenerKey = ListenerKey {
        bind: None,
        port: 443,
    };

    fn table(servers: &[Server]) -> Table {
        let listener = Listener {
            key: KEY,
            serves: serves(servers, &[]),
            origins: Vec::new(),
        };
        Table {
            listeners: [(KEY, Arc::new(listener))].into_iter().collect(),
            ..Table::default()
        }
    }

    fn config(terminations: &Terminations, name: &str) -> Arc<rustls::ServerConfig> {
        let ready = terminations.0[name].ready.as_ref().ok();
        ready.unwrap().config.clone()
    }

    #[test]
    fn what_is_the_same_is_kept_and_what_is_gone_is_dropped() {
        let authority = Authority::new();
        let mut credentials = Credentials::default();
        for name in ["a", "b"] {
            let certificate = authority.server(&["a.test"]).credential();
            credentials.certificates.insert(named(name), certificate);
        }
        let servers = [
            server("a", &["a.test"]),
            server("b", &["b.test", "*.b.test"]),
        ];
        let first = Terminations::default().next(&table(&servers), &credentials);
        let second = first.next(&table(&servers), &credentials);
        assert!(Arc::ptr_eq(&config(&first, "a"), &config(&second, "a")));
        assert!(Arc::ptr_eq(&config(&first, "b"), &config(&second, "b")));
        let new = authority.server(&["a.test"]).credential();
        credentials.certificates.insert(named("a"), new);
        let third = second.next(&table(&servers), &credentials);
        assert!(!Arc::ptr_eq(&config(&second, "a"), &config(&third, "a")));
        assert!(Arc::ptr_eq(&config(&second, "b"), &config(&third, "b")));
        assert_eq!(third.next(&table(&servers[..1]), &credentials).0.len(), 1);
    }

    #[test]
    fn servers_that_ask_the_same_of_clients_share_what_verifies_them() {
        let authority = Authority::new();
        let mut credentials = Credentials::default();
        let certificate = authority.server(&["a.test"]).credential();
        for name in ["a", "b"] {
            credentials
                .certificates
                .insert(named(name), certificate.clone());
        }
        let clients = super::super::tests::gateway::authorities();
        credentials
            .authorities
            .insert(clients, authority.authorities());
        let asking = |name, host| server(name, &[host]).asking(rules::ClientCertificate::Required);
        let servers = [asking("a", "a.test"), asking("b", "b.test")];
        let built = Terminations::default().next(&table(&servers), &credentials);
        let verifier = |name: &str| {
            let ready = built.0[name].ready.as_ref().ok().unwrap();
            ready.verifier.clone().unwrap()
        };
        assert!(Arc::ptr_eq(&verifier("a"), &verifier("b")));
    }
}
