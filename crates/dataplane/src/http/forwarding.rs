//! The headers that tell an upstream where a request comes from, and whom to believe about it (promise 14).
//!
//! - `x-forwarded-for`: the peer is appended to whatever there was, as Envoy does; who reads it counts
//!   from the right.
//! - `x-forwarded-proto`: of the connection, unless a trusted hop says otherwise.
//! - `x-request-id`: a new UUID, unless a trusted hop sent one.
//! - `x-envoy-external-address` or `x-envoy-internal`: after the client's address.
//! - All other `x-envoy-*` headers are removed, unless a trusted hop sent them.
//! - `x-forwarded-client-cert`: of the client's certificate where TLS ended here and verified one, otherwise removed,
//!   unless a trusted hop sent it; see [`ForwardClientCert`].
//! - `x-envoy-decorator-operation` is never added: it names trace spans, and there are none.

use super::chance;
use super::context::Head;
use crate::{ForwardClientCert, Settings, Side, TlsFacts};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use smallvec::SmallVec;
use std::net::IpAddr;

pub(super) const ATTEMPT_COUNT: &str = "x-envoy-attempt-count";
pub(super) const EXPECTED_TIMEOUT: &str = "x-envoy-expected-rq-timeout-ms";
pub(super) static UPSTREAM_TIMEOUT: HeaderName =
    HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
pub(super) const ORIGINAL_PATH: &str = "x-envoy-original-path";
pub(super) const ORIGINAL_HOST: &str = "x-envoy-original-host";
pub(super) const SERVICE_TIME: &str = "x-envoy-upstream-service-time";
pub(super) const REQUEST_ID: &str = "x-request-id";
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_CLIENT_CERT: &str = "x-forwarded-client-cert";
/// The same names, made once for lookups.
static FORWARDED_FOR_NAME: HeaderName = HeaderName::from_static(FORWARDED_FOR);
static INTERNAL_NAME: HeaderName = HeaderName::from_static(INTERNAL);
const EXTERNAL_ADDRESS: &str = "x-envoy-external-address";
const INTERNAL: &str = "x-envoy-internal";
const ENVOY_PREFIX: &str = "x-envoy-";

/// Brings the headers above in order, and notes in `head` what they say.
pub(super) fn tell_origin(request: &mut RequestHeader, head: &mut Head, settings: &Settings) {
    if head.connection.side != Side::Gateway {
        return tell_origin_of_sidecar(request, head);
    }
    let client_cert = ClientCert::of(head, settings.forward_client_cert);
    remove_untrusted(request, head.trusted, &client_cert);
    client_cert.tell(request);
    let peer = head.connection.peer.ip().to_canonical();
    head.client = client_address(&request.headers, peer, settings);
    let chain = appended(&request.headers, head.connection.peer_value());
    head.https = tell_scheme(request, head);
    head.request_id = Some(tell_request_id(request, head.trusted));
    tell_address(request, head.client);
    insert(request, FORWARDED_FOR, chain.clone());
    head.forwarded_for = Some(chain);
}

/// The same at a sidecar, which is no hop of its own: it appends nothing to `x-forwarded-for`, and a request keeps its
/// identifier and scheme.
///
/// Source: Istio, sidecars without `use_remote_address`.
fn tell_origin_of_sidecar(request: &mut RequestHeader, head: &mut Head) {
    // Nobody but the mesh's own certificates says who a client of the workload is.
    let client_cert = match head.connection.mesh_client() {
        Some(_) => ClientCert::of(head, ForwardClientCert::AppendForward),
        None => ClientCert::Removed,
    };
    remove_untrusted(request, head.trusted, &client_cert);
    client_cert.tell(request);
    if head.trusted && head.connection.side == Side::Inbound {
        head.client = last_hop(&request.headers).unwrap_or(head.client);
    }
    head.https = scheme_of(request, head);
    if let Some(id) = request.headers.get(REQUEST_ID) {
        head.request_id = Some(id.clone());
    } else {
        head.request_id = Some(tell_request_id(request, false));
    }
    head.forwarded_for = request.headers.get(&FORWARDED_FOR_NAME).cloned();
}

