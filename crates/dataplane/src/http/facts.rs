//! What header operations may ask about a request: Envoy's format operators.

use super::context::{Head, RequestCtx};
use http::{HeaderMap, HeaderName};
use pingora_http::{RequestHeader, ResponseHeader};
use rules::{Facts, HeaderTarget, Operator};
use std::borrow::Cow;
use std::time::SystemTime;

/// A request, and its response where there is one.
pub(super) struct RequestFacts<'a> {
    pub(super) ctx: &'a RequestCtx,
    pub(super) request: &'a RequestHeader,
    pub(super) response: Option<&'a HeaderMap>,
}

impl Facts for RequestFacts<'_> {
    fn value(&self, operator: &Operator) -> Option<Cow<'_, str>> {
        let head = self.ctx.head.as_deref()?;
        match operator.name.as_str() {
            "REQ" => operator
                .header_names()
                .find_map(|name| self.request_header(head, name)),
            "RESP" => operator
                .header_names()
                .find_map(|name| header(self.response?, name)),
            "PROTOCOL" => Some(super::observe::protocol(head.version).into()),
            "START_TIME" => Some(self.start_time().into()),
            "DURATION" | "REQUEST_DURATION" => {
                Some(self.ctx.started.elapsed().as_millis().to_string().into())
            }
            "ROUTE_NAME" => Some(Cow::Borrowed(&self.ctx.route.as_ref()?.name)),
            "REQUESTED_SERVER_NAME" => Some(super::observe::sni(&head.connection).into())
                .filter(|name: &Cow<'_, str>| !name.is_empty()),
            name if name.starts_with("DOWNSTREAM") => {
                downstream(head, name).or_else(|| secured(head, name))
            }
            name => self.outcome(name),
        }
    }
}

impl RequestFacts<'_> {
    fn request_header<'s>(&'s self, head: &'s Head, name: &str) -> Option<Cow<'s, str>> {
        match name {
            ":method" => Some(Cow::Borrowed(self.request.method.as_str())),
            ":path" => Some(Cow::Borrowed(self.request.uri.path_and_query()?.as_str())),
            ":scheme" => Some(Cow::Borrowed(if head.https { "https" } else { "http" })),
            ":authority" | "host" => Some(String::from_utf8_lossy(head.authority.as_bytes())),
            name => header(&self.request.headers, name),
        }
    }

    fn outcome(&self, name: &str) -> Option<Cow<'_, str>> {
        let (ctx, outcome) = (self.ctx, &self.ctx.outcome);
        match name {
            "RESPONSE_CODE" => (outcome.status > 0).then(|| outcome.status.to_string().into()),
            "RESPONSE_CODE_DETAILS" => Some(Cow::Borrowed(&*outcome.details)),
            "RESPONSE_FLAGS" => Some(outcome.flags.to_string().into()),
            "BYTES_RECEIVED" => Some(outcome.received.to_string().into()),
            "BYTES_SENT" => Some(outcome.sent.to_string().into()),
            "UPSTREAM_CLUSTER" => Some(Cow::Borrowed(&*ctx.plan.as_ref()?.cluster.name)),
            "UPSTREAM_HOST" => Some(ctx.upstream_address()?.to_string().into()),
            "UPSTREAM_LOCAL_ADDRESS" => Some(ctx.attempts.local_address?.to_string().into()),
            _ => None,
        }
    }

    /// As the access log writes it, whatever format was asked for.
    fn start_time(&self) -> String {
        let since = self
            .ctx
            .start_time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        timestamp(since.as_secs(), since.subsec_millis())
    }
}

fn downstream<'h>(head: &'h Head, name: &str) -> Option<Cow<'h, str>> {
    let (local, peer) = (head.connection.local, head.connection.peer);
    let text = match name {
        "DOWNSTREAM_LOCAL_ADDRESS" => local.to_string(),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => local.ip().to_string(),
        "DOWNSTREAM_LOCAL_PORT" => local.port().to_string(),
        "DOWNSTREAM_REMOTE_ADDRESS" if head.client == peer.ip().to_canonical() => peer.to_string(),
        "DOWNSTREAM_REMOTE_ADDRESS" => format!("{}:0", head.client),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => head.client.to_string(),
        "DOWNSTREAM_REMOTE_PORT" => peer.port().to_string(),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => peer.to_string(),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => peer.ip().to_string(),
        _ => return None,
    };
    Some(text.into())
}

/// What TLS tells of the client.
fn secured<'h>(head: &'h Head, name: &str) -> Option<Cow<'h, str>> {
    let tls = head.connection.tls.as_deref()?;
    let text = match name {
        "DOWNSTREAM_TLS_VERSION" => tls.version,
        "DOWNSTREAM_TLS_CIPHER" => tls.cipher,
        "DOWNSTREAM_PEER_SUBJECT" => tls.client.as_ref()?.subject(),
        "DOWNSTREAM_PEER_URI_SAN" => {
            let uris: Vec<&str> = tls.client.as_ref()?.uris().collect();
            return Some(uris.join(",").into()).filter(|uris: &Cow<'_, str>| !uris.is_empty());
        }
        _ => return None,
    };
    Some(text.into()).filter(|text: &Cow<'_, str>| !text.is_empty())
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<Cow<'h, str>> {
    let mut values = headers
        .get_all(HeaderName::from_bytes(name.as_bytes()).ok()?)
        .iter();
    let first = String::from_utf8_lossy(values.next()?.as_bytes());
    let mut rest = values.peekable();
    if rest.peek().is_none() {
        return Some(first);
    }
    let join = |joined: String, value: &http::HeaderValue| {
        format!("{joined},{}", String::from_utf8_lossy(value.as_bytes()))
    };
    Some(rest.fold(first.into_owned(), join).into())
}

/// `2026-01-02T03:04:05.678Z`
fn timestamp(seconds: u64, millis: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The date a number of days after 1970-01-01, in years that begin in March so that leap days come last.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    const DAYS_FROM_YEAR_0_TO_1970: u64 = 719_468;
    let days = days + DAYS_FROM_YEAR_0_TO_1970;
    let (era, of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A request under header operations. Pingora keeps the case of names that stay (promise 12).
pub(super) struct RequestTarget<'a>(pub(super) &'a mut RequestHeader);

/// A response under header operations.
pub(super) struct ResponseTarget<'a>(pub(super) &'a mut ResponseHeader);

/// Both kinds of head have the same methods but no trait in common. None of them fails on a name and a
/// value that are well-formed already.
macro_rules! header_target {
    ($target:ident) => {
        impl HeaderTarget for $target<'_> {
            fn set(&mut self, name: &HeaderName, value: http::HeaderValue) {
                let _ = self.0.insert_header(name, value);
            }

            fn append(&mut self, name: &HeaderName, value: http::HeaderValue) {
                let _ = self.0.append_header(name, value);
            }

            fn remove(&mut self, name: &HeaderName) {
                self.0.remove_header(name);
            }
        }
    };
}

header_target!(RequestTarget);
header_target!(ResponseTarget);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_the_log() {
        assert_eq!(timestamp(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_826_084, 5), "2000-02-29T12:08:04.005Z");
        assert_eq!(timestamp(1_767_323_045, 678), "2026-01-02T03:04:05.678Z");
    }

    #[test]
    fn values_of_one_name_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", http::HeaderValue::from_static("1"));
        headers.append("x-a", http::HeaderValue::from_static("2"));
        assert_eq!(header(&headers, "X-A").unwrap(), "1,2");
        assert_eq!(header(&headers, "x-b"), None);
    }
}
