//! What a table asks for.

use model::Origin;
use rules::{Cluster, CredentialRef, Serves, Table, TlsServer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The references of a table, and the servers that need each.
pub(super) type References = BTreeMap<CredentialRef, Vec<Arc<Origin>>>;

/// All credentials that the servers and clusters of a table name.
pub(super) fn of(table: &Table) -> References {
    let mut references = References::new();
    let mut add = |reference: &CredentialRef, origin: &Arc<Origin>| {
        let origins = references.entry(reference.clone()).or_default();
        if !origins.contains(origin) {
            origins.push(Arc::clone(origin));
        }
    };
    for server in servers(table) {
        let Some(termination) = server.termination() else {
            continue;
        };
        let named = termination.certificates.iter();
        for reference in named.chain(&termination.client.authorities) {
            add(reference, &server.origin);
        }
    }
    for cluster in clusters(table) {
        // Only a DestinationRule asks for TLS, and it is its cluster's origin.
        if let (Some(tls), Some(origin)) = (&cluster.tls, &cluster.origin) {
            tls.references()
                .for_each(|reference| add(reference, origin));
        }
    }
    references
}

/// Always in the same order.
fn clusters(table: &Table) -> Vec<&Cluster> {
    let mut clusters: Vec<&Cluster> = table.clusters.values().map(AsRef::as_ref).collect();
    clusters.sort_by(|one, other| one.key.cmp(&other.key));
    clusters
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
