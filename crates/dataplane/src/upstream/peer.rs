//! An endpoint as Pingora dials it.

use super::KeepAlive;
use super::connection::{Lifetime, Open};
use super::connections::Connections;
use super::connector::{Carried, Hook, alpn};
use super::dial::{Dial, DialError, Dialer, UpstreamIo};
use super::streams::{Recipe, Stream, StreamKey, Terms};
use super::tls::{Alpn, ReadyTls};
use super::way::{Occasion, Way};
use crate::health::Spoken;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddress;
use pingora_core::upstreams::peer::HttpPeer;
use rules::{EndpointAddr, Target, Workload};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::SocketAddr as UnixSocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Requests on one upstream HTTP/2 connection at a time, unless a rule says otherwise. Pingora's default of 1 makes
/// a connection for each.
const HTTP2_STREAMS: u32 = 100;
/// What a peer is made of until its own address is put in.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Marks the pool's keys that each serve one attempt.
const FRESH: u64 = 1 << 63;

/// One endpoint of a cluster: its address, and how it is dialled.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: EndpointAddr,
    /// Its place: `region/zone/subzone`, empty when unknown.
    pub locality: Arc<str>,
    /// What runs there. Absent: not known.
    pub workload: Option<Arc<Workload>>,
    /// What is known of its own idle timeout.
    pub keep_alive: Arc<KeepAlive>,
    /// For requests.
    pub(crate) way: Arc<Way>,
    /// For bytes, which may go through a tunnel.
    of_bytes: Arc<Dialer>,
    /// The address as Pingora has it.
    dialled: PingoraAddress,
    /// Leads Pingora's connector to `way`.
    hook: Hook,
    terms: Terms,
    tells: Tells,
    idle_timeout: Duration,
    connect_timeout: Duration,
    keeps_none: bool,
    /// Whom connections may serve, as far as the cluster decides that.
    group: u64,
}

/// What of a request its connection tells the endpoint, so that no other may use it that would tell something else.
#[derive(Clone, Copy, Debug)]
struct Tells {
    /// The request's host, in TLS.
    host: bool,
    /// The client, in the PROXY protocol.
    client: bool,
}

/// Whether TLS is put around what is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wrap {
    /// As the DestinationRule says, or the mesh does by itself.
    AsTheRuleSays,
    /// It is in the mesh's TLS already.
    AsItIs,
}

/// How one attempt dials.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt<'a> {
    /// In HTTP/2, and where. Absent: HTTP/1.1.
    pub(crate) stream: Option<&'a Stream>,
    /// Not on a connection that was idle.
    pub fresh: bool,
    /// Bounds the connection, and each read of the response. Absent: only the cluster's connect timeout holds.
    pub timeout: Option<Duration>,
    /// Bounds the connection alone, when reads are not bounded.
    pub connect_timeout: Option<Duration>,
    /// The host that is asked for, without a port.
    pub host: &'a str,
    /// The client and where it arrived.
    pub downstream: Option<(SocketAddr, SocketAddr)>,
}

/// What the endpoints of a cluster share.
#[derive(Clone, Debug)]
pub(super) struct Common<'c> {
    pub(super) cluster: &'c rules::Cluster,
    pub(super) connections: &'c Arc<Connections>,
    /// How TLS is begun with those of them that it is begun with. Absent: with none.
    pub(super) tls: Option<&'c ReadyTls>,
    /// What the client asked for whose endpoints they are. Absent: they are everybody's.
    pub(super) asked: Option<&'c Target>,
}

