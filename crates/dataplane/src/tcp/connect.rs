//! The way to an endpoint.

use super::connection::TcpConnection;
use super::failure::Failure;
use crate::http::roll;
use crate::upstream::{
    Cluster, DialError, NotFound, Open, Overflow, Upstream, UpstreamIo, Wrap, implied,
};
use crate::{Side, Unresolved};
use rules::Target;
use smallvec::SmallVec;
use std::sync::Arc;
use traffic::{ActiveRequest, Choice, Entry, Observed, Slot};

/// Endpoints that are tried, one after the other: nothing was sent to one that could not be connected to.
const ATTEMPTS: usize = 3;

/// Stands for a connection that came about, as with Envoy: failures in a row end with it.
const CONNECTED: u16 = 200;

/// What counts a connection, as long as it exists: at its endpoint, among the cluster's connections, and in their
/// limit.
#[expect(dead_code, reason = "what counts is that it is there")]
pub(super) struct Held {
    active: ActiveRequest,
    open: Open,
    slot: Slot,
}

impl TcpConnection {
    /// Connects to an endpoint of the cluster, to another one when that fails.
    pub(super) async fn dial(&mut self) -> Result<(UpstreamIo, Held), Failure> {
        let mut cluster = self.cluster.clone().ok_or(Failure::NoRoute)?;
        let slot = slot(&cluster)?;
        if cluster.is_to_be_found() {
            cluster = Box::pin(self.find(&cluster)).await?;
            self.cluster = Some(cluster.clone());
        }
        let hash = self.hash(&cluster);
        let shared = Arc::clone(&self.shared);
        let metrics = shared.metrics.own().upstream();
        let mut tried = SmallVec::<[usize; ATTEMPTS]>::new();
        let mut failure = Failure::NoEndpoint;
        while tried.len() < ATTEMPTS {
            let choice = Choice {
                hash,
                tried: &tried,
                leave_priority: false,
            };
            let chosen = cluster.chosen_by(&self.info);
            let chosen = chosen.or_else(|| cluster.select(choice, &mut roll));
            let Some(index) = chosen else {
                break;
            };
            let Some(member) = cluster.endpoints.members().get(index) else {
                break;
            };
            if tried.contains(&index) {
                break;
            }
            if self.leads_back(&member.value) {
                return Err(Failure::NotFound(NotFound::Itself));
            }
            tried.push(index);
            self.endpoint = Some(index);
            let active = member.state.begin();
            match member.value.connect(self.wrap(), self.ends()).await {
                Ok((upstream, open)) => {
                    metrics.connections.inc();
                    // Nothing else will ever be known of it.
                    cluster.observe(&shared, index, Observed::Connected);
                    cluster.observe(&shared, index, Observed::Status(CONNECTED));
                    self.local_address = upstream.local_address();
                    return Ok((upstream, Held { active, open, slot }));
                }
                Err(error) => {
                    if let DialError::NotAdmitted = error {
                        cluster.kept.overflow(Overflow::Connections);
                        return Err(Failure::Overflow);
                    }
                    metrics.connect_failures.inc();
                    member.state.record_failure();
                    if error.is_of_endpoint() {
                        cluster.observe(&shared, index, Observed::ConnectFailure);
                    }
                    // Others that may be dialled come first.
                    let is_last = matches!(error, DialError::Forbidden);
                    failure = Failure::Connect(error);
                    if is_last {
                        break;
                    }
                }
            }
        }
        Err(failure)
    }

    /// Whether a client of a forward proxy, or a sidecar's workload, would be led to it again.
    fn leads_back(&self, upstream: &Upstream) -> bool {
        let port = self.info.local.port();
        let may_lead_back = self.asked.is_some() || self.info.side != Side::Gateway;
        may_lead_back && self.shared.own_ports.lead_back(&upstream.address, port)
    }

    /// The endpoints of what the connection asks for. Finding them may take as long as connecting to them.
    async fn find(&self, cluster: &Arc<Cluster>) -> Result<Arc<Cluster>, Failure> {
        let snapshot = self.shared.snapshot();
        let finding = self.shared.find(&snapshot, cluster, self.target(cluster));
        let limit = cluster.definition.pool.connect_timeout;
        let found = match tokio::time::timeout(limit, finding).await {
            Ok(found) => found,
            Err(_) => Err(NotFound::Unresolved(Unresolved {
                reason: "dns_timeout",
                text: "there was no answer within the time to connect".to_owned(),
            })),
        };
        found.map_err(Failure::NotFound)
    }

    fn target(&self, cluster: &Cluster) -> Option<Target> {
        let by_name = || match self.in_mesh_tls {
            // The name is one of a cluster.
            true => None,
            false => implied(&cluster.definition, &self.server_name),
        };
        if self.info.side == Side::Inbound {
            return Some(self.info.target());
        }
        self.asked.clone().or_else(by_name)
    }

    fn hash(&self, cluster: &Cluster) -> Option<u64> {
        let rules::LoadBalancing::ConsistentHash { key, .. } = &cluster.definition.load_balancing
        else {
            return None;
        };
        let text = key.of_connection(self.info.peer.ip())?;
        Some(traffic::hash(&text))
    }

    fn wrap(&self) -> Wrap {
        if self.in_mesh_tls {
            Wrap::AsItIs
        } else {
            Wrap::AsTheRuleSays
        }
    }
}

/// A connection without requests does not wait for another one to end.
fn slot(cluster: &Cluster) -> Result<Slot, Failure> {
    match cluster.kept.limits.enter() {
        Entry::Slot(slot) => Ok(slot),
        Entry::Wait(_) | Entry::Overflow => {
            cluster.kept.overflow(Overflow::Connections);
            Err(Failure::Overflow)
        }
    }
}
