//! TLS and TCP routes.

use super::{check_weights, destination, gateways};
use crate::decode::{Cursor, Fields};
use crate::{
    HostPattern, IpNet, L4MatchAttributes, Located, RouteDestination, TcpRoute, TlsMatchAttributes,
    TlsRoute,
};

pub(super) fn tls_route(cursor: &Cursor<'_>, hosts: &[Located<HostPattern>]) -> Option<TlsRoute> {
    cursor.object(|fields| {
        let listed = fields.required("match").map(|matches| matches.items());
        if listed.as_ref().is_some_and(Vec::is_empty) {
            fields.missing("match", "TLS route must have at least one match".to_owned());
        }
        let matches = listed
            .unwrap_or_default()
            .iter()
            .filter_map(|cursor| tls_match(cursor, hosts))
            .collect();
        let route = route(fields);
        Some(TlsRoute {
            at: fields.at(),
            matches,
            route: route?,
        })
    })
}

fn tls_match(cursor: &Cursor<'_>, hosts: &[Located<HostPattern>]) -> Option<TlsMatchAttributes> {
    cursor.object(|fields| {
        if fields.items("sniHosts").is_empty() {
            fields.missing(
                "sniHosts",
                "TLS match must have at least one SNI host".to_owned(),
            );
        }
        let sni_hosts = fields.each("sniHosts", |cursor| sni_host(cursor, hosts));
        Some(TlsMatchAttributes {
            at: fields.at(),
            sni_hosts,
            destination_subnets: destination_subnets(fields),
            port: fields.maybe("port", Cursor::port),
            source_labels: fields.labels("sourceLabels"),
            source_namespace: fields.string("sourceNamespace").map(Into::into),
            gateways: gateways(fields),
        })
    })
}

fn sni_host(cursor: &Cursor<'_>, hosts: &[Located<HostPattern>]) -> Option<Located<HostPattern>> {
    let host = cursor.host()?;
    if host.ip().is_some() {
        cursor.warning(
            "ineffective",
            format!("{host} is an IP address, which clients do not send as SNI"),
        );
    }
    if !hosts.is_empty() && !hosts.iter().any(|own| own.value.covers(&host)) {
        let message = format!(
            "SNI host {:?} is not a compatible subset of the virtual service hosts",
            host.as_str()
        );
        cursor
            .error("invalid_host", message)
            .help("spec.hosts must hold it, or a wildcard that covers it");
    }
    Some(Located {
        value: host,
        at: cursor.at(),
    })
}

pub(super) fn tcp_route(cursor: &Cursor<'_>) -> Option<TcpRoute> {
    cursor.object(|fields| {
        let matches = fields.each("match", l4_match);
        let route = route(fields);
        Some(TcpRoute {
            at: fields.at(),
            matches,
            route: route?,
        })
    })
}

fn l4_match(cursor: &Cursor<'_>) -> Option<L4MatchAttributes> {
    cursor.object(|fields| {
        Some(L4MatchAttributes {
            at: fields.at(),
            destination_subnets: destination_subnets(fields),
            port: fields.maybe("port", Cursor::port),
            source_subnet: fields.maybe("sourceSubnet", Cursor::network),
            source_labels: fields.labels("sourceLabels"),
            source_namespace: fields.string("sourceNamespace").map(Into::into),
            gateways: gateways(fields),
        })
    })
}

fn destination_subnets(fields: &Fields<'_>) -> Vec<IpNet> {
    let mut subnets = fields.each("destinationSubnets", Cursor::network);
    if let Some(one) = fields.field("destinationSubnet") {
        one.legacy("destinationSubnets");
        subnets.extend(one.network());
    }
    subnets
}

fn route(fields: &Fields<'_>) -> Option<Vec<RouteDestination>> {
    let cursor = fields.required("route")?;
    let items = cursor.items();
    if items.is_empty() {
        fields.missing("route", "at least one destination is required".to_owned());
    }
    let routes: Vec<RouteDestination> = items.iter().filter_map(route_destination).collect();
    if routes.len() == items.len() {
        let weights: Vec<Option<u32>> = routes.iter().map(|route| route.weight).collect();
        check_weights(&cursor, &weights);
    }
    Some(routes)
}

fn route_destination(cursor: &Cursor<'_>) -> Option<RouteDestination> {
    cursor.object(|fields| {
        let destination = fields
            .required("destination")
            .and_then(|to| destination(&to));
        let weight = fields.maybe("weight", super::action::weight);
        Some(RouteDestination {
            at: fields.at(),
            destination: destination?,
            weight,
        })
    })
}
