//! Listeners for what a workload sends.

use crate::{
    Decision, Denial, Dice, Facts, Headless, Observer, Outbound, OutboundProtocol, OutboundService,
    Reached, RequestHead, ServicePort, Target, host_of,
};
use std::net::SocketAddr;
use std::sync::Arc;

/// A listener that the connections of a workload come to.
#[derive(Debug)]
pub struct OutboundListener {
    /// What the workload reaches.
    pub outbound: Arc<Outbound>,
    /// Where the connections go.
    pub to: OutboundTo,
}

/// Where connections of a workload go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OutboundTo {
    /// Where they were going when they were redirected.
    OriginalDestination,
    /// To this port of whatever service their requests name. The workload has connected on purpose.
    ///
    /// Source: Istio `Sidecar.egress` with `captureMode: NONE`.
    Port(u16),
    /// To a service, whatever their requests name. The workload has connected on purpose.
    Service(Target),
}

impl OutboundListener {
    /// The service of a connection to `local`, as far as the connection itself tells; of a redirected one that is
    /// where it was going, which may be an endpoint of a headless Service. Absent: only what is in it tells.
    pub fn service(&self, local: SocketAddr, headless: &Headless) -> Option<&Arc<OutboundService>> {
        match &self.to {
            OutboundTo::OriginalDestination => {
                let by_address = self.outbound.service(&address(local));
                by_address.or_else(|| self.headless(headless.get(&local)?))
            }
            OutboundTo::Port(port) => self.only_service(*port),
            OutboundTo::Service(target) => self.outbound.service(target),
        }
    }

    /// The port that such a connection is for.
    pub fn port(&self, local: SocketAddr) -> u16 {
        match &self.to {
            OutboundTo::OriginalDestination => local.port(),
            OutboundTo::Port(port) => *port,
            OutboundTo::Service(target) => target.port(),
        }
    }

    /// What becomes of a connection of which nothing else is known.
    pub fn reach(&self, local: SocketAddr, headless: &Headless) -> Reached<'_> {
        match self.service(local, headless) {
            Some(service) => Reached::Service(service),
            None => self.unknown(local),
        }
    }

    /// What becomes of a connection in TLS that asks for a name. Of names for which a service's rules say something
    /// else than for its address, the more specific one counts; a name leads nowhere else than the address does.
    ///
    /// Source: Istio, filter chains of outbound listeners.
    pub fn reach_by_name(&self, local: SocketAddr, name: &str, headless: &Headless) -> Reached<'_> {
        let by_address = self.service(local, headless);
        let named = Target::new(name, self.port(local)).ok();
        let named = named.and_then(|named| self.outbound.service(&named));
        let named = named.filter(|named| {
            speaks_tls(named.protocol)
                && by_address.is_none_or(|service| service.origin == named.origin)
        });
        match named.or(by_address) {
            Some(service) => Reached::Service(service),
            None => self.unknown(local),
        }
    }

    /// What becomes of a request, and why it is refused, where it is.
    pub fn decide<'t>(
        &'t self,
        local: SocketAddr,
        head: &RequestHead<'_>,
        dice: &mut impl Dice,
        facts: &impl Facts,
        observer: &mut impl Observer,
    ) -> (Decision<'t>, Option<Denial>) {
        let outbound = &self.outbound;
        let (target, is_known) = match self.target(local, head.authority) {
            Ok(target) => {
                let is_known = outbound.virtual_host(&target).is_some();
                (target, is_known)
            }
            Err(address) => (address, false),
        };
        match (is_known, &self.to) {
            (true, _) => outbound.decide(&target, head, dice, facts, observer),
            (false, OutboundTo::OriginalDestination) => {
                outbound.decide_unknown(&target, head, dice, facts, observer)
            }
            (false, _) => outbound.refuse(&target),
        }
    }

    /// The host and port that a request is for. `Err`: it names nothing that there can be, and is known by its
    /// connection's address alone.
    fn target(&self, local: SocketAddr, authority: &str) -> Result<Target, Target> {
        match &self.to {
            OutboundTo::Service(service) => Ok(service.clone()),
            OutboundTo::OriginalDestination | OutboundTo::Port(_) => {
                Target::new(host_of(authority), self.port(local)).map_err(|_| address(local))
            }
        }
    }

    /// Only a redirected connection goes on where nothing is known: others would lead back.
    fn unknown(&self, local: SocketAddr) -> Reached<'_> {
        match &self.to {
            OutboundTo::OriginalDestination => self.outbound.unknown(&address(local)),
            OutboundTo::Port(_) => Reached::Refused(Denial::NotInRegistry),
            OutboundTo::Service(target) => Reached::Refused(self.outbound.denial(target)),
        }
    }

    /// A service whose endpoints are connected to by their addresses.
    fn headless(&self, port: &ServicePort) -> Option<&Arc<OutboundService>> {
        self.outbound
            .ports
            .get(&port.port)?
            .services
            .exact(&port.host)
    }

    /// The service of a port that has no other.
    fn only_service(&self, port: u16) -> Option<&Arc<OutboundService>> {
        let services = &self.outbound.ports.get(&port)?.services;
        let mut services = services.iter();
        let first = services.next()?;
        let is_alone = services.all(|one| Arc::ptr_eq(one, first));
        is_alone.then_some(first)
    }
}

fn address(local: SocketAddr) -> Target {
    Target::of_address(local.ip(), local.port())
}

fn speaks_tls(protocol: OutboundProtocol) -> bool {
    matches!(
        protocol,
        OutboundProtocol::Tls | OutboundProtocol::Unspecified
    )
}