impl Upstream {
    /// An endpoint of a cluster. `None` when its address cannot be dialled at all.
    pub(super) fn new(
        endpoint: &rules::Endpoint,
        common: &Common<'_>,
        keep_alive: Arc<KeepAlive>,
    ) -> Option<Self> {
        let cluster = common.cluster;
        let of_bytes = Dialer::new(endpoint, cluster, common.tls);
        let of_bytes = Arc::new(match common.asked {
            Some(target) => of_bytes.asked(target),
            None => of_bytes,
        });
        let way = Arc::new(way(&endpoint.address, &of_bytes, common));
        let tells = Tells {
            host: way.dialer.asks_for_host(),
            client: way.dialer.tells_client(),
        };
        let group = group_key(&way.dialer, common);
        Some(Self {
            address: endpoint.address.clone(),
            locality: endpoint.locality.clone(),
            workload: endpoint.workload.clone(),
            keep_alive,
            dialled: dialled(&endpoint.address)?,
            hook: Carried::Http1(way.clone()).hook(),
            terms: terms(cluster, &way.dialer),
            way,
            of_bytes,
            tells,
            idle_timeout: cluster.pool.idle_timeout,
            connect_timeout: cluster.pool.connect_timeout,
            keeps_none: cluster.pool.max_requests_per_connection == Some(1),
            group,
        })
    }

    /// Whether it is spoken to in TLS, be it that this cannot be begun for now.
    pub fn speaks_tls(&self) -> bool {
        self.way.dialer.speaks_tls()
    }

    /// Whether it is never dialled, since a name stands for its address that no name may stand for.
    pub(super) fn is_forbidden(&self) -> bool {
        self.way.dialer.is_forbidden()
    }

    /// What Pingora needs to make this attempt.
    pub fn peer(&self, attempt: Attempt<'_>) -> Box<HttpPeer> {
        let mut peer = match attempt.stream {
            Some(stream) => self.http2_peer(stream),
            None => self.http1_peer(&attempt),
        };
        let options = &mut peer.options;
        let bound = attempt.timeout.or(attempt.connect_timeout);
        let connect = bound.map_or(self.connect_timeout, |bound| {
            bound.min(self.connect_timeout)
        });
        options.total_connection_timeout = Some(connect);
        options.read_timeout = attempt.timeout;
        peer
    }

    fn http1_peer(&self, attempt: &Attempt<'_>) -> Box<HttpPeer> {
        let mut peer = self.plain_peer();
        let occasion = self.occasion(attempt);
        if occasion != Occasion::default() {
            let mut hasher = DefaultHasher::new();
            (self.group, &occasion).hash(&mut hasher);
            peer.group_key = hasher.finish() & !FRESH;
            let carried = Carried::Http1(self.way_on(occasion));
            carried.hook().put_on(&mut peer);
        }
        peer.options.idle_timeout = Some(self.keep_alive.idle_timeout(self.idle_timeout));
        if attempt.fresh || self.keeps_none {
            peer.options.idle_timeout = Some(Duration::ZERO);
            peer.group_key = unused_key();
        }
        peer
    }

    /// It is made for each attempt: kept, it would be most of what an endpoint takes. The address is put in, since Pingora
    /// makes one of a path only by checking the path each time.
    fn plain_peer(&self) -> Box<HttpPeer> {
        let mut peer = HttpPeer::new(NOWHERE, false, String::new());
        peer._address = self.dialled.clone();
        peer.group_key = self.group;
        peer.options.alpn = alpn();
        self.hook.put_on(&mut peer);
        Box::new(peer)
    }

    /// There is nothing for it in Pingora's pool.
    fn http2_peer(&self, stream: &Stream) -> Box<HttpPeer> {
        let mut peer = self.plain_peer();
        peer.group_key = unused_key();
        let carried = Carried::Http2(stream.shared().clone());
        carried.hook().put_on(&mut peer);
        peer
    }

    /// Which connections in HTTP/2 a request can share, and how another is made.
    pub(super) fn sharing(&self, attempt: &Attempt<'_>) -> (StreamKey, Recipe) {
        let occasion = self.occasion(attempt);
        let way = match occasion == Occasion::default() {
            true => self.way.clone(),
            false => self.way_on(occasion.clone()),
        };
        let key = StreamKey {
            address: self.address.clone(),
            group: self.group,
            occasion,
        };
        let mut terms = self.terms;
        terms.lifetime.idle = Some(self.keep_alive.idle_timeout(self.idle_timeout));
        (key, way.recipe(terms))
    }

