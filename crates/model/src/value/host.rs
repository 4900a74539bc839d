//! Host names and host patterns.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A host, or a pattern of hosts: an exact name, `*.suffix`, or `*`. Lower case, no trailing dot.
///
/// An exact name may be an IP address or, where Istio allows it, a short name without a dot.
/// Sorts by specificity: exact names first, then longer suffixes before shorter ones, `*` last.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HostPattern {
    text: Arc<str>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Kind {
    Exact,
    Suffix,
    Any,
}

/// One host name: no wildcard, no address. Lower case, no trailing dot.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hostname(Arc<str>);

/// A text that is no host.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidHost {
    /// Nothing there.
    #[error("host must not be empty")]
    Empty,
    /// More than 255 bytes.
    #[error("host is longer than 255 characters")]
    TooLong,
    /// `*` inside a label, or in a label that is not the first.
    #[error("a wildcard must be the whole left-most label of host {0:?}")]
    Wildcard(String),
    /// No DNS label.
    #[error("host {host:?} has an invalid label {label:?}")]
    Label {
        /// The whole.
        host: String,
        /// The part.
        label: String,
    },
    /// `10.0.0.300`: neither an address nor a name.
    #[error("top level domain of host {0:?} must not be all digits")]
    NumericTopLevel(String),
}

impl HostPattern {
    /// The pattern of every host.
    pub fn any() -> Self {
        Self {
            text: "*".into(),
            kind: Kind::Any,
        }
    }

    /// `example.com`, `*.example.com` or `*`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same text, to be shared.
    pub fn shared(&self) -> Arc<str> {
        self.text.clone()
    }

    /// Whether it is `*` or `*.suffix`.
    pub fn is_wildcard(&self) -> bool {
        self.kind != Kind::Exact
    }

    /// Whether it is `*`.
    pub fn is_any(&self) -> bool {
        self.kind == Kind::Any
    }

    /// Whether it is a name without a dot, which stands for a service of the object's namespace.
    pub fn is_short(&self) -> bool {
        self.kind == Kind::Exact && is_short(&self.text)
    }

    /// The address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        (self.kind == Kind::Exact).then(|| self.text.parse().ok())?
    }

    /// `.example.com` of `*.example.com`.
    pub fn suffix(&self) -> Option<&str> {
        (self.kind == Kind::Suffix).then(|| &self.text[1..])
    }

    /// Whether `host`, without port and in any case, is one of its hosts.
    ///
    /// `*.example.com` matches `a.example.com` and `a.b.example.com`, not `example.com`.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self.kind {
            Kind::Any => true,
            Kind::Exact => self.text.eq_ignore_ascii_case(host),
            Kind::Suffix => ends_with_ignore_case(host, &self.text[1..]),
        }
    }

    /// Whether every host of `other` is one of its own.
    pub fn covers(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Any, _) => true,
            (_, Kind::Any) => false,
            (Kind::Exact, _) => self == other,
            (Kind::Suffix, Kind::Exact) => ends_with_ignore_case(&other.text, &self.text[1..]),
            (Kind::Suffix, Kind::Suffix) => other.text[1..].ends_with(&self.text[1..]),
        }
    }

    /// Whether some host belongs to both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// What belongs to both: the more specific of the two, or nothing when they do not overlap.
    pub fn intersection<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        if self.covers(other) {
            Some(other)
        } else if other.covers(self) {
            Some(self)
        } else {
            None
        }
    }

    /// The fully qualified form of a short name; everything else stays as it is.
    pub fn expand(&self, namespace: &str, domain_suffix: &str) -> Self {
        if !self.is_short() {
            return self.clone();
        }
        let text = short_name_expand(&self.text, namespace, domain_suffix).into();
        Self {
            text,
            kind: Kind::Exact,
        }
    }
}

impl TryFrom<&str> for HostPattern {
    type Error = InvalidHost;

    fn try_from(text: &str) -> Result<Self, InvalidHost> {
        if text == "*" {
            return Ok(Self::any());
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self {
                text: ip.to_string().into(),
                kind: Kind::Exact,
            });
        }
        let text = normalise(text)?;
        let (kind, name) = match text.strip_prefix("*.") {
            Some(suffix) => (Kind::Suffix, suffix),
            None => (Kind::Exact, text.as_str()),
        };
        check_labels(&text, name)?;
        Ok(Self {
            kind,
            text: text.as_str().into(),
        })
    }
}

