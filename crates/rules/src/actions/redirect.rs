//! The `Location` of a redirect.

use super::rewrite::{joined, tail};
use crate::{RedirectAction, RedirectPath, RedirectPort, RequestHead, host_of};
use http::HeaderValue;

impl RedirectAction {
    /// The absolute URL that the client is sent to.
    pub fn location(&self, head: &RequestHead<'_>) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme);
        let port = self.port(scheme);
        let host = match &self.authority {
            // A port of its own gives way to the one that is asked for.
            Some(authority) if port.is_some() => host_of(authority),
            Some(authority) => authority,
            None => requested_host(head, scheme, port),
        };
        let mut location = format!("{scheme}://{host}");
        if let Some(port) = port {
            location.push(':');
            location.push_str(&port.to_string());
        }
        location.push_str(&self.target(head));
        location
    }

    /// The port that is written, unless the host brings one.
    fn port(&self, scheme: &str) -> Option<u16> {
        match self.port {
            RedirectPort::ProtocolDefault => None,
            RedirectPort::Explicit(port) => Some(port),
            RedirectPort::Request(port) => {
                Some(port).filter(|port| default_port(scheme) != Some(*port))
            }
        }
    }

    fn target(&self, head: &RequestHead<'_>) -> String {
        match &self.path {
            RedirectPath::Keep => joined(head.path, "", head.query),
            RedirectPath::Full(uri) if uri.contains('?') => joined(uri, "", None),
            RedirectPath::Full(uri) => joined(uri, "", head.query),
            RedirectPath::Prefix { matched, with } => {
                joined(with, tail(head.path, *matched), head.query)
            }
        }
    }
}

