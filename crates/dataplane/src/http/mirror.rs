//! Copies of requests sent elsewhere, their answers dropped.
//!
//! A copy runs on a task of its own and can neither delay nor fail the request it was made of: where
//! it cannot keep up with the body, or too many are under way, it is given up and counted.

use super::chance;
use super::context::RequestCtx;
use super::forwarding;
use super::on_demand;
use crate::Settings;
use crate::upstream::{
    Admission, Attempt, Cluster, Http2Upstream, KeepAlive, Overflow, Stream, Upstream,
    UpstreamConnector, Use, connection_of, connector_conf,
};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri, Version};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use rules::ClusterTarget;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use telemetry::Metrics;
use tokio::sync::{Semaphore, mpsc};
use traffic::{ActiveRequest, Choice, Entry, RequestPermit, Slot};

/// Chunks of a body that may wait for a mirror.
const WAITING_CHUNKS: usize = 16;
/// What Envoy appends to a shadow's host.
const SHADOW: &str = "-shadow";

/// What all mirrored requests share: connections of their own, and a limit.
pub(crate) struct MirrorPool {
    connector: Arc<Connector<UpstreamConnector>>,
    permits: Arc<Semaphore>,
    timeout: Duration,
    shadow_host_suffix: bool,
    sent: Box<dyn Fn() + Send + Sync>,
    counters: Arc<Counters>,
}

/// What became of them.
struct Counters {
    failed: Box<dyn Fn() + Send + Sync>,
    dropped: Box<dyn Fn() + Send + Sync>,
}

impl MirrorPool {
    pub(crate) fn new(settings: &Settings, metrics: &Metrics) -> Self {
        let conf = ServerConf {
            upstream_keepalive_pool_size: settings.max_mirrors,
            ..connector_conf()
        };
        let counter = |result: &'static str| -> Box<dyn Fn() + Send + Sync> {
            let counter = metrics.own().mirrors(result);
            Box::new(move || counter.inc())
        };
        Self {
            connector: Arc::new(UpstreamConnector::with_pool(&conf)),
            permits: Arc::new(Semaphore::new(settings.max_mirrors)),
            timeout: settings.mirror_timeout,
            shadow_host_suffix: settings.shadow_host_suffix,
            sent: counter("sent"),
            counters: Arc::new(Counters {
                failed: counter("failed"),
                dropped: counter("dropped"),
            }),
        }
    }
}

/// A piece of a body. A copy whose stream ends without `End` is cut off.
enum Piece {
    Data(Bytes),
    End,
}

/// The bodies of the copies under way.
#[derive(Default)]
pub(super) struct Copies {
    begun: bool,
    /// The attempt whose body they follow: another one begins again from the start.
    attempt: u32,
    bodies: SmallVec<[mpsc::Sender<Piece>; 2]>,
    counters: Option<Arc<Counters>>,
}

impl Copies {
    /// Hands a piece of the request's body on. Costs a reference count, never a wait.
    pub(super) fn pass(&mut self, body: Option<&Bytes>, end: bool, attempt: u32) {
        if self.bodies.is_empty() || self.attempt != attempt {
            return;
        }
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            self.send(|| Piece::Data(body.clone()));
        }
        if end {
            self.send(|| Piece::End);
            self.bodies.clear();
        }
    }

    fn send(&mut self, piece: impl Fn() -> Piece) {
        let counters = self.counters.as_ref();
        self.bodies.retain(|copy| {
            let kept = copy.try_send(piece()).is_ok();
            if !kept && let Some(counters) = counters {
                (counters.dropped)();
            }
            kept
        });
    }
}

/// Starts the copies that were drawn, from the head as it goes upstream. Only the first attempt has any.
pub(super) fn begin(session: &mut Session, request: &RequestHeader, ctx: &mut RequestCtx) {
    let nothing = ctx.plan.as_ref().is_none_or(|plan| plan.mirrors.is_empty());
    if nothing || ctx.copies.begun || ctx.is_upgrade() {
        return;
    }
    ctx.copies.begun = true;
    ctx.copies.attempt = ctx.attempts.dialled;
    ctx.copies.counters = Some(ctx.shared.mirrors.counters.clone());
    let has_body = !session.is_body_empty();
    let clusters = drawn(ctx);
    for cluster in clusters {
        if let Some(body) = start(ctx, &cluster, request, session) {
            ctx.copies.bodies.push(body);
        }
    }
    if !has_body {
        let attempt = ctx.attempts.dialled;
        ctx.copies.pass(None, true, attempt);
    }
}

