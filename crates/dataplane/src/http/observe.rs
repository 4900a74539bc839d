//! The end of a request: its line in the access log, its place in the metrics.

use super::context::{Head, RequestCtx};
use super::deadline::{self, Ending};
use super::failure::{Failure, Refusal};
use crate::labels::Ends;
use crate::net::RefusedHead;
use crate::upstream::Upstream;
use crate::{ConnectionInfo, Passage, PassageProtocol, Shared};
use http::{Method, Version};
use model::Origin;
use pingora_core::protocols::http::ServerSession;
use pingora_proxy::Session;
use rules::EndpointAddr;
use std::fmt::Display;
use std::time::{Duration, SystemTime};
use telemetry::metrics::{Metrics, RequestOutcome, RequestSample};
use telemetry::{AccessRecord, Address, ResponseFlags};

/// Istio's name for the route of what is let through to nowhere.
const BLOCK_ALL: &str = "block_all";

/// Counters of refused heads, made once so that a flood of them looks nothing up.
pub(crate) struct Refusals(Vec<Box<dyn Fn() + Send + Sync>>);

impl Refusals {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter = |refusal: &Refusal| -> Box<dyn Fn() + Send + Sync> {
            let counter = metrics.own().requests_refused(refusal.reason());
            Box::new(move || counter.inc())
        };
        Self(Refusal::ALL.iter().map(counter).collect())
    }

    pub(super) fn count(&self, refusal: Refusal) {
        let position = Refusal::ALL.iter().position(|known| *known == refusal);
        if let Some(count) = position.and_then(|position| self.0.get(position)) {
            count();
        }
    }
}

/// Notices an HTTP/1 head that was answered before any of our hooks: by Pingora with 400, or below it.
pub(super) struct HeadWatch {
    connection: ConnectionInfo,
    requests: u64,
    sent: u64,
}

impl HeadWatch {
    pub(super) fn start(session: &ServerSession) -> Option<Self> {
        session.as_http1()?;
        let digest = session.digest()?.proxy_digest.as_ref()?;
        let connection: &ConnectionInfo = digest.user_data.as_ref()?.downcast_ref()?;
        Some(Self {
            requests: connection.state.requests(),
            sent: connection.state.sent(),
            connection: connection.clone(),
        })
    }

    /// Logs and counts the head if there was an answer but no request.
    pub(super) fn finish(self, shared: &Shared) {
        let state = &self.connection.state;
        if state.requests() != self.requests {
            return;
        }
        let refusal = match state.refused() {
            Some(RefusedHead::TooLarge) => Refusal::HeadTooLarge,
            Some(RefusedHead::TooSlow) => Refusal::HeadTooSlow,
            None if state.sent() != self.sent => Refusal::Malformed,
            None => return,
        };
        shared.refusals.count(refusal);
        let report = Failure::Refused(refusal).report(false);
        let mut record = AccessRecord::new(SystemTime::now());
        record.protocol = protocol(Version::HTTP_11);
        record.response_code = report.status;
        record.flags = report.flags;
        record.response_code_details = &report.details;
        record.reason = report.reason;
        record.downstream_local_address = Some(Address::Socket(self.connection.local));
        record.downstream_remote_address = Some(Address::Socket(self.connection.peer));
        record.requested_server_name = sni(&self.connection);
        shared.access_log.log(&record);
    }
}

/// `%PROTOCOL%`
pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_09 => "HTTP/0.9",
        _ => "HTTP/1.1",
    }
}

impl RequestCtx {
    /// The endpoint of the last attempt.
    pub(super) fn upstream(&self) -> Option<&Upstream> {
        let members = self.plan.as_ref()?.cluster.endpoints.members();
        Some(&members.get(self.attempts.endpoint?)?.value)
    }

    pub(super) fn upstream_address(&self) -> Option<&EndpointAddr> {
        Some(&self.upstream()?.address)
    }

    /// Records a request that Pingora served to its end.
    pub(super) fn record_finished(&mut self, session: &Session) {
        self.outcome.received = session.body_bytes_read() as u64;
        self.outcome.sent = session.body_bytes_sent() as u64;
        if self.outcome.status == 0
            && let Some(response) = session.response_written()
        {
            self.outcome.status = response.status.as_u16();
        }
        self.record();
    }

