//! The forward proxy's listener.

use super::super::services::Registry;
use super::super::{CallerOptions, CompileOptions, ForwardProxyOptions};
use super::view::{Surroundings, View};
use crate::endpoints;
use crate::{
    Caller, Cluster, Endpoints, ForwardProxy, HostMap, Listener, ListenerKey, Outbound, Serves,
    TlsAction, TlsServer,
};
use model::{Diagnostic, Hostname, Origin, ResourceRef, Resources};
use std::sync::Arc;

/// Compiles a forward proxy again and again.
#[derive(Debug)]
pub(crate) struct ForwardProxyCompiler {
    of: ForwardProxyOptions,
    /// Workloads that clients are taken for, each once.
    views: Vec<(CallerOptions, View)>,
    last: Option<(Vec<Arc<Outbound>>, Arc<Listener>)>,
}

impl ForwardProxyCompiler {
    /// Of the options' forward proxy. Absent: there is none.
    pub(crate) fn new(options: &CompileOptions) -> Option<Self> {
        let of = options.forward_proxy.clone()?;
        let mut views: Vec<(CallerOptions, View)> = Vec::new();
        let clients = of.clients.iter().map(|client| &client.caller);
        for caller in clients.chain(&of.others) {
            if !views.iter().any(|(known, _)| known == caller) {
                views.push((caller.clone(), View::new(caller, of.mode, options)));
            }
        }
        Some(Self {
            of,
            views,
            last: None,
        })
    }

    /// Its listener: the same `Arc` as long as nothing about it changes.
    pub(crate) fn compile(&mut self, mut around: Surroundings<'_>) -> Arc<Listener> {
        let views = self.views.iter_mut();
        let outbounds: Vec<_> = views.map(|(_, view)| view.compile(&mut around)).collect();
        if let Some((before, listener)) = &self.last
            && before.len() == outbounds.len()
            && before
                .iter()
                .zip(&outbounds)
                .all(|(one, other)| Arc::ptr_eq(one, other))
        {
            return listener.clone();
        }
        let listener = Arc::new(self.listener(&outbounds));
        self.last = Some((outbounds, listener.clone()));
        listener
    }

    fn listener(&self, outbounds: &[Arc<Outbound>]) -> Listener {
        let caller = |networks: &[_], principals: &[_], options: &CallerOptions| {
            let place = self.views.iter().position(|(known, _)| known == options)?;
            Some(Arc::new(Caller {
                namespace: options.namespace.clone(),
                networks: networks.to_vec(),
                principals: principals.to_vec(),
                outbound: outbounds.get(place)?.clone(),
            }))
        };
        let clients = self.of.clients.iter();
        let callers = clients.filter_map(|one| caller(&one.networks, &one.principals, &one.caller));
        let proxy = Arc::new(ForwardProxy {
            callers: callers.collect(),
            others: (self.of.others.as_ref()).and_then(|others| caller(&[], &[], others)),
            mode: self.of.mode,
        });
        Listener {
            key: ListenerKey {
                bind: Some(self.of.address.ip()),
                port: self.of.address.port(),
            },
            serves: self.serves(proxy),
            origins: vec![origin()],
        }
    }

    fn serves(&self, proxy: Arc<ForwardProxy>) -> Serves {
        let Some(tls) = &self.of.tls else {
            return Serves::ForwardProxy(proxy);
        };
        let server = TlsServer {
            name: "forward-proxy".into(),
            action: TlsAction::ForwardProxy {
                tls: Arc::new(tls.clone()),
                proxy,
            },
            origin: origin(),
        };
        let mut servers = HostMap::default();
        servers.add("*", Arc::new(server));
        Serves::Tls(servers)
    }

    /// The clusters that it leads to.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.views.iter().flat_map(|(_, view)| view.clusters())
    }

    /// What is to be said about it.
    pub(crate) fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> {
        self.views.iter().flat_map(|(_, view)| view.diagnostics())
    }

    /// What its clients see, where that is not what the proxy sees.
    pub(crate) fn registries(&self) -> impl Iterator<Item = &Registry> + Clone {
        self.views.iter().filter_map(|(_, view)| view.registry())
    }

    /// Adds the endpoints that its clients see and the proxy does not.
    pub(crate) fn add_endpoints(
        &mut self,
        resources: &Resources,
        shared: endpoints::Shared<'_>,
        to: &mut Endpoints,
    ) -> Vec<Diagnostic> {
        let mut told = Vec::new();
        for (_, view) in &mut self.views {
            let Some((endpoints, diagnostics)) = view.endpoints(resources, shared) else {
                continue;
            };
            let services = endpoints.services.iter();
            let services = services.map(|(port, list)| (port.clone(), list.clone()));
            to.services.extend(services);
            to.unresolved.extend(endpoints.unresolved);
            to.members.extend(endpoints.members);
            told.extend(diagnostics);
        }
        told
    }

    /// The names that those are found by.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Hostname> {
        self.views.iter().flat_map(|(_, view)| view.names())
    }
}

fn origin() -> Arc<Origin> {
    Arc::new(Origin {
        resource: ResourceRef {
            kind: "Bootstrap".into(),
            namespace: "".into(),
            name: "forward-proxy".into(),
        },
        path: "listen.forward-proxy".to_owned(),
        position: None,
    })
}