fn drawn(ctx: &RequestCtx) -> SmallVec<[Arc<Cluster>; 2]> {
    let Some(plan) = &ctx.plan else {
        return SmallVec::new();
    };
    let mirrors = plan
        .action()
        .map(|action| &action.mirrors[..])
        .unwrap_or_default();
    let drawn = plan.mirrors.iter().filter_map(|index| mirrors.get(*index));
    drawn
        .filter_map(|mirror| match &mirror.cluster {
            ClusterTarget::Cluster(cluster) => ctx.snapshot.clusters.get(&cluster.key).cloned(),
            ClusterTarget::Missing(_) => None,
        })
        .collect()
}

fn start(
    ctx: &RequestCtx,
    cluster: &Arc<Cluster>,
    request: &RequestHeader,
    session: &mut Session,
) -> Option<mpsc::Sender<Piece>> {
    let pool = &ctx.shared.mirrors;
    let Ok(permit) = pool.permits.clone().try_acquire_owned() else {
        (pool.counters.dropped)();
        return None;
    };
    let Some(draft) = Draft::of(ctx, request, session) else {
        (pool.counters.failed)();
        return None;
    };
    let (sender, body) = mpsc::channel(WAITING_CHUNKS);
    if cluster.is_to_be_found() {
        let finding = find(ctx, cluster);
        let shared = ctx.shared.clone();
        tokio::spawn(async move {
            let pool = &shared.mirrors;
            let sending = async {
                let cluster = finding.await?;
                let (way, held) = draft.lead_to(&cluster)?;
                (pool.sent)();
                send(&pool.connector, &way, draft.head, body).await.ok()?;
                drop(held);
                Some(())
            };
            if !matches!(
                tokio::time::timeout(pool.timeout, sending).await,
                Ok(Some(()))
            ) {
                (pool.counters.failed)();
            }
            drop(permit);
        });
        return Some(sender);
    }
    let Some((way, held)) = draft.lead_to(cluster) else {
        (pool.counters.failed)();
        return None;
    };
    (pool.sent)();
    let (connector, counters, timeout) =
        (pool.connector.clone(), pool.counters.clone(), pool.timeout);
    tokio::spawn(async move {
        let sending = send(&connector, &way, draft.head, body);
        if !matches!(tokio::time::timeout(timeout, sending).await, Ok(Ok(()))) {
            (counters.failed)();
        }
        drop((permit, held));
    });
    Some(sender)
}

/// Finds where a copy goes that depends on what the request asks for. The request does not wait for it.
fn find(
    ctx: &RequestCtx,
    cluster: &Arc<Cluster>,
) -> impl Future<Output = Option<Arc<Cluster>>> + use<> {
    let target = on_demand::target(ctx, &cluster.definition);
    let (shared, snapshot) = (ctx.shared.clone(), ctx.snapshot.clone());
    let cluster = cluster.clone();
    async move { shared.find(&snapshot, &cluster, target).await.ok() }
}

/// How an endpoint is reached, and where what it says of idle connections is kept.
struct Way {
    peer: Box<HttpPeer>,
    keep_alive: Arc<KeepAlive>,
    /// Requests after which a connection is closed.
    spent_after: Option<u32>,
}

/// What counts a copy, as long as it is under way.
#[expect(dead_code, reason = "what counts is that it is there")]
struct Held {
    active: ActiveRequest,
    request: RequestPermit,
    /// In HTTP/1, a connection.
    slot: Option<Slot>,
    /// In HTTP/2, its place on one.
    stream: Option<Stream>,
}

/// A copy, whose endpoint is not chosen yet.
struct Draft {
    head: Box<RequestHeader>,
    started: Instant,
    /// Whether the client speaks HTTP/2.
    http2: bool,
    host: Box<str>,
    downstream: Option<(SocketAddr, SocketAddr)>,
    timeout: Duration,
}

impl Draft {
    fn of(ctx: &RequestCtx, original: &RequestHeader, session: &mut Session) -> Option<Self> {
        let pool = &ctx.shared.mirrors;
        let has_body = !session.is_body_empty();
        let mut head = copy_of(original, has_body, pool.shadow_host_suffix).ok()?;
        let asked = ctx.head.as_ref()?;
        if !asked.stays_as_sent() {
            forwarding::tell_shadow(&mut head, asked.connection.own_ip());
        }
        let how = super::attempt::how(ctx, false);
        Some(Self {
            head: Box::new(head),
            started: ctx.started,
            http2: session.req_header().version == Version::HTTP_2,
            host: how.host.into(),
            downstream: how.downstream,
            timeout: pool.timeout,
        })
    }