/// What is told, else that of the connection.
fn scheme_of(request: &mut RequestHeader, head: &Head) -> bool {
    if let Some(told) = request.headers.get(FORWARDED_PROTO) {
        return told.as_bytes().eq_ignore_ascii_case(b"https");
    }
    told_by_connection(request, head)
}

/// The client of the hop before.
fn last_hop(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all(&FORWARDED_FOR_NAME).iter().next_back()?;
    let last = value.to_str().ok()?.rsplit(',').next()?;
    let address: IpAddr = last.trim().parse().ok()?;
    Some(address.to_canonical())
}

/// Marks a mirrored request: this proxy is one more hop of it, and it is nobody's but ours.
pub(super) fn tell_shadow(request: &mut RequestHeader, local: IpAddr) {
    let chain = appended(&request.headers, &address_value(local));
    insert(request, FORWARDED_FOR, chain);
    insert(request, INTERNAL, HeaderValue::from_static("true"));
}

/// Puts a header in place of all of its name. Names and values here are well-formed, so it cannot fail.
pub(super) fn insert(request: &mut RequestHeader, name: &'static str, value: HeaderValue) {
    let _ = request.insert_header(name, value);
}

/// An address as a header has it.
pub(crate) fn address_value(address: IpAddr) -> HeaderValue {
    let text = address.to_canonical().to_string();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Debug, Eq, PartialEq)]
enum ClientCert {
    Kept,
    Removed,
    Set(HeaderValue),
    Appended(HeaderValue),
}

impl ClientCert {
    fn of(head: &Head, policy: ForwardClientCert) -> Self {
        let facts = head.connection.tls.as_deref();
        let own = facts.and_then(TlsFacts::forwarded_client);
        match (policy, own) {
            (ForwardClientCert::AlwaysForwardOnly, _) => Self::Kept,
            (ForwardClientCert::Sanitize, _) => Self::Removed,
            (ForwardClientCert::SanitizeSet, Some(own)) => Self::Set(own.clone()),
            (ForwardClientCert::AppendForward, Some(own)) => Self::Appended(own.clone()),
            (ForwardClientCert::ForwardOnly, Some(_)) => Self::Kept,
            (_, None) if head.trusted => Self::Kept,
            (_, None) => Self::Removed,
        }
    }

    fn tell(self, request: &mut RequestHeader) {
        match self {
            Self::Kept | Self::Removed => {}
            Self::Set(own) => insert(request, FORWARDED_CLIENT_CERT, own),
            Self::Appended(own) => {
                let all = with_element(&request.headers, &own);
                insert(request, FORWARDED_CLIENT_CERT, all);
            }
        }
    }
}

/// All of `x-forwarded-client-cert` as one value, with ours at its end.
fn with_element(headers: &HeaderMap, element: &HeaderValue) -> HeaderValue {
    let sent = headers.get_all(FORWARDED_CLIENT_CERT).iter();
    let all: Vec<&[u8]> = sent.chain([element]).map(HeaderValue::as_bytes).collect();
    // Parts that are valid make a whole that is.
    HeaderValue::from_bytes(&all.join(&b","[..])).unwrap_or_else(|_| element.clone())
}

/// One walk over the headers, which nearly always finds nothing.
fn remove_untrusted(request: &mut RequestHeader, trusted: bool, client_cert: &ClientCert) {
    let certs = *client_cert == ClientCert::Removed;
    if trusted && !certs {
        return;
    }
    let is_untrusted = |name: &&HeaderName| {
        (!trusted && name.as_str().starts_with(ENVOY_PREFIX))
            || (certs && *name == FORWARDED_CLIENT_CERT)
    };
    let names: SmallVec<[HeaderName; 4]> = request
        .headers
        .keys()
        .filter(is_untrusted)
        .cloned()
        .collect();
    for name in &names {
        request.remove_header(name);
    }
}

/// The client behind the hops that were named.
fn client_address(headers: &HeaderMap, peer: IpAddr, settings: &Settings) -> IpAddr {
    if !settings.trusts(peer) {
        return peer;
    }
    let mut from_right = headers
        .get_all(&FORWARDED_FOR_NAME)
        .iter()
        .rev()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','))
        .map(|entry| {
            entry
                .trim()
                .parse::<IpAddr>()
                .map(|address| address.to_canonical())
        });
    if settings.num_trusted_proxies > 0 {
        let nth = from_right.nth(settings.num_trusted_proxies - 1);
        return nth.and_then(Result::ok).unwrap_or(peer);
    }
    let mut client = peer;
    while settings.names(client) {
        match from_right.next() {
            Some(Ok(address)) => client = address,
            _ => break,
        }
    }
    client
}

