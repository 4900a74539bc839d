//! The ports that a workload's Sidecar says it has.

use super::super::diagnostics::{Help, warning};
use super::super::{CompileOptions, SidecarOptions, pool, termination};
use super::inbound::{Application, PortPlan, instance, loopback, spoken};
use super::own_ports::OwnPort;
use crate::{ConnectionPool, EndpointAddr, MtlsMode, PeerMtls, alpn};
use model::{CaptureMode, DefaultEndpoint, Diagnostic, IstioIngressListener, Sidecar};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// What is known besides.
pub(super) struct Around<'a> {
    pub(super) options: &'a CompileOptions,
    pub(super) of: &'a SidecarOptions,
    /// The ports that services have.
    pub(super) own: &'a [OwnPort],
    /// Limits of all ports that say none.
    pub(super) for_all: Option<&'a ConnectionPool>,
    /// Who has to come in the mesh's TLS.
    pub(super) mtls: &'a PeerMtls,
}

/// The listeners of `ingress`.
///
/// Source: Istio `Sidecar.ingress`.
pub(super) fn ports(
    sidecar: &Sidecar,
    around: &Around<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<PortPlan> {
    let (options, of) = (around.options, around.of);
    let mut ports = Vec::with_capacity(sidecar.ingress.len());
    for (index, listener) in sidecar.ingress.iter().enumerate() {
        let path = format!("spec.ingress[{index}]");
        if listener.capture_mode == CaptureMode::None {
            diagnostics.push(not_bound(sidecar, &path, listener));
            continue;
        }
        let number = listener.port.number;
        let takes_mesh_tls = around.mtls.setting(number).mode != MtlsMode::Disable;
        let protocol = match &listener.tls {
            Some(_) if takes_mesh_tls => {
                diagnostics.push(not_ended(sidecar, &path, listener));
                listener.port.protocol
            }
            Some(_) => listener.port.protocol.after_tls(),
            None => listener.port.protocol,
        };
        let origin = Arc::new(sidecar.meta.origin(path, listener.at));
        let mut services = around.own.iter();
        let known = services.find(|known| known.number == number);
        let own = listener.connection_pool.as_ref();
        let own = own.map(|settings| pool::of_settings(settings, &options.mesh));
        ports.push(PortPlan {
            number: Some(number),
            protocol: protocol.into(),
            service: known.map(|known| known.service.clone()),
            upstream: spoken(protocol),
            to: application(listener, of),
            pool: own
                .or_else(|| around.for_all.cloned())
                .or_else(|| known.map(|known| known.pool.clone()))
                .unwrap_or_else(|| pool::of_mesh(&options.mesh)),
            tls: (listener.tls.as_ref()).map(|tls| termination::termination(tls, alpn::HTTP)),
            origin,
        });
    }
    ports
}

fn application(listener: &IstioIngressListener, of: &SidecarOptions) -> Application {
    match &listener.default_endpoint {
        None => instance(of, Some(listener.port.number)),
        Some(DefaultEndpoint::Loopback { v6: false, port }) => {
            loopback(IpAddr::V4(Ipv4Addr::LOCALHOST), *port)
        }
        Some(DefaultEndpoint::Loopback { v6: true, port }) => {
            loopback(IpAddr::V6(Ipv6Addr::LOCALHOST), *port)
        }
        Some(DefaultEndpoint::Instance { port, .. }) => Application::Instance(Some(*port)),
        Some(DefaultEndpoint::Unix(path)) => {
            Application::At(EndpointAddr::Unix(path.as_str().into()))
        }
    }
}

fn not_bound(sidecar: &Sidecar, path: &str, listener: &IstioIngressListener) -> Diagnostic {
    let told = warning(
        &sidecar.meta,
        "not_bound",
        path,
        listener.at,
        "an ingress listener with captureMode NONE is not listened to: what is received is redirected",
    );
    told.help("leave out captureMode, so that redirected connections to this port are served")
}

/// Source: Istio `Sidecar.ingress.tls`, which counts where PeerAuthentication says DISABLE.
fn not_ended(sidecar: &Sidecar, path: &str, listener: &IstioIngressListener) -> Diagnostic {
    let told = warning(
        &sidecar.meta,
        "tls_not_ended",
        format!("{path}.tls"),
        listener.at,
        "the listener's own TLS is not ended, because the port takes the mesh's",
    );
    told.help(
        "set mode DISABLE for the port in portLevelMtls of a PeerAuthentication, or leave out tls",
    )
}
