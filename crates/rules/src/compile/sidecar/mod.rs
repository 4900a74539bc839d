//! The listeners of a sidecar.

mod inbound;
mod ingress;
mod own_ports;
mod ports;
mod tls;

use super::outbound::{Limits, Surroundings, View};
use super::{CompileOptions, SidecarOptions};
use crate::{
    Cluster, Endpoints, Inbound, Listener, ListenerKey, Outbound, OutboundListener, OutboundTo,
    Serves,
};
use ahash::HashMap;
use inbound::InboundCompiler;
use model::{Diagnostic, Origin, ResourceRef};
use std::net::SocketAddr;
use std::sync::Arc;

/// Compiles a sidecar again and again.
#[derive(Debug)]
pub(crate) struct SidecarCompiler {
    of: SidecarOptions,
    view: View,
    inbound: InboundCompiler,
    /// The listeners of the last compilation.
    last: HashMap<ListenerKey, Arc<Listener>>,
    diagnostics: Vec<Diagnostic>,
}

impl SidecarCompiler {
    /// Of the options' sidecar. Absent: there is none.
    pub(crate) fn new(options: &CompileOptions) -> Option<Self> {
        Some(Self {
            of: options.sidecar.clone()?,
            view: View::redirected(options),
            inbound: InboundCompiler::default(),
            last: HashMap::default(),
            diagnostics: Vec::new(),
        })
    }

    /// Its listeners: the same `Arc`s as long as nothing about them changes.
    pub(crate) fn compile(
        &mut self,
        options: &CompileOptions,
        mut around: Surroundings<'_>,
    ) -> Vec<Arc<Listener>> {
        let outbound = self.view.compile(&mut around);
        let limits = Limits::of(&options.proxy, &options.mesh, around.resources);
        self.diagnostics = Vec::new();
        let mut listeners = Vec::new();
        if let Some(address) = self.of.outbound {
            listeners.push(outbound_at(
                address,
                &outbound,
                OutboundTo::OriginalDestination,
                own_origin("capture.outbound"),
            ));
        }
        if let Some(address) = self.of.inbound {
            let inbound = self
                .inbound
                .compile(options, &self.of, &limits, &mut around);
            listeners.push(inbound_at(address, inbound));
        }
        let told = &mut self.diagnostics;
        listeners.extend(ports::of_options(&self.of.ports, options, &outbound, told));
        listeners.extend(ports::of_sidecar(&limits, &outbound, told));
        self.keep(listeners)
    }

    /// Those that are as before are those of before.
    fn keep(&mut self, listeners: Vec<Listener>) -> Vec<Arc<Listener>> {
        let before = std::mem::take(&mut self.last);
        for listener in listeners {
            // Of several at one address the first has it.
            self.last.entry(listener.key).or_insert_with(|| {
                let known = before.get(&listener.key);
                match known.filter(|known| is(known, &listener)) {
                    Some(known) => known.clone(),
                    None => Arc::new(listener),
                }
            });
        }
        self.last.values().cloned().collect()
    }

    /// The clusters that it leads to.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.view.clusters().chain(self.inbound.clusters())
    }

    /// What is to be said about it.
    pub(crate) fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> {
        let own = self.diagnostics.iter().cloned();
        own.chain(self.view.diagnostics())
            .chain(self.inbound.diagnostics())
    }

    /// Adds the endpoints of its workload.
    pub(crate) fn add_endpoints(&self, to: &mut Endpoints) {
        to.services.extend(self.inbound.endpoints());
    }
}

fn is(one: &Listener, other: &Listener) -> bool {
    let same = match (&one.serves, &other.serves) {
        (Serves::Outbound(one), Serves::Outbound(other)) => {
            Arc::ptr_eq(&one.outbound, &other.outbound) && one.to == other.to
        }
        (Serves::Inbound(one), Serves::Inbound(other)) => Arc::ptr_eq(one, other),
        _ => false,
    };
    same && one.origins == other.origins
}

fn outbound_at(
    address: SocketAddr,
    outbound: &Arc<Outbound>,
    to: OutboundTo,
    origin: Arc<Origin>,
) -> Listener {
    Listener {
        key: key_of(address),
        serves: Serves::Outbound(Arc::new(OutboundListener {
            outbound: outbound.clone(),
            to,
        })),
        origins: vec![origin],
    }
}

fn inbound_at(address: SocketAddr, inbound: Arc<Inbound>) -> Listener {
    Listener {
        key: key_of(address),
        serves: Serves::Inbound(inbound),
        origins: vec![own_origin("capture.inbound")],
    }
}

fn key_of(address: SocketAddr) -> ListenerKey {
    ListenerKey {
        bind: Some(address.ip()),
        port: address.port(),
    }
}

/// A key of the bootstrap file.
fn own_origin(path: &str) -> Arc<Origin> {
    Arc::new(Origin {
        resource: ResourceRef {
            kind: "Bootstrap".into(),
            namespace: "".into(),
            name: "sidecar".into(),
        },
        path: path.to_owned(),
        position: None,
    })
}