    /// Chooses an endpoint, if the cluster's limits allow one more.
    fn lead_to(&self, cluster: &Cluster) -> Option<(Way, Held)> {
        let limits = &cluster.kept.limits;
        let request = limits.request(self.started).or_else(|| {
            cluster.kept.overflow(Overflow::Requests);
            None
        })?;
        let http2 = cluster.speaks_http2(self.http2);
        let slot = match http2 {
            true => None,
            false => Some(slot(cluster)?),
        };
        let index = cluster.select(Choice::default(), &mut chance::roll)?;
        let member = cluster.endpoints.members().get(index)?;
        let how = Attempt {
            timeout: Some(self.timeout),
            host: &self.host,
            downstream: self.downstream,
            ..Attempt::default()
        };
        let stream = match http2 {
            true => Some(stream(cluster, &member.value, &how)?),
            false => None,
        };
        let peer = member.value.peer(Attempt {
            stream: stream.as_ref(),
            ..how
        });
        let way = Way {
            peer,
            keep_alive: member.value.keep_alive.clone(),
            spent_after: cluster.definition.pool.max_requests_per_connection,
        };
        let held = Held {
            active: member.state.begin(),
            request,
            slot,
            stream,
        };
        Some((way, held))
    }
}

/// A copy waits for no connection.
fn slot(cluster: &Cluster) -> Option<Slot> {
    if let Entry::Slot(slot) = cluster.kept.limits.enter() {
        return Some(slot);
    }
    cluster.kept.overflow(Overflow::Connections);
    None
}

fn stream(cluster: &Cluster, upstream: &Upstream, how: &Attempt<'_>) -> Option<Stream> {
    if let Admission::Stream(stream) = cluster.stream(upstream, how) {
        return Some(stream);
    }
    cluster.kept.overflow(Overflow::Connections);
    None
}

/// The head, as HTTP/1 wants it.
fn copy_of(request: &RequestHeader, has_body: bool, shadow: bool) -> Result<RequestHeader> {
    let invalid = || Error::new(ErrorType::InvalidHTTPHeader);
    let mut copy = request.clone();
    let host = host_of(request, shadow).ok_or_else(invalid)?;
    let target = request.uri.path_and_query().cloned();
    let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
    for name in [CONNECTION, UPGRADE, TRANSFER_ENCODING] {
        copy.remove_header(&name);
    }
    copy.set_version(Version::HTTP_11);
    copy.insert_header(HOST, host)?;
    if has_body && !copy.headers.contains_key(CONTENT_LENGTH) {
        copy.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    copy.set_uri(Uri::from(target));
    Ok(copy)
}

fn host_of(request: &RequestHeader, shadow: bool) -> Option<HeaderValue> {
    let of_uri = || HeaderValue::from_str(request.uri.authority()?.as_str()).ok();
    let host = request.headers.get(HOST).cloned().or_else(of_uri)?;
    if !shadow {
        return Some(host);
    }
    let authority = host.to_str().ok()?;
    let name = rules::host_of(authority);
    HeaderValue::try_from(format!("{name}{SHADOW}{}", &authority[name.len()..])).ok()
}

async fn send(
    connector: &Connector<UpstreamConnector>,
    way: &Way,
    mut head: Box<RequestHeader>,
    mut body: mpsc::Receiver<Piece>,
) -> Result<()> {
    let peer = &*way.peer;
    let (mut session, reused) = connector.get_http_session(peer).await?;
    let using = connection_of(session.digest()).map(|connection| connection.begin(reused));
    let is_spent = |using: &Use| using.connection().is_spent(way.spent_after);
    if using.as_ref().is_some_and(is_spent) {
        head.insert_header(CONNECTION, "close")?;
    }
    session.set_read_timeout(peer.options.read_timeout);
    session.write_request_header(head).await?;
    loop {
        match body.recv().await {
            Some(Piece::Data(data)) => session.write_request_body(data, false).await?,
            Some(Piece::End) => break,
            None => return Err(Error::new(ErrorType::ConnectionClosed)),
        }
    }
    session.finish_request_body().await?;
    discard_response(&mut session, &way.keep_alive).await?;
    connector
        .release_http_session(session, peer, peer.options.idle_timeout)
        .await;
    Ok(())
}

async fn discard_response(
    session: &mut HttpSession<Http2Upstream>,
    keep_alive: &KeepAlive,
) -> Result<()> {
    loop {
        session.read_response_header().await?;
        let Some(head) = session.response_header() else {
            break;
        };
        if !head.status.is_informational() {
            keep_alive.learn(&head.headers);
            break;
        }
    }
    while session.read_response_body().await?.is_some() {}
    Ok(())
}