/// The request's host, without its port when another is written or when it was the old scheme's default.
fn requested_host<'a>(head: &RequestHead<'a>, scheme: &str, port: Option<u16>) -> &'a str {
    let host = host_of(head.authority);
    let old_port = head
        .authority
        .get(host.len() + 1..)
        .and_then(|port| port.parse().ok());
    let was_default = old_port.is_some() && old_port == default_port(head.scheme);
    if port.is_some() || (scheme != head.scheme && was_default) {
        return host;
    }
    head.authority
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// A URL as a header value. What a header cannot hold is percent-encoded.
pub(crate) fn location_value(location: &str) -> HeaderValue {
    if let Ok(value) = HeaderValue::from_bytes(location.as_bytes()) {
        return value;
    }
    let safe: String = location
        .bytes()
        .map(|byte| match byte {
            b'!'..=b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    HeaderValue::from_str(&safe).unwrap_or_else(|_| HeaderValue::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeaderOps;
    use crate::testing::request;
    use http::StatusCode;

    fn redirect() -> RedirectAction {
        RedirectAction {
            code: StatusCode::MOVED_PERMANENTLY,
            scheme: None,
            authority: None,
            port: RedirectPort::ProtocolDefault,
            path: RedirectPath::Keep,
            response_headers: HeaderOps::default(),
        }
    }

    #[track_caller]
    fn check(redirect: &RedirectAction, cases: &[(&str, &str)]) {
        for (url, want) in cases {
            let (scheme, rest) = url.split_once("://").unwrap();
            let (authority, target) = rest.split_at(rest.find('/').unwrap());
            let (path, query) = match target.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (target, None),
            };
            let head = RequestHead {
                scheme,
                authority,
                path,
                query,
                ..request()
            };
            assert_eq!(redirect.location(&head), *want, "{url}");
        }
    }

    #[test]
    fn uri_replaces_the_whole_path_and_keeps_the_query() {
        let redirect = RedirectAction {
            path: RedirectPath::Full("/new".into()),
            ..redirect()
        };
        check(
            &redirect,
            &[
                ("http://b/a/c", "http://b/new"),
                ("http://b/a?x=1", "http://b/new?x=1"),
            ],
        );
    }

    #[test]
    fn a_uri_with_a_query_drops_the_requests() {
        let redirect = RedirectAction {
            path: RedirectPath::Full("/new?y=2".into()),
            ..redirect()
        };
        check(&redirect, &[("http://b/a?x=1", "http://b/new?y=2")]);
    }

    #[test]
    fn a_uri_without_a_leading_slash_gets_one() {
        let redirect = RedirectAction {
            path: RedirectPath::Full("new".into()),
            ..redirect()
        };
        check(&redirect, &[("http://b/a", "http://b/new")]);
    }

    #[test]
    fn prefix_rewrite_replaces_the_matched_prefix_only() {
        let path = RedirectPath::Prefix {
            matched: "/old".len(),
            with: "/new".into(),
        };
        check(
            &RedirectAction { path, ..redirect() },
            &[("http://b/old/x?q=1", "http://b/new/x?q=1")],
        );
    }

    #[test]
    fn authority_replaces_host_and_port() {
        let redirect = RedirectAction {
            authority: Some("new.test".into()),
            ..redirect()
        };
        check(
            &redirect,
            &[("http://b:8080/a?x=1", "http://new.test/a?x=1")],
        );
    }

    #[test]
    fn an_explicit_port_replaces_the_authoritys() {
        let authority = Some("new.test:8080".into());
        check(
            &RedirectAction {
                authority: authority.clone(),
                ..redirect()
            },
            &[("http://b/a", "http://new.test:8080/a")],
        );
        let port = RedirectPort::Explicit(8443);
        check(
            &RedirectAction {
                authority,
                port,
                ..redirect()
            },
            &[("http://b/a", "http://new.test:8443/a")],
        );
    }

    #[test]
    fn an_explicit_port_replaces_the_hosts() {
        let redirect = RedirectAction {
            port: RedirectPort::Explicit(8443),
            ..redirect()
        };
        check(
            &redirect,
            &[
                ("http://b/a", "http://b:8443/a"),
                ("http://b:80/a", "http://b:8443/a"),
            ],
        );
        check(&redirect, &[("http://[::1]:80/a", "http://[::1]:8443/a")]);
    }

    #[test]
    fn the_protocols_default_adds_no_port_and_keeps_the_hosts() {
        let redirect = RedirectAction {
            path: RedirectPath::Full("/foo".into()),
            ..redirect()
        };
        check(
            &redirect,
            &[
                ("http://b/", "http://b/foo"),
                ("http://b:85/", "http://b:85/foo"),
            ],
        );
    }

    #[test]
    fn another_scheme_strips_the_old_ones_default_port() {
        let to_https = RedirectAction {
            scheme: Some("https".into()),
            ..redirect()
        };
        check(
            &to_https,
            &[
                ("http://b:80/", "https://b/"),
                ("http://b:8080/", "https://b:8080/"),
            ],
        );
        let to_http = RedirectAction {
            scheme: Some("http".into()),
            ..redirect()
        };
        check(
            &to_http,
            &[
                ("https://b:443/", "http://b/"),
                ("http://b:80/", "http://b:80/"),
            ],
        );
    }

    #[test]
    fn the_port_of_the_request_is_the_listeners() {
        let on = |port| RedirectAction {
            port: RedirectPort::Request(port),
            path: RedirectPath::Full("/foo".into()),
            ..redirect()
        };
        check(
            &on(80),
            &[
                ("http://b/", "http://b/foo"),
                ("http://b:80/", "http://b:80/foo"),
            ],
        );
        check(
            &on(85),
            &[
                ("http://b/", "http://b:85/foo"),
                ("http://b:85/", "http://b:85/foo"),
            ],
        );
        check(&on(443), &[("https://b/", "https://b/foo")]);
    }

    #[test]
    fn https_from_the_request_port_80_names_it() {
        let redirect = RedirectAction {
            scheme: Some("https".into()),
            port: RedirectPort::Request(80),
            path: RedirectPath::Full("/foo".into()),
            ..redirect()
        };
        check(&redirect, &[("http://b/", "https://b:80/foo")]);
    }

    #[test]
    fn a_location_is_always_a_valid_header() {
        assert_eq!(location_value("http://b/a b\n"), "http://b/a%20b%0A");
        assert_eq!(location_value("http://b/a?x=1"), "http://b/a?x=1");
    }
}
