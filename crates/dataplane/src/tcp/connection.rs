//! One connection from its route to its end.

use super::failure::Failure;
use super::mesh_tls::MeshTls;
use super::tunnel::Asking;
use crate::forward_proxy::{Proxied, Refused};
use crate::http::roll;
use crate::net;
use crate::net::{BothWays, End, Silence, Transport, Using};
use crate::tls::Routed;
use crate::upstream::{Cluster, Snapshot, UpstreamIo};
use crate::{ConnectionInfo, Shared, Side, authorization};
use bytes::Bytes;
use model::Origin;
use rules::{ClusterTarget, Denial, EgressMode, Target, TcpRoutes, TlsAction, Verdict};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use telemetry::metrics::TcpSeries;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to be forwarded. Dropping it counts and logs it, so that none goes unnoticed.
pub(crate) struct TcpConnection {
    pub(super) shared: Arc<Shared>,
    pub(super) info: ConnectionInfo,
    /// The SNI; empty when there was none.
    pub(super) server_name: Box<str>,
    /// What a forward proxy is asked for, or where a connection was meant to go. Absent: the SNI is all that is said.
    pub(super) asked: Option<Target>,
    pub(super) started: Instant,
    pub(super) start_time: SystemTime,
    /// The request by which it did.
    pub(super) asking: Option<Box<Asking>>,
    /// Why it would be refused if that were enforced.
    pub(super) noted: Option<Refused>,
    /// What else the log is told if there is no reason. Empty: nothing.
    pub(super) told: &'static str,
    /// The client has begun TLS, as far as somebody looked.
    pub(super) speaks_tls: bool,
    /// What sent it where it goes.
    pub(super) origin: Option<Arc<Origin>>,
    /// Where it goes. Absent: `failure` says why.
    pub(super) cluster: Option<Arc<Cluster>>,
    /// The endpoint that was tried last.
    pub(super) endpoint: Option<usize>,
    pub(super) local_address: Option<SocketAddr>,
    /// What comes is in the mesh's TLS already, so that no DestinationRule adds any.
    pub(super) in_mesh_tls: bool,
    /// The mesh's TLS that its client may begin with.
    pub(super) mesh_tls: Option<Box<MeshTls>>,
    /// Where it is counted, since it is connected.
    pub(super) series: Option<Arc<TcpSeries>>,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) failure: Option<Failure>,
    pub(super) ending: Ending,
    /// Absent: what is in it counts by itself.
    in_use: Option<Using>,
}

/// How a connection ended that had reached its endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// By both sides, or by the end of the process.
    Orderly,
    /// Nothing moved for too long.
    Idle,
    /// It lasted as long as it may.
    Expired,
    /// One side's connection broke.
    Broken(net::Side),
    /// What the client began with is not what may be in its tunnel.
    Refused(Refused),
    /// The client took too long to begin.
    SlowHello,
}

impl TcpConnection {
    /// A connection that a server's routes send somewhere. `server_name` is the SNI, or empty.
    pub(crate) fn routed(
        shared: &Arc<Shared>,
        snapshot: &Snapshot,
        info: &ConnectionInfo,
        server_name: &str,
        routes: &TcpRoutes,
    ) -> Self {
        let mut connection = Self::unclaimed(shared, info, server_name);
        let (peer, local) = (info.peer.ip(), info.local.ip());
        // A socket for both families tells IPv4 addresses as IPv6.
        let Some(route) = routes.route(peer.to_canonical(), local.to_canonical()) else {
            return connection;
        };
        let destination = route.draw(&mut roll);
        connection.origin = Some(destination.origin.clone());
        connection.send_to(&destination.cluster, snapshot);
        connection
    }

