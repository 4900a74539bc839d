//! What the present resources allow the clients of a forward proxy.

use super::entries::Asked;
use dataplane::PassageProtocol;
use model::{ResourceRef, Resources, ServiceEntry};
use rules::{Caller, ForwardProxy, Outbound, OutboundProtocol, Serves, Table, TlsAction};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// The present resources, as the clients of a forward proxy see them.
#[derive(Clone, Copy)]
pub(super) struct Present<'p> {
    pub(super) proxy: &'p ForwardProxy,
    pub(super) resources: &'p Resources,
}

/// The forward proxy of a table.
pub(super) fn proxy_of(table: &Table) -> Option<&Arc<ForwardProxy>> {
    let mut listeners = table.listeners.values();
    listeners.find_map(|listener| match &listener.serves {
        Serves::ForwardProxy(proxy) => Some(proxy),
        Serves::Tls(servers) => servers.iter().find_map(|server| match &server.action {
            TlsAction::ForwardProxy { proxy, .. } => Some(proxy),
            _ => None,
        }),
        _ => None,
    })
}

/// Whether everybody who was seen gets there because the registry has it, whatever else is let through.
pub(super) fn allows(proxy: &ForwardProxy, asked: &Asked) -> bool {
    let callers = callers(proxy, &asked.seen.clients);
    let has_it = |caller: &&Arc<Caller>| has(&caller.outbound, asked);
    !callers.is_empty() && callers.iter().all(has_it)
}

/// The hosts of the registry that stand for this host on this port, whatever is spoken there.
pub(super) fn providers<'p>(
    proxy: &'p ForwardProxy,
    asked: &Asked,
) -> impl Iterator<Item = &'p str> {
    let callers = callers(proxy, &asked.seen.clients).into_iter();
    callers.filter_map(|caller| Some(&*caller.outbound.service(&asked.target)?.host))
}

/// Whose clients these addresses are. Who is told by a certificate only may be any of those.
fn callers<'p>(proxy: &'p ForwardProxy, clients: &[IpAddr]) -> Vec<&'p Arc<Caller>> {
    let mut found: Vec<&Arc<Caller>> = Vec::new();
    let mut add = |caller: &'p Arc<Caller>| {
        if !found.iter().any(|known| Arc::ptr_eq(known, caller)) {
            found.push(caller);
        }
    };
    for client in clients {
        match proxy.caller(*client, std::iter::empty()) {
            Some(caller) => add(caller),
            None => {
                let by_name = |caller: &&Arc<Caller>| !caller.principals.is_empty();
                proxy.callers.iter().filter(by_name).for_each(&mut add);
            }
        }
    }
    if clients.is_empty() {
        proxy.callers.iter().chain(&proxy.others).for_each(add);
    }
    found
}

fn has(outbound: &Outbound, asked: &Asked) -> bool {
    let target = &asked.target;
    if asked.protocol == PassageProtocol::Http {
        let port = outbound.ports.get(&target.port());
        return port.is_some_and(|port| port.virtual_host(target).is_some());
    }
    let service = outbound.service(target);
    service.is_some_and(|service| speaks(service.protocol, asked.protocol))
}

/// Whether what is for one protocol takes another, too.
pub(super) fn speaks(allowed: OutboundProtocol, spoken: PassageProtocol) -> bool {
    match allowed {
        OutboundProtocol::Unspecified => true,
        OutboundProtocol::Http => spoken == PassageProtocol::Http,
        OutboundProtocol::Tls => spoken == PassageProtocol::Tls,
        OutboundProtocol::Tcp => spoken != PassageProtocol::Http,
    }
}

impl<'p> Present<'p> {
    /// ServiceEntries that some client sees, by their hosts.
    pub(super) fn by_host(self) -> HashMap<&'p str, Vec<&'p ServiceEntry>> {
        let mut by_host: HashMap<&str, Vec<&ServiceEntry>> = HashMap::new();
        let entries = self.resources.service_entries.values();
        for entry in entries.filter(|entry| self.is_seen(entry)) {
            let hosts: BTreeSet<&str> =
                entry.hosts.iter().map(|host| host.value.as_str()).collect();
            for host in hosts {
                by_host.entry(host).or_default().push(entry);
            }
        }
        by_host
    }

    fn is_seen(self, entry: &ServiceEntry) -> bool {
        let mut callers = self.proxy.callers.iter().chain(&self.proxy.others);
        callers.any(|caller| entry.export_to.reaches(&caller.namespace))
    }

    /// The ServiceEntries of a namespace.
    pub(super) fn entries_in(self, namespace: &str) -> impl Iterator<Item = &'p ResourceRef> {
        let entries = self.resources.service_entries.values();
        let references = entries.map(|entry| &entry.meta.reference);
        references.filter(move |reference| *reference.namespace == *namespace)
    }
}