    /// A connection for bytes, counted as open as long as the second value exists. `ends`: the client and where it
    /// arrived.
    pub(crate) async fn connect(
        &self,
        wrap: Wrap,
        ends: (SocketAddr, SocketAddr),
    ) -> Result<(UpstreamIo, Open), DialError> {
        let way = Way {
            dialer: match wrap {
                Wrap::AsTheRuleSays => self.of_bytes.clone(),
                Wrap::AsItIs => Arc::new(self.of_bytes.as_it_is()),
            },
            occasion: Occasion {
                sni: None,
                downstream: Some(ends),
            },
            ..Way::clone(&self.way)
        };
        way.dial(Alpn::None, self.connect_timeout).await
    }

    /// A connection for a health check. It does not count: nobody's requests are on it.
    pub(crate) async fn connect_for_check(
        &self,
        spoken: Spoken,
        timeout: Duration,
    ) -> Result<UpstreamIo, DialError> {
        let (dialer, alpn) = match spoken {
            Spoken::Nothing => (self.of_bytes.as_it_is(), Alpn::None),
            Spoken::Http1 => (Dialer::clone(&self.way.dialer), Alpn::Http1),
            Spoken::Http2 => (Dialer::clone(&self.way.dialer), Alpn::Http2),
        };
        let dial = Dial {
            sni: None,
            alpn,
            downstream: None,
            timeout,
        };
        dialer.connect(dial).await
    }

    /// What of a request its connection tells the endpoint, so that requests of which it would tell something else
    /// cannot use it.
    fn occasion(&self, attempt: &Attempt<'_>) -> Occasion {
        Occasion {
            sni: self.tells.host.then(|| attempt.host.into()),
            downstream: attempt.downstream.filter(|_| self.tells.client),
        }
    }

    fn way_on(&self, occasion: Occasion) -> Arc<Way> {
        Arc::new(Way {
            occasion,
            ..Way::clone(&self.way)
        })
    }
}

fn way(address: &EndpointAddr, of_bytes: &Arc<Dialer>, common: &Common<'_>) -> Way {
    let cluster = common.cluster;
    Way {
        address: address.clone(),
        dialer: of_bytes.without_tunnel(),
        connections: common.connections.clone(),
        connect_timeout: cluster.pool.connect_timeout,
        lifetime: cluster.pool.max_connection_duration,
        occasion: Occasion::default(),
    }
}

/// `None`: no system knows such a path.
fn dialled(address: &EndpointAddr) -> Option<PingoraAddress> {
    Some(match address {
        EndpointAddr::Tcp(address) => PingoraAddress::Inet(*address),
        EndpointAddr::Unix(path) => {
            PingoraAddress::Unix(UnixSocketAddr::from_pathname(&**path).ok()?)
        }
    })
}

/// What the rules say of connections in HTTP/2.
fn terms(cluster: &rules::Cluster, dialer: &Dialer) -> Terms {
    let pool = &cluster.pool;
    Terms {
        streams: pool.max_concurrent_streams.unwrap_or(HTTP2_STREAMS),
        requests: pool.max_requests_per_connection,
        lifetime: Lifetime {
            whole: pool.max_connection_duration,
            idle: None,
        },
        is_encrypted: dialer.speaks_tls(),
        ping_interval: pool.http2_keep_alive.map(|alive| alive.interval),
    }
}

/// Whom a pooled connection may serve: Pingora's own key leaves out most of what tells connections apart.
fn group_key(dialer: &Dialer, common: &Common<'_>) -> u64 {
    let cluster = common.cluster;
    let mut hasher = DefaultHasher::new();
    cluster.key.hash(&mut hasher);
    // What was made while it was allowed is of no use any more.
    dialer.is_forbidden().hash(&mut hasher);
    dialer.only_host().hash(&mut hasher);
    dialer.hash_tls(&mut hasher);
    cluster
        .proxy_protocol
        .map(|version| version as u8)
        .hash(&mut hasher);
    hasher.finish() & !FRESH
}

/// A key that no connection was ever pooled under. The pool forgets keys without connections, so that
/// any number of them may be used.
fn unused_key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    FRESH | NEXT.fetch_add(1, Relaxed)
}