    /// A connection that a TLS server was chosen for.
    pub(crate) fn of_tls(shared: &Arc<Shared>, info: &ConnectionInfo, routed: &Routed) -> Self {
        let server_name = routed.sni.as_deref().unwrap_or_default();
        match &routed.server.action {
            TlsAction::Passthrough(routes) | TlsAction::Tcp { routes, .. } => {
                Self::routed(shared, &routed.snapshot, info, server_name, routes)
            }
            TlsAction::AutoPassthrough(clusters) => {
                let mut connection = Self::unclaimed(shared, info, server_name);
                connection.origin = Some(routed.server.origin.clone());
                connection.in_mesh_tls = true;
                if let Some(target) = clusters.lookup(server_name) {
                    connection.send_to(target, &routed.snapshot);
                }
                connection
            }
            // Requests have routes there, connections have none.
            TlsAction::Https { .. }
            | TlsAction::ForwardProxy { .. }
            | TlsAction::Mesh(_)
            | TlsAction::Workload(_) => Self::unclaimed(shared, info, server_name),
        }
    }

    /// A connection that nothing in the configuration takes.
    pub(crate) fn unclaimed(
        shared: &Arc<Shared>,
        info: &ConnectionInfo,
        server_name: &str,
    ) -> Self {
        Self {
            shared: shared.clone(),
            info: info.clone(),
            server_name: server_name.into(),
            asked: None,
            started: Instant::now(),
            start_time: SystemTime::now(),
            asking: None,
            noted: None,
            told: "",
            speaks_tls: false,
            origin: None,
            cluster: None,
            endpoint: None,
            local_address: None,
            in_mesh_tls: false,
            mesh_tls: None,
            series: None,
            received: 0,
            sent: 0,
            failure: Some(Failure::NoRoute),
            ending: Ending::Orderly,
            in_use: Some(shared.in_use.hold()),
        }
    }

    /// Has it be for what a client asked for: `asking` says so, since `started`.
    pub(crate) fn asked_by(
        &mut self,
        asked: Target,
        asking: Asking,
        (started, start_time): (Instant, SystemTime),
    ) {
        (self.started, self.start_time) = (started, start_time);
        self.asked = Some(asked);
        self.asking = Some(Box::new(asking));
    }

    /// Has it be for an address, which nobody has asked for by name.
    pub(crate) fn was_going_to(&mut self, address: Target) {
        self.asked = Some(address);
    }

    /// A connection that may not go where it is going. Serving it closes it.
    pub(crate) fn denied(
        shared: &Arc<Shared>,
        info: &ConnectionInfo,
        server_name: &str,
        denial: Denial,
    ) -> Self {
        let mut connection = Self::unclaimed(shared, info, server_name);
        connection.failure = Some(Failure::Denied(denial));
        Refused::Denied(denial).count(EgressMode::Enforce, &shared.metrics);
        connection
    }

    /// Has the log say that it would be refused if that were enforced.
    pub(crate) fn note(&mut self, refused: Refused) {
        self.noted = Some(refused);
    }

    /// One that has no endpoint of its own: what is in it are requests, each with its own.
    pub(crate) fn of_requests(shared: &Arc<Shared>, info: &ConnectionInfo) -> Self {
        let mut connection = Self::unclaimed(shared, info, "");
        connection.failure = None;
        connection.in_use = None;
        connection
    }

    /// The inside of the tunnel, which was opened for `target`.
    pub(crate) fn inside(&self, target: Target) -> ConnectionInfo {
        ConnectionInfo {
            proxied: Some(Arc::new(Proxied::within(target))),
            ..self.info.clone()
        }
    }

    fn send_to(&mut self, target: &ClusterTarget, snapshot: &Snapshot) {
        let known = match target {
            ClusterTarget::Cluster(cluster) => snapshot.clusters.get(&cluster.key),
            ClusterTarget::Missing(_) => None,
        };
        self.cluster = known.cloned();
        self.failure = match (known, target) {
            (Some(_), _) => None,
            (None, ClusterTarget::Missing(missing)) => Some(Failure::NoCluster(
                missing.key.clone(),
                missing.reason.clone(),
            )),
            (None, ClusterTarget::Cluster(cluster)) => Some(Failure::NoCluster(
                cluster.key.clone(),
                "not in force".into(),
            )),
        };
    }

    /// Forwards to the end, or closes when that is not possible. `prefix` was read already and comes first.
    pub(crate) async fn serve(mut self, mut downstream: Transport, prefix: Bytes) {
        let failed = match self.mesh_tls.take() {
            Some(tls) => self.forward_either(*tls, downstream).await,
            None => {
                let forwarded = self.forward(&mut downstream, prefix).await;
                forwarded.inspect_err(|failure| {
                    if failure.resets() {
                        reset(&downstream);
                    }
                })
            }
        };
        self.failure = failed.err();
    }

