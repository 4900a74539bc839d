//! Names of hosts, credentials and servers, checked.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// Names in one certificate at most. Public servers take no more.
const MAX_NAMES: usize = 100;

/// Why a text is none of the names here.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidName {
    /// Something that servers certify in no way, or in other ways than those here.
    #[error("`{0}` is not a host name")]
    Host(String),
    /// `*.example.com`.
    #[error(
        "`{0}`: servers give certificates for wildcards only to who answers DNS-01, which is not supported"
    )]
    Wildcard(String),
    /// `192.0.2.1`.
    #[error("`{0}` is an address; certificates are ordered for names only")]
    Address(String),
    /// A credential without names.
    #[error("no name is given")]
    NoName,
    /// A credential with too many.
    #[error("{0} names are more than the {MAX_NAMES} that one certificate may have")]
    TooMany(usize),
    /// What could lead out of the storage folder, or is in use there.
    #[error(
        "`{0}` cannot be a credential's name: write letters, digits, `-`, `_` and `.`, not first"
    )]
    Credential(String),
    /// A directory without TLS, or no URL.
    #[error("`{0}` is not a URL that begins with `https://`")]
    Directory(String),
}

/// A DNS name, lower case, without wildcard and final dot.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub struct HostName(String);

impl HostName {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HostName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        if text.starts_with("*.") {
            return Err(InvalidName::Wildcard(text));
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(InvalidName::Address(text));
        }
        if text.len() > 253 || !text.split('.').all(is_label) {
            return Err(InvalidName::Host(text));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The names of one certificate: at least one, each once, in a fixed order.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Vec<HostName>")]
pub struct Names(BTreeSet<HostName>);

impl Names {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &HostName> {
        self.0.iter()
    }

    /// Whether these are the names of a certificate, whatever their order and case.
    pub fn are_those_of(&self, certificate: &[String]) -> bool {
        let theirs: BTreeSet<String> = certificate
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect();
        theirs.iter().eq(self.0.iter().map(|name| &name.0))
    }
}

impl TryFrom<Vec<HostName>> for Names {
    type Error = InvalidName;

    fn try_from(names: Vec<HostName>) -> Result<Self, InvalidName> {
        let names: BTreeSet<HostName> = names.into_iter().collect();
        match names.len() {
            0 => Err(InvalidName::NoName),
            1..=MAX_NAMES => Ok(Self(names)),
            number => Err(InvalidName::TooMany(number)),
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

/// The name of a credential, which is also that of its folder.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub struct CredentialName(String);

impl CredentialName {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CredentialName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let is_safe = (1..=253).contains(&text.len())
            && !text.starts_with('.')
            && !text.starts_with(crate::storage::ACCOUNT_FILE)
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_safe {
            Ok(Self(text))
        } else {
            Err(InvalidName::Credential(text))
        }
    }
}

/// Where a server tells its other URLs, over HTTPS.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct DirectoryUrl(String);

impl DirectoryUrl {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DirectoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for DirectoryUrl {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let uri = text.parse::<http::Uri>().ok();
        let is_https = uri.is_some_and(|uri| {
            uri.scheme() == Some(&http::uri::Scheme::HTTPS) && uri.host().is_some()
        });
        if is_https {
            Ok(Self(text))
        } else {
            Err(InvalidName::Directory(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: TryFrom<String> + fmt::Display>(cases: &[(&str, Option<&str>)])
    where
        T::Error: fmt::Debug,
    {
        for (text, want) in cases {
            let got = T::try_from((*text).to_owned()).ok();
            let got = got.map(|name| name.to_string());
            assert_eq!(got.as_deref(), *want, "{text}");
        }
    }

    #[test]
    fn host_names_are_lower_case_labels() {
        check::<HostName>(&[
            ("Shop.Example.com", Some("shop.example.com")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("localhost", Some("localhost")),
            ("", None),
            ("shop.", None),
            ("bücher.example", None),
            ("a b.test", None),
            ("-a.test", None),
            ("a_b.test", None),
            ("*.example.com", None),
            ("192.0.2.1", None),
            ("::1", None),
            (&format!("{}.test", "a".repeat(64)), None),
        ]);
    }

    #[test]
    fn credential_names_stay_in_their_folder() {
        check::<CredentialName>(&[
            ("httpbin-cert", Some("httpbin-cert")),
            ("a.b_C-9", Some("a.b_C-9")),
            ("", None),
            ("..", None),
            (".hidden", None),
            ("a/b", None),
            ("account.json", None),
            ("account.json.new", None),
        ]);
    }

    #[test]
    fn a_directory_is_https() {
        check::<DirectoryUrl>(&[
            (
                "https://acme.test/directory",
                Some("https://acme.test/directory"),
            ),
            ("http://acme.test/directory", None),
            ("acme.test", None),
            ("", None),
        ]);
    }

    #[test]
    fn names_are_those_of_a_certificate_in_any_order_and_case() {
        let host = |text: &str| HostName::try_from(text.to_owned()).unwrap();
        let names = Names::try_from(vec![host("b.test"), host("A.test"), host("a.test")]).unwrap();
        assert_eq!(names.to_string(), "a.test, b.test");
        let cases: [(&[&str], bool); 5] = [
            (&["B.test", "a.test"], true),
            (&["a.test", "b.test"], true),
            (&["a.test"], false),
            (&["a.test", "b.test", "c.test"], false),
            (&[], false),
        ];
        for (certificate, want) in cases {
            let certificate: Vec<String> = certificate.iter().map(ToString::to_string).collect();
            assert_eq!(names.are_those_of(&certificate), want, "{certificate:?}");
        }
    }

    #[test]
    fn a_certificate_has_one_to_a_hundred_names() {
        let hosts = |number: usize| {
            (0..number)
                .map(|index| HostName(format!("h{index}.test")))
                .collect::<Vec<_>>()
        };
        assert_eq!(Names::try_from(hosts(0)), Err(InvalidName::NoName));
        assert!(Names::try_from(hosts(100)).is_ok());
        assert_eq!(Names::try_from(hosts(101)), Err(InvalidName::TooMany(101)));
    }
}
