//! Istio's `TLSRoute` and `TCPRoute`: rules for connections.

use super::Scope;
use super::forwarding::uneven_weights;
use super::part::{ConnectionRoute, Part};
use super::routes::shadowed;
use crate::{TcpDestination, TcpMatch, TcpRoute};
use ahash::{HashMap, HashMapExt};
use model::{
    At, HostPattern, L4MatchAttributes, Origin, RouteDestination, TcpRoute as TcpRule,
    TlsMatchAttributes, TlsRoute as TlsRule, VirtualService,
};
use std::sync::Arc;

/// A rule, or a match of it, where it stands.
struct Place<'p> {
    owner: &'p VirtualService,
    path: String,
    at: At,
}

impl Place<'_> {
    fn origin(&self) -> Arc<Origin> {
        Arc::new(self.owner.meta.origin(self.path.clone(), self.at))
    }
}

impl Scope<'_> {
    /// Adds the rules of `tls`. Of rules for one name, what comes behind one that takes every connection is
    /// never reached.
    pub(super) fn add_tls_rules(&mut self, owner: &VirtualService, part: &mut Part) {
        let mut taken = HashMap::new();
        for (index, rule) in owner.tls.iter().enumerate() {
            let place = Place {
                owner,
                path: format!("spec.tls[{index}]"),
                at: rule.at,
            };
            self.add_tls_rule(rule, &place, &mut taken, part);
        }
    }

    fn add_tls_rule<'r>(
        &mut self,
        rule: &'r TlsRule,
        place: &Place<'r>,
        taken: &mut HashMap<&'r HostPattern, Arc<Origin>>,
        part: &mut Part,
    ) {
        let admitted = |(_, one): &(usize, &TlsMatchAttributes)| self.admits(*one);
        let matches: Vec<_> = rule.matches.iter().enumerate().filter(admitted).collect();
        if matches.is_empty() {
            return;
        }
        let destinations = self.connection_destinations(&rule.route, place, part);
        for (index, one) in matches {
            let place = Place {
                path: format!("{}.match[{index}]", place.path),
                at: one.at,
                ..*place
            };
            let limits = TcpMatch {
                destination_subnets: one.destination_subnets.clone(),
                source_subnet: None,
            };
            let route = route(limits, &destinations, place.origin());
            add_names(one, &route, &place, taken, part);
        }
    }

    /// Adds the rules of `tcp`, until one takes every connection: what comes after it is never reached.
    pub(super) fn add_tcp_rules(&mut self, owner: &VirtualService, part: &mut Part) {
        let mut taken = None;
        for (index, rule) in owner.tcp.iter().enumerate() {
            let place = Place {
                owner,
                path: format!("spec.tcp[{index}]"),
                at: rule.at,
            };
            self.add_tcp_rule(rule, place, &mut taken, part);
        }
    }

    fn add_tcp_rule(
        &mut self,
        rule: &TcpRule,
        place: Place<'_>,
        taken: &mut Option<Arc<Origin>>,
        part: &mut Part,
    ) {
        let admitted = |(_, one): &(usize, &L4MatchAttributes)| self.admits(*one);
        let matches: Vec<_> = rule.matches.iter().enumerate().filter(admitted).collect();
        if matches.is_empty() && !rule.matches.is_empty() {
            return;
        }
        if taken.is_some() {
            return hide(&place, taken, part);
        }
        let destinations = self.connection_destinations(&rule.route, &place, part);
        if matches.is_empty() {
            return add(place, TcpMatch::default(), &destinations, taken, part);
        }
        for (index, one) in matches {
            let place = Place {
                path: format!("{}.match[{index}]", place.path),
                at: one.at,
                ..place
            };
            let limits = TcpMatch {
                destination_subnets: one.destination_subnets.clone(),
                source_subnet: one.source_subnet,
            };
            add(place, limits, &destinations, taken, part);
        }
    }

    /// One destination takes everything; of several those without weight take nothing.
    fn connection_destinations(
        &mut self,
        route: &[RouteDestination],
        place: &Place<'_>,
        part: &mut Part,
    ) -> Vec<TcpDestination> {
        let only = route.len() == 1;
        if !only {
            let at = route.first().map_or(place.at, |first| first.at);
            let place = (&place.owner.meta, format!("{}.route", place.path), at);
            let weights = route.iter().map(|one| one.weight);
            part.diagnostics.extend(uneven_weights(place, weights));
        }
        let mut destinations = Vec::with_capacity(route.len());
        for (index, one) in route.iter().enumerate() {
            let weight = if only { 1 } else { one.weight.unwrap_or(0) };
            if weight == 0 {
                continue;
            }
            let place = Place {
                path: format!("{}.route[{index}].destination", place.path),
                at: one.destination.at,
                ..*place
            };
            destinations.push(TcpDestination {
                weight,
                cluster: self.target(&one.destination, place.owner, &place.path, part),
                origin: place.origin(),
            });
        }
        destinations
    }
}

fn add(
    place: Place<'_>,
    limits: TcpMatch,
    destinations: &[TcpDestination],
    taken: &mut Option<Arc<Origin>>,
    part: &mut Part,
) {
    if taken.is_some() {
        return hide(&place, taken, part);
    }
    let route = route(limits, destinations, place.origin());
    if route.takes_all() {
        *taken = Some(route.origin.clone());
    }
    part.connections.push(ConnectionRoute {
        sni: None,
        route,
        at: place.at,
        path: place.path,
    });
}

fn hide(place: &Place<'_>, taken: &Option<Arc<Origin>>, part: &mut Part) {
    if let Some(earlier) = taken {
        let place = (&place.owner.meta, place.path.as_str(), place.at);
        let hidden = shadowed(place, earlier, "takes every connection");
        part.shadowed.push(hidden);
    }
}

fn route(limits: TcpMatch, destinations: &[TcpDestination], origin: Arc<Origin>) -> Arc<TcpRoute> {
    let weights = destinations.iter().map(|one| one.weight);
    Arc::new(TcpRoute {
        matches: match limits == TcpMatch::default() {
            true => Vec::new(),
            false => vec![limits],
        },
        destinations: destinations.to_vec(),
        // What adds up to more is refused when it is read.
        total_weight: weights.fold(0, u32::saturating_add),
        origin,
    })
}

/// Adds a route for each of a match's names, but those for which an earlier one leaves nothing.
fn add_names<'r>(
    one: &'r TlsMatchAttributes,
    route: &Arc<TcpRoute>,
    place: &Place<'_>,
    taken: &mut HashMap<&'r HostPattern, Arc<Origin>>,
    part: &mut Part,
) {
    for (index, sni) in one.sni_hosts.iter().enumerate() {
        let path = format!("{}.sniHosts[{index}]", place.path);
        if let Some(earlier) = taken.get(&sni.value) {
            let why = format!("takes every connection for {:?}", sni.value.as_str());
            let place = (&place.owner.meta, path.as_str(), sni.at);
            part.shadowed.push(shadowed(place, earlier, &why));
            continue;
        }
        if route.takes_all() {
            taken.insert(&sni.value, route.origin.clone());
        }
        part.connections.push(ConnectionRoute {
            sni: Some(sni.value.clone()),
            route: route.clone(),
            path,
            at: sni.at,
        });
    }
}
