//! Requests of a sidecar: where its workload's go, and what comes to its workload.

use super::context::Head;
use super::failure::Failure;
use super::route::{FailureOf, Ways};
use crate::{ConnectionInfo, Side, authorization};
use http::HeaderValue;
use http::header::HOST;
use pingora_http::RequestHeader;
use rules::{Inbound, MtlsMode, OutboundTo, RequestHead, Table, Verdict};
use telemetry::Metrics;

/// The port of HTTP, which a `Host` need not name.
const HTTP_PORT: u16 = 80;

/// What a sidecar calls itself in answers to its workload.
const OUTBOUND_SERVER: HeaderValue = HeaderValue::from_static("envoy");
/// What it calls itself in answers of its workload.
const INBOUND_SERVER: HeaderValue = HeaderValue::from_static("istio-envoy");

/// The `server` header of answers on a connection; that of a gateway is `own`.
///
/// Source: Istio, `server` of sidecars.
pub(super) fn server(side: Side, own: &HeaderValue) -> HeaderValue {
    match side {
        Side::Gateway => own.clone(),
        Side::Outbound => OUTBOUND_SERVER,
        Side::Inbound => INBOUND_SERVER,
    }
}

/// Has a request that came to the address of a service be one for that service, whatever name its workload has for it.
pub(super) fn name_service(table: &Table, request: &mut RequestHeader, head: &mut Head) {
    if head.connection.side != Side::Outbound {
        return;
    }
    let listener = head.connection.outbound_in(table);
    let Some(OutboundTo::Service(service)) = listener.map(|listener| &listener.to) else {
        return;
    };
    let host = match service.port() {
        HTTP_PORT => service.authority().to_owned(),
        _ => service.to_string(),
    };
    // Well-formed, as all of the registry are.
    if let Ok(host) = HeaderValue::try_from(host) {
        let _ = request.insert_header(HOST, host.clone());
        head.authority = host;
    }
}

/// Where the routes of a workload's request are.
pub(super) fn outbound<'t>(
    table: &'t Table,
    connection: &ConnectionInfo,
) -> Result<Ways<'t, 'static>, FailureOf> {
    let listener = connection.outbound_in(table);
    let listener = listener.ok_or((Failure::NoListener, None))?;
    Ok(Ways::Workload(listener, connection.local))
}

/// The inbound side that a request to a workload came by. What would not be let in any more is not served any more.
pub(super) fn inbound<'t>(
    table: &'t Table,
    connection: &ConnectionInfo,
) -> Result<Ways<'t, 'static>, FailureOf> {
    let inbound = connection.inbound_in(table);
    let inbound = inbound.ok_or((Failure::NoListener, None))?;
    let setting = inbound.mtls.setting(connection.local.port());
    if connection.mesh_client().is_none() && setting.mode == MtlsMode::Strict {
        return Err((Failure::ServerGone, setting.origin.clone()));
    }
    Ok(Ways::ToWorkload(inbound))
}

/// What policies say of a request to a workload, counted. The object that denies it, if one does.
pub(super) fn authorize(
    inbound: &Inbound,
    head: &Head,
    request: &RequestHead<'_>,
    metrics: &Metrics,
) -> Verdict {
    if inbound.authorization.is_empty() {
        return Verdict::default();
    }
    let peer = authorization::peer_of(&head.connection, head.client);
    let verdict = inbound.authorization.decide_request(&peer, request);
    authorization::count(&verdict, metrics);
    verdict
}
