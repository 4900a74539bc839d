//! Listeners that a workload connects to on purpose.

use super::super::diagnostics::{Help, warning};
use super::super::outbound::Limits;
use super::super::{CompileOptions, LocalPortOptions};
use super::{outbound_at, own_origin};
use crate::{Denial, Listener, Outbound, OutboundTo, Target};
use model::{Bind, CaptureMode, Diagnostic, HostPattern, IstioEgressListener, Severity, Sidecar};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Those of the bootstrap file: a service each.
pub(super) fn of_options(
    ports: &[LocalPortOptions],
    options: &CompileOptions,
    outbound: &Arc<Outbound>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Listener> {
    let mut listeners = Vec::with_capacity(ports.len());
    for port in ports {
        let path = format!("capture.services.\"{}\"", port.address);
        let service = whole(&port.service, options);
        if outbound.service(&service).is_none() {
            let denial = outbound.denial(&service);
            diagnostics.push(not_reached(&path, &service, denial));
        }
        let to = OutboundTo::Service(service);
        listeners.push(outbound_at(port.address, outbound, to, own_origin(&path)));
    }
    listeners
}

fn not_reached(path: &str, service: &Target, denial: Denial) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: "unknown_destination",
        resource: None,
        path: path.to_owned(),
        message: denial.told(service).trim_end().to_owned(),
        help: Some("requests are answered 502, and connections closed, until it is there".into()),
        position: None,
    }
}

/// A short name is one of the workload's namespace. An address has none.
fn whole(service: &Target, options: &CompileOptions) -> Target {
    let namespace = &options.proxy.namespace;
    let suffix = &options.mesh.domain_suffix;
    let pattern = HostPattern::try_from(service.authority()).ok();
    let host = pattern.map(|pattern| pattern.expand(namespace, suffix));
    let whole = host.and_then(|host| Target::new(host.as_str(), service.port()).ok());
    whole.unwrap_or_else(|| service.clone())
}

/// Those of a Sidecar with `captureMode: NONE`: a port each.
///
/// Source: Istio `Sidecar.egress`.
pub(super) fn of_sidecar(
    limits: &Limits,
    outbound: &Arc<Outbound>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Listener> {
    let Some(sidecar) = limits.sidecar() else {
        return Vec::new();
    };
    let listeners = sidecar.egress.iter().enumerate();
    let bound = listeners.filter(|(_, one)| one.capture_mode == CaptureMode::None);
    bound
        .filter_map(|(index, one)| match address(one) {
            Some((address, port)) => {
                let path = format!("spec.egress[{index}]");
                let origin = Arc::new(sidecar.meta.origin(path, one.at));
                let to = OutboundTo::Port(port);
                Some(outbound_at(address, outbound, to, origin))
            }
            None => {
                diagnostics.push(not_bound(sidecar, index, one));
                None
            }
        })
        .collect()
}

/// Where it listens, on loopback if nothing is said, and the services' port.
fn address(listener: &IstioEgressListener) -> Option<(SocketAddr, u16)> {
    let port = listener.port.as_ref()?.number;
    let ip = match &listener.bind {
        Some(Bind::Ip(ip)) => *ip,
        Some(Bind::Unix(_)) => return None,
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Some((SocketAddr::new(ip, port), port))
}

fn not_bound(sidecar: &Sidecar, index: usize, listener: &IstioEgressListener) -> Diagnostic {
    let told = warning(
        &sidecar.meta,
        "not_bound",
        format!("spec.egress[{index}]"),
        listener.at,
        "a listener that is not redirected to needs a port and an IP address".to_owned(),
    );
    told.help(
        "set `port`, and for `bind` an address such as 127.0.0.1; Unix sockets are not listened to",
    )
}
