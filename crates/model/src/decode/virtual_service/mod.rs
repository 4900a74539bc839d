//! VirtualService.

mod action;
mod fault;
mod forward;
mod headers;
mod l4;
mod matching;
mod route;
mod text;

use super::values::NobodyAllowed;
use super::{Cursor, Fields};
use crate::{Destination, GatewayRef, GatewayRefForm, HostPattern, Located, Meta, VirtualService};
use std::collections::HashSet;

pub(super) fn virtual_service(spec: &Cursor<'_>, meta: Meta) -> Option<VirtualService> {
    spec.object(|fields| {
        let hosts = fields.each("hosts", |host| host.located_host());
        let is_delegate = fields.items("hosts").is_empty();
        let gateways = gateways(fields);
        let bound_to = match is_delegate {
            true => BoundTo::Both, // whatever those that delegate to it are bound to
            false => BoundTo::of(&gateways),
        };
        let http = fields.each("http", |cursor| {
            route::http_route(cursor, is_delegate, bound_to)
        });
        let tls = fields.each("tls", |cursor| l4::tls_route(cursor, &hosts));
        let tcp = fields.each("tcp", l4::tcp_route);
        let export_to = fields.export_to(NobodyAllowed::No);
        if !(fields.has("http") || fields.has("tls") || fields.has("tcp")) {
            fields.missing("http", "http, tls or tcp is required".to_owned());
        }
        check_hosts(fields, &hosts, bound_to);
        if is_delegate {
            check_delegate(fields);
        }
        let gateways = match gateways.is_empty() && !is_delegate {
            true => vec![Located {
                value: GatewayRef::Mesh,
                at: fields.at(),
            }],
            false => gateways,
        };
        Some(VirtualService {
            meta,
            hosts,
            gateways,
            http,
            tls,
            tcp,
            export_to,
        })
    })
}

/// What a VirtualService is bound to, as far as its checks depend on it.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum BoundTo {
    Gateways,
    Mesh,
    Both,
}

impl BoundTo {
    fn of(gateways: &[Located<GatewayRef>]) -> Self {
        let mesh = gateways
            .iter()
            .any(|gateway| gateway.value == GatewayRef::Mesh);
        let gateway = gateways
            .iter()
            .any(|gateway| gateway.value != GatewayRef::Mesh);
        match (gateway, mesh) {
            (true, true) => Self::Both,
            (true, false) => Self::Gateways,
            _ => Self::Mesh,
        }
    }
}

/// `gateways` of a VirtualService or of a match.
fn gateways(fields: &Fields<'_>) -> Vec<Located<GatewayRef>> {
    fields.each("gateways", gateway_ref)
}

fn gateway_ref(cursor: &Cursor<'_>) -> Option<Located<GatewayRef>> {
    let text = cursor.str()?;
    match GatewayRef::parse(text, &cursor.cx.namespace()) {
        Ok((value, form)) => {
            if form == GatewayRefForm::LegacyFqdn {
                cursor.legacy(&value.to_string());
            }
            Some(Located {
                value,
                at: cursor.at(),
            })
        }
        Err(error) => {
            cursor
                .error("invalid_value", error.to_string())
                .help("write name, namespace/name, ./name or mesh");
            None
        }
    }
}

fn check_hosts(fields: &Fields<'_>, hosts: &[Located<HostPattern>], bound_to: BoundTo) {
    let items = fields.items_by_place("hosts");
    let (mut seen, mut wildcards) = (HashSet::new(), HashSet::new());
    wildcards.extend(
        hosts
            .iter()
            .map(|host| &host.value)
            .filter(|host| host.is_wildcard()),
    );
    for host in hosts {
        let pattern = &host.value;
        let twice = !seen.insert(pattern);
        let wider = wider_than(pattern).find(|wider| wildcards.contains(wider));
        let refused = pattern.is_any() && bound_to != BoundTo::Gateways;
        if !(twice || wider.is_some() || refused) {
            continue;
        }
        let Some(cursor) = items.get(&host.at) else {
            continue;
        };
        if refused {
            let message =
                "wildcard host * is not allowed for virtual services bound to the mesh gateway";
            let problem = cursor.error("invalid_host", message);
            problem.help("name a Gateway in spec.gateways, and not mesh");
        }
        if twice {
            cursor.error(
                "overlapping_hosts",
                format!("host {pattern} is there twice"),
            );
        } else if let Some(wider) = wider {
            let message =
                format!("host {pattern} overlaps host {wider} of the same VirtualService");
            cursor.error("overlapping_hosts", message);
        }
    }
}

/// The wildcards that cover a host: `*.b.c`, `*.c` and `*` of `a.b.c`.
fn wider_than(host: &HostPattern) -> impl Iterator<Item = HostPattern> {
    let name = host.suffix().map_or(host.as_str(), |suffix| &suffix[1..]);
    let parents = std::iter::successors(Some(name), |name| {
        name.split_once('.').map(|(_, parent)| parent)
    });
    let suffixes: Vec<String> = parents
        .skip(1)
        .map(|parent| format!("*.{parent}"))
        .collect();
    let any = (!host.is_any()).then(HostPattern::any);
    suffixes
        .into_iter()
        .filter_map(|suffix| HostPattern::try_from(suffix.as_str()).ok())
        .chain(any)
}

/// One without hosts only serves others, and may have nothing but plain HTTP rules.
fn check_delegate(fields: &Fields<'_>) {
    let without = |name: &'static str, message: &str| {
        if let Some(field) = fields.field(name).filter(|_| fields.has(name)) {
            let problem = field.error("exclusive_fields", message.to_owned());
            problem.help("a VirtualService without hosts is a delegate: name hosts if it is not meant to be one");
        }
    };
    without("gateways", "a delegate VirtualService cannot have gateways");
    without("tls", "a delegate VirtualService cannot have tls rules");
    without("tcp", "a delegate VirtualService cannot have tcp rules");
}

pub(super) fn destination(cursor: &Cursor<'_>) -> Option<Destination> {
    cursor.object(|fields| {
        let host = fields
            .required("host")
            .and_then(|cursor| destination_host(&cursor));
        let subset = fields.maybe("subset", |subset| {
            // Istio takes an empty one for none.
            (subset.str() != Some("")).then(|| subset.dns_label())?
        });
        let port = fields.maybe("port", Cursor::port_selector);
        Some(Destination {
            at: fields.at(),
            host: host?,
            subset,
            port,
        })
    })
}

fn destination_host(cursor: &Cursor<'_>) -> Option<HostPattern> {
    let host = cursor.host()?;
    if host.is_any() {
        cursor.error("invalid_host", "a destination must name a host");
        return None;
    }
    Some(host)
}

/// Reports shares that add up to nothing.
fn check_weights(routes: &Cursor<'_>, weights: &[Option<u32>]) {
    let total: u64 = weights
        .iter()
        .flatten()
        .map(|weight| u64::from(*weight))
        .sum();
    if weights.len() > 1 && total == 0 {
        routes
            .error("invalid_value", "total destination weight = 0")
            .help("give each destination a weight; one without a weight gets nothing");
    } else if weights.len() > 1 && total > u64::from(u32::MAX) {
        routes.error(
            "out_of_range",
            format!(
                "total destination weight = {total} is more than {}",
                u32::MAX
            ),
        );
    }
    if weights.len() > 1 && total > 0 {
        for (item, _) in routes
            .items()
            .iter()
            .zip(weights)
            .filter(|(_, weight)| weight.is_none())
        {
            item.warning(
                "ineffective",
                "a destination without weight beside others gets no requests",
            );
        }
    }
}
