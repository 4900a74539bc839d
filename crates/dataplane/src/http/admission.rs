//! What a request's head must be before rules see it.

use super::context::{Head, RequestCtx};
use super::failure::Refusal;
use super::{asked, forwarding, head, hop_by_hop};
use crate::forward_proxy::Proxied;
use crate::{ConnectionInfo, Settings, Side};
use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, TRANSFER_ENCODING, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri, Version};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use rules::{RequestHead, normalise};
use std::borrow::Cow;

/// Whether the head may be served. What it says is kept in the context either way, so that refusals
/// are logged as fully as answers.
pub(super) fn admit(session: &mut Session, ctx: &mut RequestCtx) -> Result<(), Refusal> {
    let Some(connection) = connection_of(session) else {
        return Err(Refusal::InvalidHost);
    };
    let bytes = head_bytes(session);
    connection.state.request_started(length(session, bytes));
    let settings = &ctx.shared.settings;
    let both_lengths = has_both_lengths(session);
    prepare(session, settings);
    let upgrade = session.is_upgrade_req();
    let request = session.req_header_mut();
    head::simplify(request);
    if request.version == Version::HTTP_2 {
        join_cookies(request);
    }
    let mut head = head_of(request, connection, settings, bytes);
    head.upgrade = upgrade;
    let checked = check(request, &head, settings, both_lengths)
        .and_then(|()| ask(request, &mut head))
        .and_then(|()| hop_by_hop::settle(request));
    if head.connection.proxied.is_none() {
        forwarding::tell_origin(request, &mut head, settings);
    }
    let is_tunnel = head.method == Method::CONNECT;
    ctx.shared.in_use.begin();
    ctx.head = Some(Box::new(head));
    checked?;
    if is_tunnel {
        return Ok(());
    }
    normalize_target(request, settings)
}

/// Notes what a forward proxy is asked for.
fn ask(request: &RequestHeader, head: &mut Head) -> Result<(), Refusal> {
    let Some(proxied) = &head.connection.proxied else {
        return Ok(());
    };
    let asked = asked::asked(request, proxied.tunnel_to())?;
    head.asked = Some(asked.target);
    head.https = asked.https;
    head.request_id = request.headers.get(forwarding::REQUEST_ID).cloned();
    Ok(())
}

/// The facts that the listener attached to the connection.
fn connection_of(session: &Session) -> Option<ConnectionInfo> {
    let digest = session.digest()?.proxy_digest.as_ref()?;
    digest.user_data.as_ref()?.downcast_ref().cloned()
}

/// Timeouts are a connection's, and must be set again for each of its requests.
fn prepare(session: &mut Session, settings: &Settings) {
    session.set_read_timeout(Some(settings.stream_idle_timeout));
    session.set_write_timeout(Some(settings.stream_idle_timeout));
    session.set_total_drain_timeout(Some(settings.drain_timeout));
}

/// Bytes of the whole request, when its head tells.
fn length(session: &Session, head: u64) -> Option<u64> {
    let headers = &session.req_header().headers;
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let body = headers
        .get(CONTENT_LENGTH)
        .map(|length| length.to_str().ok()?.parse::<u64>().ok());
    head.checked_add(body.unwrap_or(Some(0))?)
}

fn head_bytes(session: &Session) -> u64 {
    if let Some(http1) = session.as_http1() {
        return http1.get_headers_raw_bytes().len() as u64;
    }
    let headers = session.req_header().headers.iter();
    // As HTTP/2 counts a header list (RFC 9113, section 6.5.2).
    headers
        .map(|(name, value)| (name.as_str().len() + value.len() + 32) as u64)
        .sum()
}

/// Pingora takes `content-length` out when there is `transfer-encoding`; only the raw head still tells.
fn has_both_lengths(session: &Session) -> bool {
    let headers = &session.req_header().headers;
    if !headers.contains_key(TRANSFER_ENCODING) {
        return false;
    }
    let raw = session
        .as_http1()
        .map(|http1| http1.get_headers_raw_bytes())
        .unwrap_or_default();
    headers.contains_key(CONTENT_LENGTH) || raw.split(|byte| *byte == b'\n').any(is_content_length)
}

/// One length or one `chunked`: several or other codings are read differently by different servers.
fn has_plain_framing(headers: &HeaderMap) -> bool {
    let one = |name, is_plain: fn(&[u8]) -> bool| {
        let mut values = headers.get_all(name).iter();
        values.next().is_none_or(|value| is_plain(value.as_bytes())) && values.next().is_none()
    };
    one(CONTENT_LENGTH, |length| {
        length.iter().all(u8::is_ascii_digit)
    }) && one(TRANSFER_ENCODING, |coding| {
        coding.eq_ignore_ascii_case(b"chunked")
    })
}

/// HTTP/2 clients may send a cookie in pieces; everyone else expects one header (RFC 9113, section 8.2.3).
fn join_cookies(request: &mut RequestHeader) {
    let mut values = request.headers.get_all(COOKIE).iter();
    if values.next().is_none() || values.next().is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = request
        .headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        // A well-formed value is never refused.
        let _ = request.insert_header(COOKIE, whole);
    }
}

fn is_content_length(line: &[u8]) -> bool {
    let name = CONTENT_LENGTH.as_str().as_bytes();
    line.len() > name.len()
        && line[..name.len()].eq_ignore_ascii_case(name)
        && line[name.len()] == b':'
}