    async fn forward(&mut self, downstream: &mut Transport, prefix: Bytes) -> Result<(), Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.authorize()?;
        let (mut upstream, _held) = self.dial().await?;
        self.opened();
        self.carry(downstream, &mut upstream, prefix, Bytes::new())
            .await;
        Ok(())
    }

    /// Whether policies let the client in, where it connects to a sidecar's workload.
    pub(super) fn authorize(&mut self) -> Result<(), Failure> {
        let verdict = self.verdict()?;
        self.obey(verdict)
    }

    /// What policies say of the client as it is known by now. Changes nothing: it may show more of itself.
    pub(super) fn verdict(&self) -> Result<Verdict, Failure> {
        if self.info.side != Side::Inbound {
            return Ok(Verdict::default());
        }
        let snapshot = self.shared.snapshot();
        authorization::of_connection(&snapshot.table, &self.info).ok_or(Failure::NoRoute)
    }

    /// Does what policies have said at last, which is counted and told.
    pub(super) fn obey(&mut self, verdict: Verdict) -> Result<(), Failure> {
        authorization::count(&verdict, &self.shared.metrics);
        if let Some((reason, origin)) = authorization::noted(&verdict) {
            self.told = reason;
            self.origin = Some(origin.clone());
        }
        let Some(refusal) = verdict.denied else {
            return Ok(());
        };
        self.origin = refusal.rule().map(|rule| rule.origin.clone());
        Err(Failure::Forbidden(refusal))
    }

    /// Moves bytes both ways to the end, first what was read already: from downstream, and from upstream.
    pub(super) async fn carry(
        &mut self,
        downstream: &mut Transport,
        upstream: &mut UpstreamIo,
        sent: Bytes,
        answered: Bytes,
    ) {
        let ways = &mut BothWays::new(sent, answered, self.silence());
        let end = within(self.lifetime(), self.join(ways, downstream, upstream)).await;
        self.ending = match (end, ways.broken()) {
            (None, _) => Ending::Expired,
            (Some(End::Silent), _) => Ending::Idle,
            (Some(End::Complete), Some(side)) => Ending::Broken(side),
            (Some(End::Complete), None) => Ending::Orderly,
        };
        // Who did not get everything must not take what came for the whole.
        match self.ending {
            Ending::Broken(net::Side::Upstream) if !ways.is_whole(net::Side::Downstream) => {
                reset(downstream)
            }
            Ending::Broken(net::Side::Downstream) if !ways.is_whole(net::Side::Upstream) => {
                upstream.reset()
            }
            _ => {}
        }
    }

    /// How long nothing may move.
    pub(super) fn silence(&self) -> Silence {
        let pool = self
            .cluster
            .as_ref()
            .map(|cluster| &cluster.definition.pool);
        let of_rule = pool.and_then(|pool| pool.tcp_idle_timeout);
        let idle = of_rule.or(self.shared.settings.tcp_idle_timeout);
        Silence {
            open: idle,
            half: idle,
        }
    }

    /// How long it may last.
    fn lifetime(&self) -> Option<Duration> {
        let cluster = self.cluster.as_ref()?;
        cluster.definition.pool.max_connection_duration
    }

    /// Who is connected to whom downstream, for endpoints that are told.
    pub(super) fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.info.peer, self.info.local)
    }

    /// Moves bytes both ways until the end, and counts them at every step: the connection may last for days,
    /// and may end by being dropped.
    async fn join(
        &mut self,
        ways: &mut BothWays,
        downstream: &mut Transport,
        upstream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> End {
        poll_fn(|cx| {
            let end = ways.poll(cx, downstream, upstream);
            self.count(ways.received(), ways.sent());
            end
        })
        .await
    }
}

/// `None`: it took longer than that.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    joined: impl Future<Output = T>,
) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, joined).await.ok(),
        None => Some(joined.await),
    }
}

/// Makes the close to come a reset. Where that fails the close is an ordinary one.
fn reset(downstream: &Transport) {
    let _ = downstream.socket().set_zero_linger();
}
