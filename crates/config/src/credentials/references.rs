//! What a table asks for.

use model::Origin;
use rules::{CredentialRef, Serves, Table, TlsServer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The references of a table, and the servers that need each.
pub(super) type References = BTreeMap<CredentialRef, Vec<Arc<Origin>>>;

/// All credentials that the servers of a table name.
pub(super) fn of(table: &Table) -> References {
    let mut references = References::new();
    for server in servers(table) {
        let Some(termination) = server.termination() else {
            continue;
        };
        let named = termination.certificates.iter();
        for reference in named.chain(&termination.client.authorities) {
            let origins = references.entry(reference.clone()).or_default();
            if !origins.contains(&server.origin) {
                origins.push(Arc::clone(&server.origin));
            }
        }
    }
    references
}

/// Each server once, by listener: one of many hosts stands in the map of its listener many times.
fn servers(table: &Table) -> Vec<&TlsServer> {
    let mut listeners: Vec<_> = table.listeners.values().collect();
    listeners.sort_by_key(|listener| listener.key);
    let mut seen = BTreeSet::new();
    let mut servers = Vec::new();
    for listener in listeners {
        let Serves::Tls(map) = &listener.serves else {
            continue;
        };
        servers.extend(map.iter().filter(|server| seen.insert(Arc::as_ptr(server))));
    }
    let mut servers: Vec<&TlsServer> = servers.into_iter().map(AsRef::as_ref).collect();
    servers.sort_by(|one, other| one.name.cmp(&other.name));
    servers
}
