//! The host and port that a request to a forward proxy asks for.

use super::failure::Refusal;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Method, Version};
use pingora_http::RequestHeader;
use pingora_http::authority::{RawTargetAuthority, raw_target_authority};
use rules::Target;

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// What a request asks for.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) target: Target,
    /// Whether the origin is to be asked over TLS.
    pub(super) https: bool,
}

/// What a request asks for. `within`: what its tunnel was opened for, if it came through one, which `Host` is to be
/// compared with by whoever answers it.
///
/// # Errors
/// When it asks for nothing that there can be, or its parts do not agree.
pub(super) fn asked(request: &RequestHeader, within: Option<&Target>) -> Result<Asked, Refusal> {
    if request.method == Method::CONNECT {
        return tunnel(request);
    }
    let (scheme, authority) = match (whole_url(request), within) {
        (Some(url), _) => url,
        (None, Some(target)) => {
            return Ok(Asked {
                target: target.clone(),
                https: false,
            });
        }
        (None, None) => return Err(Refusal::NotProxyRequest),
    };
    let https = scheme.eq_ignore_ascii_case(b"https");
    if !https && !scheme.eq_ignore_ascii_case(b"http") || https && within.is_some() {
        return Err(Refusal::UnsupportedScheme);
    }
    let port = if https { HTTPS_PORT } else { HTTP_PORT };
    let target = parsed(authority, Some(port))?;
    if !agrees(request, &target, port) {
        return Err(Refusal::HostMismatch);
    }
    let target = within.cloned().unwrap_or(target);
    Ok(Asked { target, https })
}

/// CONNECT has nothing but a host and a port, and no body.
fn tunnel(request: &RequestHeader) -> Result<Asked, Refusal> {
    let length = request.headers.get(CONTENT_LENGTH);
    if length.is_some_and(|length| length != "0") || request.headers.contains_key(TRANSFER_ENCODING)
    {
        return Err(Refusal::AmbiguousLength);
    }
    let target = parsed(request.raw_path(), None)?;
    if !agrees(request, &target, target.port()) {
        return Err(Refusal::HostMismatch);
    }
    Ok(Asked {
        target,
        https: false,
    })
}

/// Scheme and authority, where the request has both.
fn whole_url(request: &RequestHeader) -> Option<(&[u8], &[u8])> {
    if request.version == Version::HTTP_2 {
        let (scheme, authority) = (request.uri.scheme_str()?, request.uri.authority()?);
        return Some((scheme.as_bytes(), authority.as_str().as_bytes()));
    }
    match raw_target_authority(request.raw_path()) {
        RawTargetAuthority::Absolute {
            scheme, authority, ..
        } => Some((scheme, authority)),
        RawTargetAuthority::None | RawTargetAuthority::AmbiguousAuthority => None,
    }
}

fn parsed(authority: &[u8], default_port: Option<u16>) -> Result<Target, Refusal> {
    let text = std::str::from_utf8(authority).map_err(|_| Refusal::InvalidTarget)?;
    Target::parse(text, default_port).map_err(|_| Refusal::InvalidTarget)
}

/// Whether `Host`, if it is there, means the same.
fn agrees(request: &RequestHeader, target: &Target, default_port: u16) -> bool {
    let hosts = request.headers.get_all(HOST).iter();
    let mut hosts = hosts.map(|host| parsed(host.as_bytes(), Some(default_port)));
    hosts.all(|host| host.as_ref() == Ok(target))
}

/// Whether `authority`, of a request in a tunnel, is what the tunnel was opened for.
pub(super) fn is_of_tunnel(authority: &str, tunnel: &Target) -> bool {
    Target::parse(authority, Some(tunnel.port())).as_ref() == Ok(tunnel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, host: Option<&str>) -> RequestHeader {
        let mut request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        if let Some(host) = host {
            request.append_header(HOST, host).unwrap();
        }
        request
    }

    #[track_caller]
    fn check(method: &str, target: &str, host: Option<&str>, want: Result<&str, Refusal>) {
        let found = asked(&request(method, target, host), None);
        let found = found.map(|asked| asked.target.to_string());
        assert_eq!(found, want.map(str::to_owned), "{method} {target} {host:?}");
    }

    /// Promise 20.
    #[test]
    fn a_url_tells_what_is_asked_for() {
        check("GET", "http://a.test/b", None, Ok("a.test:80"));
        check("GET", "HTTP://A.test.:8080", None, Ok("a.test:8080"));
        check("GET", "https://a.test/", None, Ok("a.test:443"));
        check("GET", "http://[::1]/", None, Ok("[::1]:80"));
        check("GET", "http://[::ffff:1.2.3.4]/", None, Ok("1.2.3.4:80"));
        for (target, refusal) in [
            ("/", Refusal::NotProxyRequest),
            ("*", Refusal::NotProxyRequest),
            ("a.test", Refusal::NotProxyRequest),
            ("ftp://a.test/", Refusal::UnsupportedScheme),
            ("ws://a.test/", Refusal::UnsupportedScheme),
            ("http:///b", Refusal::NotProxyRequest),
            ("http://user@a.test/", Refusal::InvalidTarget),
            ("http://127.1/", Refusal::InvalidTarget),
            ("http://a.test:0/", Refusal::InvalidTarget),
            ("http://a.test:99999/", Refusal::InvalidTarget),
        ] {
            check("GET", target, None, Err(refusal));
        }
    }

    /// Promise 20.
    #[test]
    fn a_tunnel_has_a_port() {
        check("CONNECT", "A.test:443", None, Ok("a.test:443"));
        check("CONNECT", "[::1]:443", Some("[::1]:443"), Ok("[::1]:443"));
        for target in ["a.test", "a.test:", "http://a.test:80", "u@a.test:1", "/"] {
            check("CONNECT", target, None, Err(Refusal::InvalidTarget));
        }
    }

    /// Promise 20.
    #[test]
    fn the_host_agrees_after_normalisation() {
        let url = "http://a.test/";
        for host in ["a.test", "A.TEST", "a.test.", "a.test:80"] {
            check("GET", url, Some(host), Ok("a.test:80"));
        }
        for host in ["b.test", "a.test:81", "", "a.test,b.test"] {
            check("GET", url, Some(host), Err(Refusal::HostMismatch));
        }
        check("CONNECT", "a.test:443", Some("a.test"), Ok("a.test:443"));
        let other = Err(Refusal::HostMismatch);
        check("CONNECT", "a.test:443", Some("a.test:80"), other);
    }

    #[test]
    fn a_request_in_a_tunnel_asks_for_what_the_tunnel_was_opened_for() {
        let tunnel = Target::parse("a.test:8080", None).unwrap();
        let target = |text| asked(&request("GET", text, None), Some(&tunnel));
        assert_eq!(target("/b").unwrap().target, tunnel);
        assert_eq!(target("https://a.test/"), Err(Refusal::UnsupportedScheme));
        for (authority, want) in [
            ("a.test:8080", true),
            ("A.test", true),
            ("a.test:80", false),
            ("b.test:8080", false),
            ("", false),
        ] {
            assert_eq!(is_of_tunnel(authority, &tunnel), want, "{authority}");
        }
    }
}
