//! What a table asks for.

use model::{Origin, ResourceRef};
use rules::{Cluster, CredentialRef, Listener, Serves, Table, TlsServer, UpstreamSecurity};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// The references of a table, and the servers and clusters that need each.
pub(super) type References = BTreeMap<CredentialRef, Vec<Arc<Origin>>>;

/// All credentials that the servers and clusters of a table name.
pub(super) fn of(table: &Table) -> References {
    let mut needs = Needs::default();
    for server in servers(table) {
        let Some(termination) = server.termination() else {
            continue;
        };
        let named = termination.certificates.iter();
        for reference in named.chain(&termination.client.authorities) {
            needs.add(reference, &server.origin);
        }
    }
    let of_mesh = Arc::new(of_mesh());
    for cluster in clusters_in_tls(table) {
        let origin = match &cluster.tls {
            UpstreamSecurity::Auto(_) => Some(&of_mesh),
            UpstreamSecurity::Rule(_) | UpstreamSecurity::ClearText => cluster.origin.as_ref(),
        };
        let Some(origin) = origin else {
            continue;
        };
        let tls = cluster.tls.settings();
        for reference in tls.into_iter().flat_map(|tls| tls.references()) {
            needs.add(reference, origin);
        }
    }
    needs.references
}

/// The servers of sidecars that end the mesh's TLS, whether or not anybody comes in it.
pub(super) fn mesh_servers(table: &Table) -> Vec<Arc<Origin>> {
    let servers = listeners(table).into_iter();
    let servers = servers.filter_map(|listener| match &listener.serves {
        Serves::Inbound(inbound) => Some(inbound.server.origin.clone()),
        _ => None,
    });
    servers.collect()
}

/// Thousands of clusters may need the same identity.
#[derive(Default)]
struct Needs {
    references: References,
    known: HashSet<(CredentialRef, Arc<Origin>)>,
}

impl Needs {
    fn add(&mut self, reference: &CredentialRef, origin: &Arc<Origin>) {
        if self.known.insert((reference.clone(), origin.clone())) {
            let origins = self.references.entry(reference.clone()).or_default();
            origins.push(origin.clone());
        }
    }
}

/// What asks for the mesh's TLS where no DestinationRule does.
fn of_mesh() -> Origin {
    Origin {
        resource: ResourceRef {
            kind: "MeshConfig".into(),
            namespace: "".into(),
            name: "mesh".into(),
        },
        path: "enableAutoMtls".into(),
        position: None,
    }
}

fn clusters_in_tls(table: &Table) -> Vec<&Cluster> {
    let clusters = table.clusters.values().map(AsRef::as_ref);
    let in_tls = clusters.filter(|cluster: &&Cluster| cluster.tls.settings().is_some());
    let mut clusters: Vec<&Cluster> = in_tls.collect();
    clusters.sort_by(|one, other| one.key.cmp(&other.key));
    clusters
}

fn listeners(table: &Table) -> Vec<&Listener> {
    let mut listeners: Vec<&Listener> = table.listeners.values().map(AsRef::as_ref).collect();
    listeners.sort_by_key(|listener| listener.key);
    listeners
}

/// Each server once, by listener: one of many hosts stands in the map of its listener many times.
fn servers(table: &Table) -> Vec<&TlsServer> {
    let mut seen = BTreeSet::new();
    let mut servers = Vec::new();
    for listener in listeners(table) {
        let new = |server: &&Arc<TlsServer>| seen.insert(Arc::as_ptr(server));
        match &listener.serves {
            Serves::Tls(map) => servers.extend(map.iter().filter(new)),
            Serves::Inbound(inbound) => {
                let ports = inbound.ports.values();
                servers.extend(ports.filter_map(|port| port.tls.as_ref()).filter(new));
            }
            _ => {}
        }
    }
    let mut servers: Vec<&TlsServer> = servers.into_iter().map(AsRef::as_ref).collect();
    servers.sort_by(|one, other| one.name.cmp(&other.name));
    servers
}