impl Ord for HostPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_length = match self.kind {
            Kind::Suffix => other.text.len().cmp(&self.text.len()),
            _ => Ordering::Equal,
        };
        self.kind
            .cmp(&other.kind)
            .then(by_length)
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for HostPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Hostname {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, to be shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl TryFrom<&str> for Hostname {
    type Error = InvalidHost;

    fn try_from(text: &str) -> Result<Self, InvalidHost> {
        let text = normalise(text)?;
        check_labels(&text, &text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `reviews` in namespace `shop` is `reviews.shop.svc.cluster.local`; what has a dot, is `*` or an
/// address, stays as it is.
pub fn short_name_expand(host: &str, namespace: &str, domain_suffix: &str) -> String {
    if !is_short(host) {
        return host.to_owned();
    }
    format!("{host}.{namespace}.svc.{domain_suffix}")
}

/// Letters, digits and inner hyphens, 63 at most.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_name_part(text)
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// Letters, digits and hyphens in parts that are joined by dots, 253 characters at most: the form of a Kubernetes object's
/// name. Unlike in DNS a part may be as long as the whole.
///
/// Source: Kubernetes, "Object Names and IDs", DNS subdomain names.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_name_part)
}

fn is_short(text: &str) -> bool {
    text != "*" && !text.contains('.') && !text.contains(':')
}

fn normalise(text: &str) -> Result<String, InvalidHost> {
    let text = text.strip_suffix('.').unwrap_or(text);
    match text.len() {
        0 => Err(InvalidHost::Empty),
        1..=255 => Ok(text.to_ascii_lowercase()),
        _ => Err(InvalidHost::TooLong),
    }
}

fn check_labels(host: &str, name: &str) -> Result<(), InvalidHost> {
    if name.contains('*') {
        return Err(InvalidHost::Wildcard(host.to_owned()));
    }
    if let Some(label) = name.split('.').find(|label| !is_dns_label(label)) {
        return Err(InvalidHost::Label {
            host: host.to_owned(),
            label: label.to_owned(),
        });
    }
    let top = name.rsplit('.').next().unwrap_or_default();
    if name.contains('.') && top.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidHost::NumericTopLevel(host.to_owned()));
    }
    Ok(())
}

/// `suffix` begins with a dot and is in lower case; at least one character must stand before it.
fn ends_with_ignore_case(host: &str, suffix: &str) -> bool {
    let (host, suffix) = (host.as_bytes(), suffix.as_bytes());
    host.len() > suffix.len() && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::try_from(text).unwrap()
    }

    /// Of those of a Kubernetes object a part may be longer than in DNS.
    #[test]
    fn names_of_objects_have_no_limit_but_the_whole() {
        let long = "a".repeat(253);
        assert!(is_dns_subdomain(&long) && !is_dns_label(&long));
        assert!(is_dns_subdomain("a.b-c.0"));
        for bad in [
            format!("{long}a"),
            "a..b".to_owned(),
            "-a".to_owned(),
            "a_b".to_owned(),
            String::new(),
        ] {
            assert!(!is_dns_subdomain(&bad), "{bad}");
        }
    }

    #[test]
    fn forms_of_a_pattern() {
        let cases = [
            ("Example.COM", Some("example.com")),
            ("example.com.", Some("example.com")),
            ("*.Example.com", Some("*.example.com")),
            ("*", Some("*")),
            ("reviews", Some("reviews")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("::1", Some("::1")),
            ("*.com", Some("*.com")),
            ("", None),
            (".", None),
            ("*foo.com", None),
            ("foo.*.com", None),
            ("*.*.com", None),
            ("a..b", None),
            ("-a.com", None),
            ("a_b.com", None),
            ("10.0.0.300", None),
            ("http://a.com", None),
            ("a.com:80", None),
            ("é.com", None),
        ];
        for (text, want) in cases {
            let got = HostPattern::try_from(text).ok();
            assert_eq!(got.as_ref().map(HostPattern::as_str), want, "{text}");
        }
    }

    #[test]
    fn matching_ignores_case_and_takes_whole_labels() {
        let cases = [
            ("example.com", "EXAMPLE.com", true),
            ("example.com", "example.com.", true),
            ("example.com", "a.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "A.B.Example.Com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*", "anything", true),
        ];
        for (text, host, want) in cases {
            assert_eq!(pattern(text).matches(host), want, "{text} on {host}");
        }
    }

    #[test]
    fn the_intersection_is_the_more_specific() {
        let cases = [
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("a.example.com", "*.example.com", Some("a.example.com")),
            ("*", "*.com", Some("*.com")),
            ("*.com", "*", Some("*.com")),
            ("*.example.com", "*.a.example.com", Some("*.a.example.com")),
            ("*", "*", Some("*")),
            ("a.com", "a.com", Some("a.com")),
            ("a.com", "b.com", None),
            ("*.a.com", "*.b.com", None),
            ("*.a.com", "a.com", None),
            ("*.xa.com", "*.a.com", None),
        ];
        for (one, other, want) in cases {
            let (one, other) = (pattern(one), pattern(other));
            let got = one.intersection(&other);
            assert_eq!(got.map(HostPattern::as_str), want, "{one} with {other}");
        }
    }

    #[test]
    fn specific_patterns_sort_first() {
        let mut hosts = ["*", "*.com", "b.com", "*.example.com", "a.com"].map(pattern);
        hosts.sort();
        let sorted = hosts.each_ref().map(HostPattern::as_str);
        assert_eq!(sorted, ["a.com", "b.com", "*.example.com", "*.com", "*"]);
    }

    #[test]
    fn only_short_names_are_expanded() {
        let cases = [
            ("reviews", "reviews.shop.svc.cluster.local"),
            ("reviews.default", "reviews.default"),
            ("*", "*"),
            ("*.com", "*.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
        ];
        for (host, want) in cases {
            assert_eq!(pattern(host).expand("shop", "cluster.local").as_str(), want);
            assert_eq!(short_name_expand(host, "shop", "cluster.local"), want);
        }
    }

    #[test]
    fn covers_is_what_matches_says() {
        let hosts = ["*", "*.com", "*.a.com", "a.com", "b.a.com", "x"];
        for one in hosts {
            for other in hosts.iter().filter(|host| !host.contains('*')) {
                let (one, other) = (pattern(one), pattern(other));
                assert_eq!(
                    one.covers(&other),
                    one.matches(other.as_str()),
                    "{one} {other}"
                );
            }
        }
    }
}
