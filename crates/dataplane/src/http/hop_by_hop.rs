//! Response headers that are about the connection they came on, and go no further (RFC 9110, 7.6.1).

use http::StatusCode;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use pingora_http::ResponseHeader;
use smallvec::SmallVec;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

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
    let values = headers.get_all(CONNECTION).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !is_usual(option))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| ![CONNECTION, UPGRADE, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name))
        .collect()
}

/// Options that name no header, or one that is treated anyway. Spares making a name of them.
fn is_usual(option: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade", b""]
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
