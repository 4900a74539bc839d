//! What tells one client from another, for `consistentHash`.

use crate::HashKey;
use crate::matching::{first_value, joined};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use model::HashCookie;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

impl HashKey {
    /// What is hashed of a request. `None`: it has nothing of the kind, and may go anywhere.
    ///
    /// A header that is there several times counts as its values joined by commas.
    pub fn of_request<'r>(
        &self,
        headers: &'r HeaderMap,
        query: Option<&'r str>,
        client: IpAddr,
    ) -> Option<Cow<'r, [u8]>> {
        match self {
            Self::Header(name) => joined(headers, name),
            Self::Cookie(cookie) => cookie_value(headers, &cookie.name).map(Cow::Borrowed),
            Self::SourceIp => self.of_connection(client),
            Self::QueryParameter(name) => {
                first_value(query?, name).map(|value| Cow::Borrowed(value.as_bytes()))
            }
        }
    }

    /// What is hashed of a connection without requests: its client's address, if that is the key.
    pub fn of_connection(&self, client: IpAddr) -> Option<Cow<'static, [u8]>> {
        match self {
            Self::SourceIp => Some(Cow::Owned(client.to_canonical().to_string().into_bytes())),
            _ => None,
        }
    }

    /// The cookie to be made for a client that has none. `None`: none is made.
    pub fn cookie_to_make(&self) -> Option<&HashCookie> {
        match self {
            Self::Cookie(cookie) if cookie.ttl.is_some() => Some(cookie),
            _ => None,
        }
    }
}

/// The value of the first cookie of this name, without quotes around it. An empty one is none.
fn cookie_value<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r [u8]> {
    let all = headers.get_all(COOKIE).iter();
    let mut pairs = all.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let value = pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        let rest = pair.strip_prefix(name.as_bytes())?;
        rest.trim_ascii_start().strip_prefix(b"=")
    })?;
    let value = value.trim_ascii();
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value)).filter(|value| !value.is_empty())
}

/// `Set-Cookie` of a made cookie. `None`: what the rule says makes no header.
///
/// Source: Istio `HTTPCookie`: a `ttl` of zero makes a cookie of the session.
pub fn set_cookie(cookie: &HashCookie, value: &str) -> Option<HeaderValue> {
    let mut text = format!("{}=\"{value}\"", cookie.name);
    if let Some(ttl) = cookie.ttl.filter(|ttl| !ttl.is_zero()) {
        // Less than a second would be a cookie that is gone before it is used.
        let _ = write!(text, "; Max-Age={}", ttl.as_secs().max(1));
    }
    if let Some(path) = &cookie.path {
        let _ = write!(text, "; Path={path}");
    }
    for attribute in &cookie.attributes {
        let _ = match &attribute.value {
            Some(value) => write!(text, "; {}={value}", attribute.name),
            None => write!(text, "; {}", attribute.name),
        };
    }
    text.push_str("; HttpOnly");
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;
    use http::HeaderName;
    use model::CookieAttribute;
    use std::time::Duration;

    const CLIENT: &str = "10.0.0.9";

    #[track_caller]
    fn check(key: &HashKey, head: &[(&str, &str)], query: Option<&str>, want: Option<&str>) {
        let headers = headers(head);
        let got = key.of_request(&headers, query, CLIENT.parse().unwrap());
        assert_eq!(
            got.as_deref(),
            want.map(str::as_bytes),
            "{head:?} {query:?}"
        );
    }

    fn cookie(ttl: Option<u64>) -> HashCookie {
        HashCookie {
            name: "user".into(),
            path: None,
            ttl: ttl.map(Duration::from_secs),
            attributes: Vec::new(),
        }
    }

    #[test]
    fn a_header_is_hashed_with_all_its_values() {
        let key = HashKey::Header(HeaderName::from_static("x-user"));
        check(&key, &[("x-user", "a")], None, Some("a"));
        check(&key, &[("x-user", "a"), ("x-user", "b")], None, Some("a,b"));
        check(&key, &[("x-other", "a")], None, None);
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let key = HashKey::Cookie(cookie(None));
        check(&key, &[("cookie", "a=1; user=me; b=2")], None, Some("me"));
        check(&key, &[("cookie", "a=1;user=\"me\"")], None, Some("me"));
        check(
            &key,
            &[("cookie", "a=1"), ("cookie", "user=x=y")],
            None,
            Some("x=y"),
        );
        check(&key, &[("cookie", "users=me")], None, None);
        check(&key, &[("cookie", "user=")], None, None);
        check(&key, &[("cookie", "user")], None, None);
    }

    #[test]
    fn the_first_value_of_a_parameter_is_hashed() {
        let key = HashKey::QueryParameter("u".into());
        check(&key, &[], Some("a=1&u=2&u=3"), Some("2"));
        check(&key, &[], Some("a=1"), None);
        check(&key, &[], None, None);
    }

    #[test]
    fn a_client_s_address_has_one_spelling() {
        let mapped = "::ffff:10.0.0.9".parse().unwrap();
        let key = HashKey::SourceIp;
        assert_eq!(
            key.of_connection(mapped).as_deref(),
            Some(CLIENT.as_bytes())
        );
        check(&key, &[], None, Some(CLIENT));
    }

    #[test]
    fn a_cookie_is_made_only_with_a_ttl() {
        assert!(HashKey::Cookie(cookie(None)).cookie_to_make().is_none());
        assert!(HashKey::Cookie(cookie(Some(0))).cookie_to_make().is_some());
        assert!(HashKey::SourceIp.cookie_to_make().is_none());
    }

    #[test]
    fn a_made_cookie_says_what_the_rule_says() {
        let plain = set_cookie(&cookie(Some(0)), "abc").unwrap();
        assert_eq!(plain, "user=\"abc\"; HttpOnly");
        let whole = HashCookie {
            path: Some("/shop".into()),
            attributes: vec![
                CookieAttribute {
                    name: "SameSite".into(),
                    value: Some("Lax".into()),
                },
                CookieAttribute {
                    name: "Secure".into(),
                    value: None,
                },
            ],
            ..cookie(Some(60))
        };
        assert_eq!(
            set_cookie(&whole, "abc").unwrap(),
            "user=\"abc\"; Max-Age=60; Path=/shop; SameSite=Lax; Secure; HttpOnly"
        );
        let broken = HashCookie {
            path: Some("/\r\nx: y".into()),
            ..cookie(Some(0))
        };
        assert!(set_cookie(&broken, "abc").is_none());
    }
}
