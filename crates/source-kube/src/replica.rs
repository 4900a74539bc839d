//! Of whom there are several.

use crate::settings::Access;

/// A replica of a proxy, and how it reaches the API server by which they agree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplicaSettings {
    /// How the API server is reached.
    pub access: Access,
    /// The proxy, which all replicas call themselves.
    pub proxy: ProxyName,
}

/// A proxy by name, as far as objects of an API server can be named after it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyName {
    name: String,
    namespace: String,
}

/// A name that objects cannot be named after.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no name for a Lease: lower case letters, digits and `-`, a letter or a digit at both ends, 63 at most"
)]
pub struct InvalidProxyName(String);

impl ProxyName {
    /// A proxy in a namespace.
    ///
    /// # Errors
    ///
    /// When either is no label of DNS (RFC 1123).
    pub fn new(name: &str, namespace: &str) -> Result<Self, InvalidProxyName> {
        for label in [name, namespace] {
            if !is_label(label) {
                return Err(InvalidProxyName(label.to_owned()));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The type of the condition that its leader writes. Each proxy has its own, or two would write over each other.
    pub(crate) fn condition(&self) -> String {
        format!("{}.{}.tidegate.io/Accepted", self.name, self.namespace)
    }
}

fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|byte| is_inner(*byte))
        && is_edge(bytes.first())
        && is_edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_named_after_its_proxy() {
        let proxy = ProxyName::new("edge", "istio-system").unwrap();
        assert_eq!(proxy.condition(), "edge.istio-system.tidegate.io/Accepted");
        for (name, namespace) in [
            ("", "a"),
            ("a", ""),
            ("A", "a"),
            ("a.b", "a"),
            ("-a", "a"),
            ("a-", "a"),
        ] {
            assert!(
                ProxyName::new(name, namespace).is_err(),
                "{name} {namespace}"
            );
        }
        assert!(ProxyName::new(&"a".repeat(63), "a").is_ok());
        assert!(ProxyName::new(&"a".repeat(64), "a").is_err());
    }
}
