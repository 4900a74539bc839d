//! Who may do what with a sidecar's workload, by the policies in force.

use crate::ConnectionInfo;
use rules::{Peer, Refusal, Table, Verdict};
use std::net::IpAddr;
use telemetry::Metrics;

/// Who is at the other end of a connection, as policies ask. `remote`: the client as trusted proxies tell it.
pub(crate) fn peer_of(connection: &ConnectionInfo, remote: IpAddr) -> Peer<'_> {
    let facts = connection.tls.as_deref();
    Peer {
        source: connection.peer.ip(),
        remote,
        principal: connection.principal(),
        destination: connection.local,
        sni: facts.and_then(|facts| facts.sni.as_deref()),
    }
}

/// What policies say of a connection to a workload that carries no requests, by all that is known of it by now. `None`:
/// its listener is gone, and with it whoever could let it in.
pub(crate) fn of_connection(table: &Table, connection: &ConnectionInfo) -> Option<Verdict> {
    let inbound = connection.inbound_in(table)?;
    let peer = peer_of(connection, connection.peer.ip());
    Some(inbound.authorization.decide_connection(&peer))
}

/// Counts what policies say, where they say anything. Meant for what takes effect.
pub(crate) fn count(verdict: &Verdict, metrics: &Metrics) {
    let Verdict {
        denied,
        would_deny,
        audited,
    } = verdict;
    if let Some(refusal) = denied {
        metrics.own().authorization(refusal.code()).inc();
    }
    if would_deny.is_some() {
        metrics.own().authorization(WOULD_DENY).inc();
    }
    if !audited.is_empty() {
        metrics.own().authorization(AUDITED).inc();
    }
}

/// The reason in the log of what policies would deny whose effect is only told.
pub(crate) const WOULD_DENY: &str = "would_deny_by_policy";
/// The same of what an `AUDIT` policy matches.
pub(crate) const AUDITED: &str = "audited_by_policy";

/// What changes nothing, as the log has it, and the object that it is about.
pub(crate) fn noted(verdict: &Verdict) -> Option<(&'static str, &std::sync::Arc<model::Origin>)> {
    let would_deny = verdict.would_deny.as_ref().and_then(Refusal::rule);
    let would_deny = would_deny.map(|rule| (WOULD_DENY, &rule.origin));
    let audited = verdict.audited.first();
    would_deny.or_else(|| audited.map(|rule| (AUDITED, &rule.origin)))
}
