//! What a rule may look at: the head of a request, and chance.

use http::HeaderMap;

/// The head of one request, after admission: normalised path, checked authority.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// `:method`, case-sensitive.
    pub method: &'a str,
    /// `:scheme`: `http` or `https`, as seen by the client (`x-forwarded-proto`).
    pub scheme: &'a str,
    /// `:authority` or `Host` as the client sent it, port included.
    pub authority: &'a str,
    /// The path, normalised and still percent-encoded, without query and fragment.
    pub path: &'a str,
    /// What follows the first `?`, without it. `None` when there is no `?`.
    pub query: Option<&'a str>,
    /// All headers but the pseudo headers.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestHead<'a> {
    /// The host of the authority: port cut off, brackets of an IPv6 literal kept.
    pub fn host(&self) -> &'a str {
        host_of(self.authority)
    }

    /// Whether the request is gRPC by its content type, so that local replies must be too.
    pub fn is_grpc(&self) -> bool {
        let Some(kind) = self.headers.get(http::header::CONTENT_TYPE) else {
            return false;
        };
        let kind = kind.as_bytes();
        kind.starts_with(b"application/grpc")
            && matches!(kind.get(16), None | Some(b'+' | b';' | b' '))
    }
}

/// Cuts the port off an authority: `shop.test:80` is `shop.test`, `[::1]:80` is `[::1]`.
pub fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if authority[colon + 1..].bytes().all(|b| b.is_ascii_digit()) => {
            &authority[..colon]
        }
        _ => authority,
    }
}

/// The source of chance a decision draws from: the data plane's generator, or fixed draws in a test.
pub trait Dice {
    /// A number in `0..sides`. `sides` is at least 1.
    fn roll(&mut self, sides: u32) -> u32;
}

impl<F: FnMut(u32) -> u32> Dice for F {
    fn roll(&mut self, sides: u32) -> u32 {
        self(sides)
    }
}
