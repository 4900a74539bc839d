//! Where an answer sends whoever asked.

use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, header};
use std::net::SocketAddr;
use url::{Position, Url};

/// A place at the application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) is_https: bool,
    pub(super) address: SocketAddr,
    pub(super) target: PathAndQuery,
    pub(super) host: HeaderValue,
}

impl Place {
    /// The next place, if the answer names one at the same host. Any other is for the kubelet to see.
    ///
    /// Source: Istio follows as the kubelet does, which compares hosts without their ports.
    pub(super) fn after(&self, head: &Parts) -> Option<Self> {
        let follows = matches!(
            head.status,
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let location = head.headers.get(header::LOCATION).filter(|_| follows)?;
        let location = location.to_str().ok()?;
        let base = self.url()?;
        let next = base.join(location).ok()?;
        let is_https = match next.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        if next.host() != base.host() {
            return None;
        }
        let address = SocketAddr::new(self.address.ip(), next.port_or_known_default()?);
        let names_host = Url::parse(location).is_ok() || location.starts_with("//");
        let host = match names_host {
            true => next[Position::BeforeHost..Position::AfterPort]
                .parse()
                .ok()?,
            false => self.host.clone(),
        };
        Some(Self {
            is_https,
            address,
            target: next[Position::BeforePath..Position::AfterQuery]
                .parse()
                .ok()?,
            host,
        })
    }

    fn url(&self) -> Option<Url> {
        let scheme = if self.is_https { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{}{}", self.address, self.target)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn next(status: u16, location: &str) -> Option<String> {
        let place = Place {
            is_https: false,
            address: ([10, 0, 0, 5], 8080).into(),
            target: PathAndQuery::from_static("/a/b?c=d"),
            host: HeaderValue::from_static("shop.test"),
        };
        let answer = Response::builder()
            .status(status)
            .header("location", location);
        let (head, ()) = answer.body(()).unwrap().into_parts();
        let next = place.after(&head)?;
        let host = next.host.to_str().unwrap();
        let scheme = if next.is_https { "https" } else { "http" };
        Some(format!("{scheme} {} {host} {}", next.address, next.target))
    }

    #[test]
    fn places_at_the_same_host_are_followed() {
        for (location, want) in [
            ("/x?y#z", Some("http 10.0.0.5:8080 shop.test /x?y")),
            ("x", Some("http 10.0.0.5:8080 shop.test /a/x")),
            ("../x", Some("http 10.0.0.5:8080 shop.test /x")),
            ("?e", Some("http 10.0.0.5:8080 shop.test /a/b?e")),
            (
                "http://10.0.0.5:9090/x",
                Some("http 10.0.0.5:9090 10.0.0.5:9090 /x"),
            ),
            ("https://10.0.0.5", Some("https 10.0.0.5:443 10.0.0.5 /")),
            ("//10.0.0.5/x", Some("http 10.0.0.5:80 10.0.0.5 /x")),
            ("//shop.test/x", None),
            ("http://shop.test/x", None),
            ("http://10.0.0.6:8080/x", None),
            ("ftp://10.0.0.5/x", None),
            ("http://[", None),
        ] {
            assert_eq!(next(302, location).as_deref(), want, "{location}");
        }
    }

    #[test]
    fn only_redirects_are() {
        for (status, want) in [
            (200, false),
            (201, false),
            (300, false),
            (301, true),
            (303, true),
            (304, false),
            (307, true),
            (308, true),
        ] {
            assert_eq!(next(status, "/x").is_some(), want, "{status}");
        }
    }
}
