//! Things found by the name of a host: virtual hosts by `Host`, TLS servers by SNI.

use crate::{VirtualHost, host_of};
use ahash::{HashMap, HashMapExt};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::Arc;

/// The longest name looked up; DNS knows none longer. It bounds the work a client can cause.
const MAX_HOST_BYTES: usize = 255;

/// Virtual hosts, found by the host of a request.
pub type VirtualHosts = HostMap<VirtualHost>;

/// Values found by the name of a host.
///
/// An exact domain beats a wildcard, and a longer wildcard a shorter one; `*` takes the rest.
#[derive(Debug)]
pub struct HostMap<T> {
    exact: HashMap<Arc<[u8]>, Arc<T>>,
    /// `*.example.com` under `.example.com`.
    wildcards: HashMap<Arc<[u8]>, Arc<T>>,
    /// The length of the longest key of `wildcards`: longer endings need not be looked up.
    longest_wildcard: usize,
    any: Option<Arc<T>>,
}

impl<T> Clone for HostMap<T> {
    fn clone(&self) -> Self {
        Self {
            exact: self.exact.clone(),
            wildcards: self.wildcards.clone(),
            longest_wildcard: self.longest_wildcard,
            any: self.any.clone(),
        }
    }
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
            longest_wildcard: 0,
            any: None,
        }
    }
}

impl VirtualHosts {
    /// Of two virtual hosts with one domain the first counts.
    pub fn new(hosts: impl IntoIterator<Item = Arc<VirtualHost>>) -> Self {
        let mut all = Self::default();
        for host in hosts {
            let domain = host.domain.clone();
            all.add(&domain, host);
        }
        all
    }
}

impl<T> HostMap<T> {
    /// Adds a value under a domain: exact, `*.suffix` or `*`. Of two with one domain the first counts.
    pub fn add(&mut self, domain: &str, host: Arc<T>) {
        let domain = lower(domain);
        if domain == "*" {
            self.any.get_or_insert(host);
        } else if let Some(suffix) = domain.strip_prefix('*') {
            self.longest_wildcard = self.longest_wildcard.max(suffix.len());
            self.wildcards
                .entry(suffix.as_bytes().into())
                .or_insert(host);
        } else {
            let name = domain.strip_suffix('.').unwrap_or(&domain);
            self.exact.entry(name.as_bytes().into()).or_insert(host);
        }
    }

    /// Takes the value of a domain out. How long wildcards may be stays as it was: no look-up misses any for that.
    pub(crate) fn remove(&mut self, domain: &str) -> Option<Arc<T>> {
        let domain = lower(domain);
        if domain == "*" {
            self.any.take()
        } else if let Some(suffix) = domain.strip_prefix('*') {
            self.wildcards.remove(suffix.as_bytes())
        } else {
            let name = domain.strip_suffix('.').unwrap_or(&domain);
            self.exact.remove(name.as_bytes())
        }
    }

