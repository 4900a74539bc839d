//! Headers that are about the connection they came on, and go no further (RFC 9110, 7.6.1).

use super::failure::Refusal;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderValue, StatusCode};
use pingora_http::{RequestHeader, ResponseHeader};
use smallvec::SmallVec;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers that a request's `Connection` may name; more are an attack on whoever removes them.
const MOST_NOMINATED: usize = 10;

/// Takes what a request's `Connection` names out of it. Done before there are headers of ours, which a
/// client could name as well to keep them from the upstream.
pub(super) fn settle(request: &mut RequestHeader) -> Result<(), Refusal> {
    let names = nominated(&request.headers);
    if names.is_empty() {
        return Ok(());
    }
    let is_protected =
        |name: &HeaderName| *name == HOST || name.as_str().starts_with("x-forwarded-");
    if names.len() > MOST_NOMINATED || names.iter().any(is_protected) {
        return Err(Refusal::Nomination);
    }
    for name in names {
        request.remove_header(&name);
    }
    let usual = usual_options(&request.headers);
    request.remove_header(&CONNECTION);
    // Well-formed options joined are well-formed.
    let _ = usual.map(|usual| request.insert_header(CONNECTION, usual));
    Ok(())
}

/// What is left of `Connection` when the headers it names are gone.
fn usual_options(headers: &HeaderMap) -> Option<HeaderValue> {
    let options: Vec<&[u8]> = options(headers).filter(|option| is_usual(option)).collect();
    let options = options.join(&b", "[..]);
    HeaderValue::from_bytes(&options)
        .ok()
        .filter(|options| !options.is_empty())
}

/// Leaves of a WebSocket handshake's hop-by-hop headers those that make it one.
pub(super) fn keep_handshake(request: &mut RequestHeader) {
    let others = [
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ];
    for name in others.iter().chain([&KEEP_ALIVE, &PROXY_CONNECTION]) {
        request.remove_header(name);
    }
    // Well-formed names and values are never refused.
    let _ = request.insert_header(CONNECTION, "Upgrade");
    let _ = request.insert_header(UPGRADE, "websocket");
}

/// Takes them out of an upstream's response. Framing stays, which Pingora makes anew for the client.
pub(super) fn strip(response: &mut ResponseHeader) {
    for name in nominated(&response.headers) {
        response.remove_header(&name);
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &TE] {
        response.remove_header(name);
    }
    // What a connection becomes is told with both.
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        response.remove_header(&CONNECTION);
        response.remove_header(&UPGRADE);
    }
}

/// What `Connection` names, beyond what is treated anyway. Almost always nothing.
fn nominated(headers: &HeaderMap) -> SmallVec<[HeaderName; 4]> {
    options(headers)
        .filter(|option| !is_usual(option) && !option.is_empty())
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| ![CONNECTION, UPGRADE, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name))
        .collect()
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(CONNECTION).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Options that name no header, or one that is treated anyway. Spares making a name of them.
fn is_usual(option: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade"]
        .iter()
        .any(|usual| option.eq_ignore_ascii_case(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, headers: &[(&'static str, &str)], kept: &[&str]) {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in headers {
            response.append_header(*name, *value).unwrap();
        }
        strip(&mut response);
        let left: Vec<_> = response.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, kept);
    }

    fn request(headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    #[test]
    fn a_request_loses_what_it_names_and_keeps_how_it_is_to_be_kept() {
        let mut named = request(&[
            ("connection", "Upgrade, x-one"),
            ("x-one", "1"),
            ("x-kept", "1"),
        ]);
        settle(&mut named).unwrap();
        assert_eq!(named.headers["connection"], "Upgrade");
        assert!(!named.headers.contains_key("x-one") && named.headers.contains_key("x-kept"));
        let mut only = request(&[("connection", "x-one"), ("x-one", "1")]);
        settle(&mut only).unwrap();
        assert_eq!(only.headers.len(), 0);
    }

    #[test]
    fn a_request_cannot_name_what_tells_where_it_is_from_and_goes() {
        for name in ["host", "X-Forwarded-For", "x-forwarded-client-cert"] {
            let mut named = request(&[("connection", name)]);
            assert_eq!(settle(&mut named), Err(Refusal::Nomination), "{name}");
        }
        let many = (0..20)
            .map(|n| format!("x-{n}"))
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(
            settle(&mut request(&[("connection", &many)])),
            Err(Refusal::Nomination)
        );
    }

    #[test]
    fn what_is_of_one_hop_is_removed() {
        let headers = [
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-kept", "1"),
        ];
        check(200, &headers, &["x-kept"]);
    }

    #[test]
    fn what_connection_names_is_removed_wherever_it_is_named() {
        let headers = [
            ("connection", "keep-alive ,X-One"),
            ("connection", "\tx-two,,no name,"),
            ("x-one", "1"),
            ("x-one", "2"),
            ("x-two", "1"),
            ("x-kept", "1"),
        ];
        check(200, &headers, &["x-kept"]);
    }

    #[test]
    fn framing_is_not_for_an_upstream_to_take_away() {
        let headers = [
            ("connection", "content-length, transfer-encoding"),
            ("content-length", "5"),
        ];
        check(200, &headers, &["content-length"]);
    }

    #[test]
    fn an_upgrade_keeps_what_tells_of_it() {
        let headers = [
            ("connection", "Upgrade, x-one"),
            ("upgrade", "websocket"),
            ("x-one", "1"),
            ("sec-websocket-accept", "x"),
        ];
        check(
            101,
            &headers,
            &["connection", "upgrade", "sec-websocket-accept"],
        );
    }
}
