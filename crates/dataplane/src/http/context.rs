//! What is known of a request while it is served.

use super::affinity::Affinity;
use super::failure::Failure;
use super::mirror::Copies;
use crate::upstream::{Cluster, Snapshot, Stream, Use};
use crate::{ConnectionInfo, Shared};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Version};
use model::Origin;
use rules::{Action, Denial, ForwardAction, Route, Target};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use telemetry::ResponseFlags;
use traffic::{ActiveRequest, RequestPermit, RetryPermit, Slot};

/// One request from its head to its line in the access log. Dropping it writes that line when nothing
/// else did, so that no request goes unnoticed.
pub(crate) struct RequestCtx {
    pub(super) shared: Arc<Shared>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) started: Instant,
    pub(super) start_time: SystemTime,
    /// Absent until the head was looked at: nothing is recorded, and nothing is in use.
    pub(super) head: Option<Box<Head>>,
    pub(super) route: Option<Arc<Route>>,
    /// What caused the answer, when it is not the route: a virtual host's object, a destination.
    pub(super) origin: Option<Arc<Origin>>,
    pub(super) plan: Option<Plan>,
    pub(super) attempts: Attempts,
    pub(super) outcome: Outcome,
    pub(super) copies: Copies,
    pub(super) recorded: bool,
}

/// What the log, the rules' operators and retries want to know of a request's head.
pub(super) struct Head {
    pub(super) connection: ConnectionInfo,
    pub(super) method: Method,
    /// As the client sent it, without scheme and authority.
    pub(super) target: PathAndQuery,
    pub(super) authority: HeaderValue,
    /// What a forward proxy is asked for. Absent: the request is for a service of the listener.
    pub(super) asked: Option<Target>,
    pub(super) version: Version,
    pub(super) https: bool,
    /// The client's address, as far as trusted hops tell it.
    pub(super) client: IpAddr,
    /// Whether the hop before this one may speak about the request's origin.
    pub(super) trusted: bool,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) forwarded_for: Option<HeaderValue>,
    pub(super) grpc: bool,
    pub(super) upgrade: bool,
    /// Bytes of the head as it came.
    pub(super) bytes: u64,
    /// What the connection had sent before.
    pub(super) sent_before: u64,
}

impl Head {
    /// Whether the request goes on as its client sent it, and the answer as its origin did: nobody out there is to
    /// learn of this proxy.
    pub(super) fn stays_as_sent(&self) -> bool {
        self.asked.is_some()
    }
}

/// A request on its way upstream.
pub(super) struct Plan {
    pub(super) route: Arc<Route>,
    pub(super) destination: usize,
    pub(super) cluster: Arc<Cluster>,
    pub(super) mirrors: SmallVec<[usize; 2]>,
    pub(super) cors_headers: Vec<(HeaderName, HeaderValue)>,
    /// When the whole exchange must be over.
    pub(super) deadline: Option<Instant>,
    pub(super) timeout: Option<Duration>,
    pub(super) per_try_timeout: Option<Duration>,
    /// What tells the client from others, where its endpoint depends on that.
    pub(super) affinity: Affinity,
}

impl Plan {
    /// The route's action. A plan is made only for routes that forward.
    pub(super) fn action(&self) -> Option<&ForwardAction> {
        match &self.route.action {
            Action::Forward(action) => Some(action),
            _ => None,
        }
    }

    /// What is left until the deadline. `None`: there is none.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(now))
    }
}

/// The attempts made so far, and the one being made.
#[derive(Default)]
pub(super) struct Attempts {
    /// Attempts begun, the first included; the repetition on a fresh connection is not counted.
    pub(super) made: u32,
    /// All of them, the repetition too.
    pub(super) dialled: u32,
    /// Retries that the policy granted.
    pub(super) retries: u32,
    /// Endpoints tried, by index in the cluster.
    pub(super) tried: SmallVec<[usize; 4]>,
    /// The endpoint of the present or last attempt.
    pub(super) endpoint: Option<usize>,
    /// Counts the attempt at its endpoint.
    pub(super) active: Option<ActiveRequest>,
    /// In HTTP/1, counts the attempt on its connection. Goes before the permits: who gets a slot finds a connection
    /// to use.
    pub(super) using: Option<Use>,
    /// In HTTP/2, its place on a connection.
    pub(super) stream: Option<Stream>,
    /// What the cluster's limits have let through.
    pub(super) permits: Permits,
    /// How long the answer that is retried asks to be left alone.
    pub(super) pause: Option<Duration>,
    /// How long the present attempt may wait. Absent: as long as it takes.
    pub(super) bound: Option<Duration>,
    /// Whether it is the per-try timeout that says so.
    pub(super) bound_by_try: bool,
    /// The request died on a connection that had been idle: it is repeated on a fresh one, once.
    pub(super) repeated: bool,
    /// The next attempt is the present one once more.
    pub(super) again: bool,
    /// Connections that the attempt was to share, and that were gone when it looked for them.
    pub(super) lost: u32,
    /// The present attempt's answer is to be retried.
    pub(super) retry_answer: bool,
    pub(super) began: Option<Instant>,
    pub(super) local_address: Option<SocketAddr>,
    /// Why an attempt that could not even be begun failed.
    pub(super) refused: Option<Failure>,
}

/// What the cluster's limits have let through.
#[derive(Default)]
pub(super) struct Permits {
    /// The request, from its first attempt to its end.
    pub(super) request: Option<RequestPermit>,
    /// A connection, for one attempt in HTTP/1.
    pub(super) slot: Option<Slot>,
    /// A retry.
    pub(super) retry: Option<RetryPermit>,
}

/// What the client gets, and why.
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) flags: ResponseFlags,
    pub(super) details: Cow<'static, str>,
    pub(super) termination: &'static str,
    pub(super) transport_failure: Cow<'static, str>,
    pub(super) reason: &'static str,
    pub(super) upstream_time: Option<Duration>,
    pub(super) grpc_status: Option<u32>,
    /// Body bytes, counted here for requests that end without their session.
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) upgraded: bool,
    /// The last byte of the request has come.
    pub(super) received_all: bool,
    /// An answer of the upstream is on its way to the client.
    pub(super) via_upstream: bool,
    /// The request may not go where it asked to.
    pub(super) denied: bool,
    /// Why it would be refused if that were enforced.
    pub(super) noted: Option<Denial>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            status: 0,
            flags: ResponseFlags::empty(),
            details: Cow::Borrowed(""),
            termination: "",
            transport_failure: Cow::Borrowed(""),
            reason: "",
            upstream_time: None,
            grpc_status: None,
            received: 0,
            sent: 0,
            upgraded: false,
            received_all: false,
            via_upstream: false,
            denied: false,
            noted: None,
        }
    }
}

impl RequestCtx {
    /// A request of which nothing is known yet, bound to the configuration of the moment.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            snapshot: shared.snapshot(),
            shared: shared.clone(),
            started: Instant::now(),
            start_time: SystemTime::now(),
            head: None,
            route: None,
            origin: None,
            plan: None,
            attempts: Attempts::default(),
            outcome: Outcome::default(),
            copies: Copies::default(),
            recorded: false,
        }
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.grpc)
    }

    pub(super) fn is_upgrade(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.upgrade)
    }

    pub(super) fn count_received(&mut self, body: Option<&Bytes>) {
        self.outcome.received += body.map_or(0, |body| body.len() as u64);
    }

    pub(super) fn count_sent(&mut self, body: Option<&Bytes>) {
        self.outcome.sent += body.map_or(0, |body| body.len() as u64);
    }
}
