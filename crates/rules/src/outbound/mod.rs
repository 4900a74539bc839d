//! What clients of the proxy reach beyond its Gateways: through a forward proxy, or a sidecar.

mod denial;
mod forward_proxy;
mod networks;
mod target;

#[cfg(test)]
mod tests;

pub use denial::Denial;
pub use forward_proxy::{Caller, EgressMode, ForwardProxy};
pub use networks::NetworkMap;
pub use target::{InvalidTarget, Target};

use crate::decide::decide_at;
use crate::{
    Answer, Decision, Dice, Facts, HostMap, NameTable, Observer, Outcome, Reason, RequestHead,
    TcpRoutes, VirtualHost, VirtualHosts,
};
use ahash::HashMap;
use bytes::Bytes;
use http::StatusCode;
use model::{Origin, PortProtocol, ResourceRef};
use std::sync::Arc;

/// The registry as a client sees it, with the routes to what is in it.
#[derive(Debug, Default)]
pub struct Outbound {
    /// What is known, by the port that a client asks for.
    pub ports: HashMap<u16, Arc<OutboundPort>>,
    /// Who provides hosts that are not visible to the client, by host.
    pub hidden: HostMap<ResourceRef>,
    /// What becomes of everything else.
    pub otherwise: Otherwise,
    /// What is known on any port, to tell why it is not on the one that was asked for. Empty where there are few
    /// ports.
    pub anywhere: Known,
    /// What the names of the registry stand for. Empty unless the client may ask for them.
    pub names: Arc<NameTable>,
}

/// The name of the routes that let clients through who ask for what is not in the registry.
///
/// Source: Istio's virtual host and route of `ALLOW_ANY`.
pub const ALLOW_ANY: &str = "allow_any";

/// Up to so many ports are looked at one by one.
const FEW_PORTS: usize = 4;

/// Hosts and networks that are known on any of many ports.
#[derive(Debug, Default)]
pub struct Known {
    hosts: HostMap<()>,
    networks: NetworkMap<()>,
}

/// What is known of a port.
#[derive(Debug, Default)]
pub struct OutboundPort {
    /// For requests in clear.
    pub virtual_hosts: VirtualHosts,
    /// For requests in clear, by the address that is asked for, where that is no virtual host's own.
    pub virtual_hosts_at: NetworkMap<Arc<VirtualHost>>,
    /// For connections, by the name that is asked for, those that requests are sent on too.
    pub services: HostMap<OutboundService>,
    /// For connections, by the address that is asked for.
    pub addresses: NetworkMap<Arc<OutboundService>>,
}

/// A service of the registry on one of its ports.
#[derive(Debug)]
pub struct OutboundService {
    /// The host: exact or `*.suffix`. Lower case.
    pub host: Arc<str>,
    /// What is spoken there.
    pub protocol: OutboundProtocol,
    /// Where connections go. Empty where only requests have routes.
    pub routes: TcpRoutes,
    /// The object that allows it.
    pub origin: Arc<Origin>,
}

/// What a client may speak on a port, which is part of the permission.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutboundProtocol {
    /// HTTP in clear.
    Http,
    /// TLS, which begins with a ClientHello.
    Tls,
    /// Bytes, which nobody looks at.
    Tcp,
    /// It was not said: whatever the client begins with.
    Unspecified,
}

impl OutboundProtocol {
    /// Istio's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Unspecified => "UNSPECIFIED",
        }
    }
}

impl From<PortProtocol> for OutboundProtocol {
    fn from(protocol: PortProtocol) -> Self {
        match protocol {
            PortProtocol::Unspecified => Self::Unspecified,
            one if one.is_http() => Self::Http,
            one if one.is_tls() => Self::Tls,
            _ => Self::Tcp,
        }
    }
}

/// What becomes of clients that ask for what is not in the registry.
///
/// Source: Istio `outboundTrafficPolicy`.
#[derive(Debug, Default)]
pub struct Otherwise {
    /// Whether they are let through.
    pub policy: UnknownPolicy,
    /// For requests: one host `*`. Empty where nothing is let through.
    pub virtual_hosts: VirtualHosts,
    /// For connections.
    pub routes: TcpRoutes,
}

/// Whether clients that ask for what is not in the registry are let through.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownPolicy {
    /// They are not: `REGISTRY_ONLY`.
    #[default]
    Refused,
    /// They are: `ALLOW_ANY`.
    Passed,
    /// They are, and it is noted that they would not be: nothing is enforced yet.
    Noted,
}