/// All of `x-forwarded-for` as one value, with the peer at its end.
fn appended(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    if !headers.contains_key(&FORWARDED_FOR_NAME) {
        return peer.clone();
    }
    let mut chain: SmallVec<[u8; 128]> = SmallVec::new();
    for value in headers.get_all(&FORWARDED_FOR_NAME) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b",");
    }
    chain.extend_from_slice(peer.as_bytes());
    // What came as a header value is well-formed as part of one.
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| peer.clone())
}

fn tell_scheme(request: &mut RequestHeader, head: &Head) -> bool {
    if head.trusted
        && let Some(told) = request.headers.get(FORWARDED_PROTO)
    {
        return told.as_bytes().eq_ignore_ascii_case(b"https");
    }
    told_by_connection(request, head)
}

fn told_by_connection(request: &mut RequestHeader, head: &Head) -> bool {
    let scheme = if head.https { "https" } else { "http" };
    insert(request, FORWARDED_PROTO, HeaderValue::from_static(scheme));
    head.https
}

fn tell_request_id(request: &mut RequestHeader, trusted: bool) -> HeaderValue {
    if trusted && let Some(told) = request.headers.get(REQUEST_ID) {
        return told.clone();
    }
    let id = chance::request_id();
    insert(request, REQUEST_ID, id.clone());
    id
}

fn tell_address(request: &mut RequestHeader, client: IpAddr) {
    if is_internal(client) {
        insert(request, INTERNAL, HeaderValue::from_static("true"));
        return;
    }
    request.remove_header(&INTERNAL_NAME);
    if let Ok(address) = HeaderValue::try_from(client.to_string()) {
        insert(request, EXTERNAL_ADDRESS, address);
    }
}

/// Loopback and private addresses, as Envoy counts them.
fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check_client(settings: &Settings, forwarded_for: &[&str], want: &str) {
        let peer = "10.0.0.9".parse().unwrap();
        assert_eq!(
            client_address(&headers(forwarded_for), peer, settings).to_string(),
            want
        );
    }

    #[test]
    fn a_hop_not_named_is_the_client_whatever_it_says() {
        check_client(&Settings::default(), &["1.2.3.4"], "10.0.0.9");
    }

    #[test]
    fn the_number_of_trusted_proxies_counts_from_the_right() {
        let settings = Settings {
            num_trusted_proxies: 2,
            ..Settings::default()
        };
        check_client(&settings, &["56.5.6.7, 72.9.5.6, 98.1.2.3"], "72.9.5.6");
        check_client(&settings, &["56.5.6.7", "72.9.5.6,98.1.2.3"], "72.9.5.6");
        check_client(&settings, &["98.1.2.3"], "10.0.0.9");
    }

    #[test]
    fn named_proxies_are_skipped_from_the_right() {
        let nets = vec!["10.0.0.0/8".parse().unwrap()];
        let settings = Settings {
            trusted_proxies: nets,
            ..Settings::default()
        };
        check_client(&settings, &["1.1.1.1, 2.2.2.2, 10.1.1.1"], "2.2.2.2");
        check_client(&settings, &["junk, 10.1.1.1"], "10.1.1.1");
        check_client(&settings, &[], "10.0.0.9");
    }

    #[test]
    fn the_peer_is_appended() {
        let peer = &address_value("::1".parse().unwrap());
        assert_eq!(
            appended(&headers(&["1.1.1.1", "2.2.2.2"]), peer),
            "1.1.1.1,2.2.2.2,::1"
        );
        assert_eq!(appended(&headers(&[]), peer), "::1");
    }

    #[test]
    fn private_and_loopback_addresses_are_internal() {
        for (address, want) in [
            ("127.0.0.1", true),
            ("192.168.1.1", true),
            ("::1", true),
            ("8.8.8.8", false),
        ] {
            assert_eq!(is_internal(address.parse().unwrap()), want, "{address}");
        }
    }
}
