//! Which endpoint a client keeps meeting.

use super::chance;
use super::context::RequestCtx;
use http::HeaderValue;
use pingora_http::RequestHeader;
use rules::{HashKey, LoadBalancing, set_cookie};

/// What tells a client from others, where its endpoint depends on that.
#[derive(Debug, Default)]
pub(super) struct Affinity {
    /// Absent: any endpoint will do.
    pub(super) hash: Option<u64>,
    /// The cookie that is made for the client, so that it comes back to the same endpoint.
    pub(super) cookie: Option<HeaderValue>,
}

impl Affinity {
    pub(super) fn of(ctx: &RequestCtx, request: &RequestHeader, balancing: &LoadBalancing) -> Self {
        match balancing {
            LoadBalancing::ConsistentHash { key, .. } => Self::by(key, ctx, request),
            LoadBalancing::LeastRequest | LoadBalancing::RoundRobin | LoadBalancing::Random => {
                Self::default()
            }
        }
    }

    fn by(key: &HashKey, ctx: &RequestCtx, request: &RequestHeader) -> Self {
        let Some(head) = ctx.head.as_deref() else {
            return Self::default();
        };
        let query = request.uri.query();
        if let Some(text) = key.of_request(&request.headers, query, head.client) {
            return Self {
                hash: Some(traffic::hash(&text)),
                cookie: None,
            };
        }
        let made = key.cookie_to_make().map(|cookie| {
            let value = chance::token();
            Self {
                hash: Some(traffic::hash(value.as_bytes())),
                cookie: set_cookie(cookie, &value),
            }
        });
        made.unwrap_or_default()
    }
}