    /// The value that serves an authority. Its port, a trailing dot and case do not count.
    pub fn lookup(&self, authority: &str) -> Option<&Arc<T>> {
        let host = host_of(authority);
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.len() > MAX_HOST_BYTES {
            return self.any.as_ref();
        }
        if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.ranked(host.as_bytes());
        }
        let mut lower: SmallVec<[u8; 256]> = SmallVec::from_slice(host.as_bytes());
        lower.make_ascii_lowercase();
        self.ranked(&lower)
    }

    /// The value of a host itself, whatever wildcards there are. Lower case, without a port.
    pub fn exact(&self, host: &str) -> Option<&Arc<T>> {
        self.exact.get(host.as_bytes())
    }

    fn ranked(&self, host: &[u8]) -> Option<&Arc<T>> {
        let exact = self.exact.get(host);
        exact.or_else(|| self.wildcard(host)).or(self.any.as_ref())
    }

    /// The longest wildcard: the leftmost dot that has something before it comes first.
    fn wildcard(&self, host: &[u8]) -> Option<&Arc<T>> {
        let earliest = host.len().saturating_sub(self.longest_wildcard).max(1);
        let endings = (earliest..host.len()).filter(|at| host[*at] == b'.');
        endings
            .into_iter()
            .find_map(|at| self.wildcards.get(&host[at..]))
    }

    /// What takes names that nothing else does, and clients that name nobody: the value of `*`.
    pub fn any(&self) -> Option<&Arc<T>> {
        self.any.as_ref()
    }

    /// All of them, in no particular order; a value of several domains once for each.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.exact
            .values()
            .chain(self.wildcards.values())
            .chain(&self.any)
    }

    /// All domains with their values, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = (Cow<'_, str>, &Arc<T>)> {
        let exact = (self.exact.iter()).map(|(name, one)| (String::from_utf8_lossy(name), one));
        let wildcards = self.wildcards.iter().map(|(suffix, one)| {
            let domain = format!("*{}", String::from_utf8_lossy(suffix));
            (Cow::Owned(domain), one)
        });
        let any = (self.any.iter()).map(|one| (Cow::Borrowed("*"), one));
        exact.chain(wildcards).chain(any)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcards.len() + usize::from(self.any.is_some())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn lower(domain: &str) -> Cow<'_, str> {
    let mut domain = Cow::Borrowed(domain);
    if domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
        domain.to_mut().make_ascii_lowercase();
    }
    domain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::virtual_host;
    use proptest::prelude::*;

    fn hosts(domains: &[&str]) -> VirtualHosts {
        VirtualHosts::new(
            domains
                .iter()
                .map(|domain| virtual_host(domain, Vec::new())),
        )
    }

    #[track_caller]
    fn check(domains: &[&str], cases: &[(&str, Option<&str>)]) {
        let hosts = hosts(domains);
        for (authority, want) in cases {
            let found = hosts.lookup(authority).map(|host| &*host.domain);
            assert_eq!(found, *want, "{authority}");
        }
    }

    #[test]
    fn exact_beats_the_longest_wildcard_which_beats_the_star() {
        let domains = ["*", "*.shop.test", "*.eu.shop.test", "a.shop.test"];
        check(
            &domains,
            &[
                ("a.shop.test", Some("a.shop.test")),
                ("b.shop.test", Some("*.shop.test")),
                ("b.c.shop.test", Some("*.shop.test")),
                ("b.eu.shop.test", Some("*.eu.shop.test")),
                ("eu.shop.test", Some("*.shop.test")),
                ("shop.test", Some("*")),
                ("other.test", Some("*")),
            ],
        );
    }

    #[test]
    fn a_wildcard_needs_something_before_its_dot() {
        check(
            &["*.test"],
            &[("test", None), (".test", None), ("a.test", Some("*.test"))],
        );
    }

    #[test]
    fn case_port_and_a_trailing_dot_do_not_count() {
        let cases = ["SHOP.test", "shop.test:8080", "Shop.Test.:80", "shop.test."];
        check(
            &["shop.test"],
            &cases.map(|authority| (authority, Some("shop.test"))),
        );
    }

    #[test]
    fn addresses_are_names_too() {
        let domains = ["10.0.0.1", "[::1]"];
        check(
            &domains,
            &[
                ("10.0.0.1:80", Some("10.0.0.1")),
                ("[::1]:80", Some("[::1]")),
                ("[::1]", Some("[::1]")),
            ],
        );
    }

    #[test]
    fn of_equal_domains_the_first_counts() {
        let first = virtual_host("a.test", Vec::new());
        let second = virtual_host("a.test", Vec::new());
        let hosts = VirtualHosts::new([Arc::clone(&first), second]);
        assert!(
            hosts
                .lookup("a.test")
                .is_some_and(|found| Arc::ptr_eq(found, &first))
        );
        assert_eq!(hosts.len(), 1);
    }

    #[test]
    fn all_domains_are_listed_as_they_were_added() {
        let domains = ["*", "*.shop.test", "a.shop.test"];
        let hosts = hosts(&domains);
        let mut listed: Vec<_> = hosts
            .entries()
            .map(|(domain, host)| {
                assert_eq!(domain, *host.domain);
                domain.into_owned()
            })
            .collect();
        listed.sort();
        assert_eq!(listed, domains);
    }

    #[test]
    fn a_name_longer_than_any_is_served_by_the_star_only() {
        let long = format!("{}.a.test", "x.".repeat(30_000));
        check(&["*.a.test", "*"], &[(&long, Some("*"))]);
    }

    /// The definition, written down plainly.
    fn naive<'d>(domains: &'d [String], host: &str) -> Option<&'d str> {
        let host = host.to_ascii_lowercase();
        let serves = |domain: &&String| match domain.strip_prefix('*') {
            Some("") => true,
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => **domain == host,
        };
        let rank = |domain: &&String| (!domain.starts_with('*'), domain.len());
        domains
            .iter()
            .filter(serves)
            .max_by_key(rank)
            .map(String::as_str)
    }

    proptest! {
        #[test]
        fn lookup_ranks_as_defined(
            domains in proptest::collection::vec(r"(\*\.)?[ab](\.[ab]){0,3}|\*", 0..12),
            host in r"[abA](\.[abB]){0,4}",
        ) {
            let hosts = VirtualHosts::new(domains.iter().map(|domain| virtual_host(domain, Vec::new())));
            let found = hosts.lookup(&host).map(|host| &*host.domain);
            prop_assert_eq!(found, naive(&domains, &host));
        }
    }
}