/// What a client that asks for a host and port gets.
#[derive(Debug)]
pub enum Reached<'t> {
    /// It is in the registry.
    Service(&'t Arc<OutboundService>),
    /// It is not, and is let through.
    Passed(&'t TcpRoutes, Option<Denial>),
    /// It is not, and is refused.
    Refused(Denial),
}

impl Outbound {
    /// The registry, port by port.
    pub fn new(
        ports: HashMap<u16, Arc<OutboundPort>>,
        hidden: HostMap<ResourceRef>,
        otherwise: Otherwise,
    ) -> Self {
        Self {
            anywhere: match ports.len() {
                0..=FEW_PORTS => Known::default(),
                _ => Known::on(ports.values()),
            },
            ports,
            hidden,
            otherwise,
            names: Arc::default(),
        }
    }

    /// What becomes of a connection that asks for a host and port.
    pub fn reach(&self, target: &Target) -> Reached<'_> {
        match self.service(target) {
            Some(service) => Reached::Service(service),
            None => self.unknown(target),
        }
    }

    /// What becomes of a connection whose host and port is not in the registry, or not for what it speaks.
    pub fn unknown(&self, target: &Target) -> Reached<'_> {
        let routes = &self.otherwise.routes;
        match self.otherwise.policy {
            UnknownPolicy::Passed => Reached::Passed(routes, None),
            UnknownPolicy::Noted => Reached::Passed(routes, Some(self.denial(target))),
            UnknownPolicy::Refused => Reached::Refused(self.denial(target)),
        }
    }

    /// The service of a host and port.
    pub fn service(&self, target: &Target) -> Option<&Arc<OutboundService>> {
        self.ports.get(&target.port())?.service(target)
    }

    /// What becomes of a request for a host and port, and why it would be refused where it is let through all the
    /// same. `head.authority` names the same host, in whatever spelling.
    pub fn decide<'t>(
        &'t self,
        target: &Target,
        head: &RequestHead<'_>,
        dice: &mut impl Dice,
        facts: &impl Facts,
        observer: &mut impl Observer,
    ) -> (Decision<'t>, Option<Denial>) {
        match self.virtual_host(target) {
            Some(host) => (decide_at(host, head, dice, facts, observer), None),
            None => self.decide_unknown(target, head, dice, facts, observer),
        }
    }

    /// The virtual host for requests that ask for a host or an address on a port.
    pub fn virtual_host(&self, target: &Target) -> Option<&Arc<VirtualHost>> {
        self.ports.get(&target.port())?.virtual_host(target)
    }

    /// As [`Self::decide`], for a target that is known not to be in the registry.
    pub fn decide_unknown<'t>(
        &'t self,
        target: &Target,
        head: &RequestHead<'_>,
        dice: &mut impl Dice,
        facts: &impl Facts,
        observer: &mut impl Observer,
    ) -> (Decision<'t>, Option<Denial>) {
        let otherwise = &self.otherwise;
        // Why not is asked for only where somebody wants to know.
        match (otherwise.policy, otherwise.virtual_hosts.any()) {
            (UnknownPolicy::Passed, Some(host)) => {
                (decide_at(host, head, dice, facts, observer), None)
            }
            (UnknownPolicy::Noted, Some(host)) => {
                let decision = decide_at(host, head, dice, facts, observer);
                (decision, Some(self.denial(target)))
            }
            _ => self.refuse(target),
        }
    }

    /// The answer to a request for what is not let through.
    pub(crate) fn refuse<'t>(&self, target: &Target) -> (Decision<'t>, Option<Denial>) {
        let denial = self.denial(target);
        (refused(target, denial), Some(denial))
    }

    /// Why a host and port is not let through.
    pub fn denial(&self, target: &Target) -> Denial {
        if self.service(target).is_some() {
            Denial::Protocol
        } else if self.is_anywhere(target) {
            Denial::Port
        } else if of(&self.hidden, target).is_some() {
            Denial::NotVisible
        } else {
            Denial::NotInRegistry
        }
    }

    fn is_anywhere(&self, target: &Target) -> bool {
        if self.ports.len() > FEW_PORTS {
            return self.anywhere.has(target);
        }
        let mut ports = self.ports.values();
        ports.any(|port| port.service(target).is_some())
    }
}

impl OutboundPort {
    /// The virtual host for requests that ask for a host or an address.
    pub fn virtual_host(&self, target: &Target) -> Option<&Arc<VirtualHost>> {
        let by_name = of(&self.virtual_hosts, target);
        by_name.or_else(|| self.virtual_hosts_at.get(target.address()?))
    }

    fn service(&self, target: &Target) -> Option<&Arc<OutboundService>> {
        let by_name = of(&self.services, target);
        by_name.or_else(|| self.addresses.get(target.address()?))
    }
}

impl Known {
    fn on<'p>(ports: impl Iterator<Item = &'p Arc<OutboundPort>>) -> Self {
        let mut known = Self::default();
        let there = Arc::new(());
        for port in ports {
            for (host, _) in port.services.entries() {
                known.hosts.add(&host, there.clone());
            }
            for (network, _) in port.addresses.iter() {
                known.networks.add(*network, ());
            }
        }
        known
    }

    fn has(&self, target: &Target) -> bool {
        let is_in = |address| self.networks.get(address).is_some();
        of(&self.hosts, target).is_some() || target.address().is_some_and(is_in)
    }
}

/// What a map has of a host. An address belongs to no wildcard, not even to `*.1`.
fn of<'m, T>(map: &'m HostMap<T>, target: &Target) -> Option<&'m Arc<T>> {
    match target.address() {
        Some(_) => map.exact(target.authority()),
        None => map.lookup(target.authority()),
    }
}

impl Denial {
    /// The answer to a request that is refused: as from Istio's virtual host `block_all`, but with the reason in the
    /// body.
    pub fn answer_to_request(self, target: &Target) -> Answer {
        self.answer(target, self.status_of_request())
    }

    /// The answer to a client that asks for a tunnel.
    pub fn answer_to_tunnel(self, target: &Target) -> Answer {
        self.answer(target, self.status_of_tunnel())
    }

    fn answer(self, target: &Target, status: StatusCode) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: Bytes::from(self.told(target)),
            grpc_status: None,
            reason: Reason::Denied(self),
        }
    }
}

fn refused<'t>(target: &Target, denial: Denial) -> Decision<'t> {
    Decision {
        virtual_host: None,
        route: None,
        delay: None,
        outcome: Outcome::Answer(denial.answer_to_request(target)),
    }
}
