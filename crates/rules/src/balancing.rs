//! How an endpoint is chosen: Istio's `LoadBalancerSettings`, compiled.

use http::HeaderName;
use model::{HashAlgorithm, HashCookie};

/// How an endpoint is chosen.
///
/// Source: Istio `LoadBalancerSettings`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum LoadBalancing {
    /// Two drawn by weight, the one with fewer requests in flight is taken. Istio's default.
    #[default]
    LeastRequest,
    /// In turn, by weight.
    RoundRobin,
    /// Drawn by weight.
    Random,
    /// The same client meets the same endpoint.
    ConsistentHash {
        /// By what clients are told apart.
        key: HashKey,
        /// How hashes are mapped to endpoints.
        algorithm: HashAlgorithm,
    },
}

/// What is hashed. A request without it goes to a random endpoint.
///
/// Source: Istio `ConsistentHashLB.hash_key`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HashKey {
    /// The value of a header.
    Header(HeaderName),
    /// The value of a cookie, made when it is missing and has a `ttl`.
    Cookie(HashCookie),
    /// The client's address. The only key that connections without requests have.
    SourceIp,
    /// The first value of a query parameter.
    QueryParameter(String),
}
