//! How endpoints are chosen.

use crate::{At, Percent};
use std::collections::BTreeMap;
use std::time::Duration;

/// How an endpoint is chosen.
///
/// Source: Istio `LoadBalancerSettings`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadBalancerSettings {
    /// Where it stands.
    pub at: At,
    /// `simple` or `consistentHash`. Default: least request.
    pub policy: LoadBalancerPolicy,
    /// Absent: the mesh's.
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// Excludes `locality_lb_setting`.
    pub zone_aware_lb_setting: Option<ZoneAwareLbSetting>,
    /// New endpoints get their share little by little. Round robin and least request only.
    pub warmup: Option<Warmup>,
}

/// The way of choosing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoadBalancerPolicy {
    /// Without memory of the client.
    Simple(SimpleLb),
    /// The same client meets the same endpoint.
    ConsistentHash(ConsistentHashLb),
}

impl Default for LoadBalancerPolicy {
    fn default() -> Self {
        Self::Simple(SimpleLb::LeastRequest)
    }
}

/// Source: Istio `LoadBalancerSettings.SimpleLB`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum SimpleLb {
    /// Of two drawn, the one with fewer requests; also `UNSPECIFIED` and `LEAST_CONN`.
    #[default]
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// Drawn.
    Random,
    /// The address that the client wanted.
    Passthrough,
}

/// Source: Istio `LoadBalancerSettings.ConsistentHashLB`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConsistentHashLb {
    /// What is hashed.
    pub key: HashKey,
    /// Default: ring hash of at least 1024 points.
    pub algorithm: HashAlgorithm,
}

/// What is hashed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HashKey {
    /// The value of this header.
    HttpHeaderName(String),
    /// A cookie.
    HttpCookie(HashCookie),
    /// The client's address.
    UseSourceIp,
    /// The first value of this query parameter.
    HttpQueryParameterName(String),
}

/// A cookie that is hashed and, with a `ttl`, made when it is missing.
///
/// Source: Istio `ConsistentHashLB.HTTPCookie`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HashCookie {
    /// Its name, a token.
    pub name: String,
    /// Its path, visible ASCII without `;`. Absent: none is sent.
    pub path: Option<String>,
    /// Absent: never made. Zero: a session cookie. Otherwise its `Max-Age`.
    pub ttl: Option<Duration>,
    /// More attributes, in order.
    pub attributes: Vec<CookieAttribute>,
}

/// An attribute of a generated cookie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CookieAttribute {
    /// Its name, a token.
    pub name: String,
    /// Visible ASCII without `;`. Absent: a bare name.
    pub value: Option<String>,
}

/// How hashes are mapped to endpoints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HashAlgorithm {
    /// A ring with at least this many points.
    RingHash {
        /// Default 1024.
        minimum_ring_size: u64,
    },
    /// A Maglev table.
    Maglev {
        /// A prime up to 5000011. Default 65537.
        table_size: u64,
    },
}

impl Default for HashAlgorithm {
    fn default() -> Self {
        Self::RingHash {
            minimum_ring_size: 1024,
        }
    }
}

/// How localities are preferred. Beside `distribute` there is no failover; of two failovers the labels come first.
///
/// Source: Istio `LocalityLoadBalancerSetting`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LocalityLbSetting {
    /// Where it stands.
    pub at: At,
    /// Absent: the mesh's, which is true.
    pub enabled: Option<bool>,
    /// Shares by where the client is.
    pub distribute: Vec<LocalityDistribute>,
    /// Where a region fails over to.
    pub failover: Vec<LocalityFailover>,
    /// Labels by which endpoints are nearer, the most important first.
    pub failover_priority: Vec<String>,
}

/// Shares of localities for clients of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalityDistribute {
    /// `region/zone/subzone`, of which the last written may be `*`.
    pub from: String,
    /// Percent by locality, at least 1; their sum is 100, and none is in another but for `*`.
    pub to: BTreeMap<String, u32>,
}

/// Where a region fails over to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalityFailover {
    /// A region.
    pub from: String,
    /// Another region.
    pub to: String,
}

/// Source: Istio `ZoneAwareLoadBalancerSetting`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ZoneAwareLbSetting {
    /// Absent: true.
    pub enabled: Option<bool>,
    /// Where a region fails over to.
    pub failover: Vec<LocalityFailover>,
    /// Labels by which endpoints are nearer.
    pub failover_priority: Vec<String>,
    /// Fewer endpoints than this are all one zone.
    pub min_cluster_size: Option<u32>,
}

/// A slow start of new endpoints.
///
/// Source: Istio `WarmupConfiguration`, or `warmupDurationSecs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Warmup {
    /// How long it takes.
    pub duration: Duration,
    /// The share at the beginning. Default 10 %.
    pub minimum_percent: Percent,
    /// The form of the ramp, finite and at least 1. Default 1: linear.
    pub aggression: f64,
}