    /// Writes the request into log and metrics, once, with the bytes counted here.
    pub(super) fn record(&mut self) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        let Some(head) = self.head.as_deref() else {
            return;
        };
        let duration = self.started.elapsed();
        self.count(head, duration);
        self.tell_passage(head);
        if self.shared.access_log.is_on() {
            self.log(head, duration);
        }
    }

    /// Tells who learns of it, once it was sent on.
    fn tell_passage(&self, head: &Head) {
        let (Some(passages), Some(asked)) = (&self.shared.passages, &head.asked) else {
            return;
        };
        // What was never found is nothing to be allowed.
        if self.attempts.dialled == 0 || self.outcome.denied {
            return;
        }
        passages.passed(&Passage {
            host: asked.authority(),
            port: asked.port(),
            protocol: PassageProtocol::Http,
            received: head.bytes + self.outcome.received,
            sent: self.outcome.sent,
            client: head.client,
            denial: self.outcome.noted,
        });
    }

    fn count(&self, head: &Head, duration: Duration) {
        let outcome = &self.outcome;
        let labelled = match head.grpc {
            true => RequestOutcome::grpc(outcome.status, outcome.grpc_status, outcome.flags),
            false => RequestOutcome::http(outcome.status, outcome.flags),
        };
        let sample = RequestSample {
            duration,
            request_bytes: head.bytes + outcome.received,
            response_bytes: self.response_bytes(head),
        };
        let plan = self.plan.as_ref();
        let cluster = plan.map(|plan| &*plan.cluster);
        let (connection, upstream) = (&head.connection, self.upstream());
        let ends = Ends::new(&self.shared, &self.snapshot, connection, cluster, upstream);
        let ends = ends.denied(outcome.denied);
        self.shared
            .metrics
            .record_request(ends.id(), labelled, sample, || ends.labels());
    }

    /// Head and body as the connection carried them. Streams of one HTTP/2 connection cannot be told
    /// apart there, so only the body counts.
    fn response_bytes(&self, head: &Head) -> u64 {
        match head.version {
            Version::HTTP_2 => self.outcome.sent,
            _ => head
                .connection
                .state
                .sent()
                .saturating_sub(head.sent_before),
        }
    }

    fn log(&self, head: &Head, duration: Duration) {
        let outcome = &self.outcome;
        let origin = self.origin();
        let mut record = AccessRecord::new(self.start_time);
        record.method = head.method.as_str().as_bytes();
        // CONNECT has none.
        if head.method != Method::CONNECT {
            record.path = head.target.as_str().as_bytes();
        }
        record.protocol = protocol(head.version);
        record.response_code = outcome.status;
        record.flags = outcome.flags;
        record.response_code_details = &outcome.details;
        record.connection_termination_details = outcome.termination;
        record.upstream_transport_failure_reason = &outcome.transport_failure;
        record.bytes_received = outcome.received;
        record.bytes_sent = outcome.sent;
        record.duration = duration;
        record.upstream_service_time = outcome.upstream_time;
        record.x_forwarded_for = value_of(&head.forwarded_for);
        record.user_agent = value_of(&head.user_agent);
        record.request_id = value_of(&head.request_id);
        record.authority = head.authority.as_bytes();
        record.upstream_host = self.upstream_address().map(address);
        record.upstream_cluster = self.plan.as_ref().map_or("", |plan| &plan.cluster.name);
        record.upstream_local_address = self.attempts.local_address.map(Address::Socket);
        record.downstream_local_address = Some(Address::Socket(head.connection.local));
        record.downstream_remote_address = Some(Address::Socket(head.connection.peer));
        record.requested_server_name = sni(&head.connection);
        record.route_name = match &self.route {
            Some(route) => &route.name,
            None if outcome.denied => BLOCK_ALL,
            None => "",
        };
        record.reason = outcome.reason;
        record.origin = origin;
        self.shared.access_log.log(&record);
    }

    /// The object that caused an answer of our own.
    fn origin(&self) -> Option<&(dyn Display + Sync)> {
        if self.outcome.reason.is_empty() {
            return None;
        }
        let origin: Option<&Origin> = self
            .origin
            .as_deref()
            .or_else(|| self.route.as_ref().map(|route| &*route.origin));
        origin.map(|origin| origin as &(dyn Display + Sync))
    }

    /// What to say of a request that nobody brought to its end.
    fn explain_ending(&mut self) {
        let ending = deadline::ending();
        let failure = match ending {
            Ending::Abandoned => Failure::ClientGone,
            Ending::Deadline => Failure::Timeout,
            Ending::Panic => Failure::Internal,
        };
        let report = failure.report(false);
        let outcome = &mut self.outcome;
        outcome.flags |= report.flags;
        outcome.details = report.details;
        outcome.reason = report.reason;
        if ending == Ending::Abandoned && outcome.upgraded {
            // A tunnel that ends with its connection has ended well.
            outcome.flags.remove(ResponseFlags::DC);
            outcome.reason = "";
        }
    }
}

impl Drop for RequestCtx {
    fn drop(&mut self) {
        if self.head.is_none() {
            return;
        }
        if !self.recorded {
            self.explain_ending();
            self.record();
        }
        self.shared.in_use.end();
    }
}

/// The name that the client asked for, or nothing.
pub(super) fn sni(connection: &ConnectionInfo) -> &str {
    let facts = connection.tls.as_deref();
    facts
        .and_then(|facts| facts.sni.as_deref())
        .unwrap_or_default()
}

fn value_of(value: &Option<http::HeaderValue>) -> &[u8] {
    value.as_ref().map_or(b"", |value| value.as_bytes())
}

fn address(address: &EndpointAddr) -> Address<'_> {
    match address {
        EndpointAddr::Tcp(address) => Address::Socket(*address),
        EndpointAddr::Unix(path) => Address::Text(path),
    }
}