fn head_of(
    request: &RequestHeader,
    connection: ConnectionInfo,
    settings: &Settings,
    bytes: u64,
) -> Head {
    let peer = connection.peer.ip();
    let is_proxied = connection.proxied.is_some();
    Head {
        sent_before: connection.state.sent(),
        https: connection.tls.is_some(),
        // What goes on as it was sent is not for us: it is not believed either.
        trusted: !is_proxied && is_trusted(&connection, settings),
        connection,
        method: request.method.clone(),
        target: request
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/")),
        authority: authority_of(request),
        asked: None,
        version: request.version,
        client: peer.to_canonical(),
        user_agent: request.headers.get(USER_AGENT).cloned(),
        request_id: None,
        forwarded_for: None,
        grpc: request.method != Method::CONNECT && is_grpc(request),
        upgrade: false,
        bytes,
    }
}

/// Whether what a peer says about a request's origin is believed (promise 14): a sidecar's workload is, and others of the
/// mesh are.
fn is_trusted(connection: &ConnectionInfo, settings: &Settings) -> bool {
    match connection.side {
        Side::Outbound => true,
        Side::Inbound if connection.mesh_client().is_some() => true,
        Side::Gateway | Side::Inbound => settings.trusts(connection.peer.ip()),
    }
}

fn authority_of(request: &RequestHeader) -> HeaderValue {
    if request.method == Method::CONNECT
        && let Ok(target) = HeaderValue::from_bytes(request.raw_path())
    {
        return target;
    }
    if let Some(host) = request.headers.get(HOST) {
        return host.clone();
    }
    let authority = request
        .uri
        .authority()
        .map_or("", |authority| authority.as_str());
    HeaderValue::from_str(authority).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn is_grpc(request: &RequestHeader) -> bool {
    let head = RequestHead {
        method: "",
        scheme: "",
        authority: "",
        path: "",
        query: None,
        headers: &request.headers,
    };
    head.is_grpc()
}

fn check(
    request: &RequestHeader,
    head: &Head,
    settings: &Settings,
    both_lengths: bool,
) -> Result<(), Refusal> {
    if request.method == Method::CONNECT {
        check_connect(request, head)?;
    } else if matches!(request.version, Version::HTTP_10 | Version::HTTP_09) {
        return Err(Refusal::LowVersion);
    }
    check_host(request, head)?;
    if both_lengths || !has_plain_framing(&request.headers) {
        return Err(Refusal::AmbiguousLength);
    }
    if request.headers.len() > settings.max_headers {
        return Err(Refusal::TooManyHeaders);
    }
    if head.bytes > settings.max_head_bytes as u64 {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(())
}

/// Only a forward proxy makes tunnels, not within another one, and of HTTP/1 only.
fn check_connect(request: &RequestHeader, head: &Head) -> Result<(), Refusal> {
    let proxied = head.connection.proxied.as_deref();
    let makes_tunnels = proxied.is_some_and(Proxied::makes_tunnels);
    match request.version {
        Version::HTTP_2 => Err(Refusal::Connect),
        Version::HTTP_09 => Err(Refusal::LowVersion),
        _ if makes_tunnels => Ok(()),
        Version::HTTP_10 => Err(Refusal::LowVersion),
        _ => Err(Refusal::Connect),
    }
}

fn check_host(request: &RequestHeader, head: &Head) -> Result<(), Refusal> {
    if head.authority.is_empty() {
        return Err(Refusal::MissingHost);
    }
    let one = request.headers.get_all(HOST).iter().count() <= 1;
    let readable = head
        .authority
        .to_str()
        .is_ok_and(|host| !host.contains(['/', '?', '#', '@', ',', ' ']));
    if one && readable {
        Ok(())
    } else {
        Err(Refusal::InvalidHost)
    }
}

/// Puts the normalised path where rules and upstream see it. An absolute form becomes a plain path:
/// its authority agrees with `Host`, or Pingora had refused it.
fn normalize_target(request: &mut RequestHeader, settings: &Settings) -> Result<(), Refusal> {
    if !request.raw_path_is_utf8() {
        return Err(Refusal::InvalidPath);
    }
    if request.method == Method::OPTIONS && request.raw_path() == b"*" {
        return Ok(());
    }
    // Neither origin form nor absolute form (RFC 9112, section 3.2): what Pingora makes of it is a guess.
    let raw = request.raw_path();
    if !raw.starts_with(b"/") && !raw.windows(3).any(|three| three == b"://") {
        return Err(Refusal::InvalidPath);
    }
    let normal = normalise(request.uri.path(), settings.path_normalization)
        .map_err(|_| Refusal::InvalidPath)?;
    let absolute = request.raw_path().first() != Some(&b'/');
    if matches!(normal, Cow::Borrowed(same) if same.len() == request.uri.path().len()) && !absolute
    {
        return Ok(());
    }
    let target = match request.uri.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal.into_owned(),
    };
    replace_target(request, target).map_err(|_| Refusal::InvalidPath)
}

/// Replaces path and query, and keeps what else the URI holds.
pub(super) fn replace_target(
    request: &mut RequestHeader,
    target: String,
) -> Result<(), http::Error> {
    let mut parts = request.uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target)?);
    request.set_uri(Uri::from_parts(parts)?);
    Ok(())
}
