//! What options are made of: lists of ports, networks, interfaces and owners, as they are written.

use crate::options::{Interception, Selection};
use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// More entries in one list are refused: each becomes a rule that every new connection is compared with.
pub(crate) const MAX_ENTRIES: usize = 1024;

/// The longest name of a device that the kernel knows.
const MAX_INTERFACE_NAME: usize = 15;

/// The longest name of a user or group.
const MAX_OWNER_NAME: usize = 32;

/// What is wrong with a value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidValue {
    /// Not a port.
    #[error("`{0}` is no port: ports are 1 to 65535")]
    Port(String),
    /// Neither a network nor an address.
    #[error("`{0}` is no network: write it like 10.0.0.0/8 or fd00::/8")]
    Network(String),
    /// Not a name that a network device can have.
    #[error(
        "`{0}` is no network interface: a name has at most 15 letters, digits, `.`, `_` or `-`"
    )]
    Interface(String),
    /// Neither a number nor a name of a user or group.
    #[error("`{0}` is neither the number nor the name of a user or group")]
    Owner(String),
    /// `*` among other entries.
    #[error("`*` stands for everything and cannot be in a list")]
    StarInList,
    /// `*` where only a list is possible.
    #[error("`*` is not possible here: list what is meant")]
    StarAlone,
    /// More than 1,024 entries.
    #[error("more than {MAX_ENTRIES} entries")]
    TooMany,
    /// More than 64 groups to capture.
    #[error("more than 64 groups: they are conditions of one rule")]
    TooManyGroups,
    /// Not a mode that Istio knows.
    #[error("`{0}` is no interception mode: they are REDIRECT and NONE")]
    Interception(String),
    /// A mode that Istio has and Tidegate has not.
    #[error(
        "TPROXY is not supported: mesh-agent takes connections that were redirected, and has no transparent listener \
         for those that TPROXY would hand over; use REDIRECT"
    )]
    Tproxy,
    /// Neither true nor false.
    #[error("`{0}` is neither `true` nor `false`")]
    Boolean(String),
    /// Not within 127.0.0.0/8.
    #[error("`{0}` is no IPv4 loopback network: it must be within 127.0.0.0/8")]
    Loopback(String),
    /// Neither `auto`, `on` nor `off`.
    #[error("`{0}` is neither `auto`, `on` nor `off`")]
    Ipv6(String),
    /// Not a variant of iptables.
    #[error("`{0}` is no variant of iptables: they are `nft` and `legacy`")]
    Variant(String),
}

/// The name of a network device; with a `+` at its end, all whose names begin so.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Interface(String);

impl Interface {
    /// The device of connections to the machine itself.
    pub(crate) fn loopback() -> Self {
        Self("lo".to_owned())
    }

    /// What the names begin with, where it stands for several.
    pub(crate) fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('+')
    }
}

impl FromStr for Interface {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let stem = text.strip_suffix('+').unwrap_or(text);
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = !stem.is_empty() && text.len() <= MAX_INTERFACE_NAME;
        // `-` at the beginning would be read as another option.
        if fits && !stem.starts_with('-') && stem.bytes().all(is_known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue::Interface(text.to_owned()))
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A user or a group, by number or by a name that the machine knows.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Owner {
    /// Its number.
    Id(u32),
    /// Its name, looked up by the tool that installs the rule.
    Name(String),
}

impl FromStr for Owner {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if begins && text.len() <= MAX_OWNER_NAME && text.bytes().all(is_known) {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(InvalidValue::Owner(text.to_owned()))
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(formatter),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

/// The network that is meant: of `10.0.0.1/24` it is `10.0.0.0/24`, of `10.0.0.1` that address alone.
pub(crate) fn network(text: &str) -> Result<IpNet, InvalidValue> {
    let network = text.parse::<IpNet>().map(|network| network.trunc());
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    network
        .or_else(|_| address())
        .map_err(|_| InvalidValue::Network(text.to_owned()))
}

/// The IPv4 network of what stays on the machine.
pub(crate) fn loopback_network(text: &str) -> Result<Ipv4Net, InvalidValue> {
    match network(text.trim()) {
        Ok(IpNet::V4(network)) if network.network().is_loopback() && network.prefix_len() >= 8 => {
            Ok(network)
        }
        _ => Err(InvalidValue::Loopback(text.to_owned())),
    }
}

/// A port that something can listen at.
pub(crate) fn port(text: &str) -> Result<u16, InvalidValue> {
    match text.trim().parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(InvalidValue::Port(text.to_owned())),
    }
}

/// An interface.
pub(crate) fn interface(text: &str) -> Result<Interface, InvalidValue> {
    text.parse()
}

/// A user or group.
pub(crate) fn owner(text: &str) -> Result<Owner, InvalidValue> {
    text.parse()
}

/// Whether something is so, as Go writes it.
pub(crate) fn boolean(text: &str) -> Result<bool, InvalidValue> {
    match text.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(InvalidValue::Boolean(text.to_owned())),
    }
}

/// How inbound connections are intercepted. Empty: redirected.
pub(crate) fn interception(text: &str) -> Result<Interception, InvalidValue> {
    match text {
        "" | "REDIRECT" => Ok(Interception::Redirect),
        "NONE" => Ok(Interception::None),
        "TPROXY" => Err(InvalidValue::Tproxy),
        _ => Err(InvalidValue::Interception(text.to_owned())),
    }
}

/// `*`, or a list of these.
pub(crate) fn selection<T: PartialEq>(
    text: &str,
    entry: fn(&str) -> Result<T, InvalidValue>,
) -> Result<Selection<T>, InvalidValue> {
    if text.trim() == "*" {
        Ok(Selection::All)
    } else {
        list(text, entry).map(Selection::These)
    }
}

/// A list of these between commas, each once. Spaces and empty entries do not count.
pub(crate) fn list<T: PartialEq>(
    text: &str,
    entry: fn(&str) -> Result<T, InvalidValue>,
) -> Result<Vec<T>, InvalidValue> {
    if text.trim() == "*" {
        return Err(InvalidValue::StarAlone);
    }
    let mut found = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        if part == "*" {
            return Err(InvalidValue::StarInList);
        }
        let value = entry(part)?;
        if !found.contains(&value) {
            found.push(value);
        }
        if found.len() > MAX_ENTRIES {
            return Err(InvalidValue::TooMany);
        }
    }
    Ok(found)
}

/// A list as it is written.
pub(crate) fn joined<T: fmt::Display>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_with_a_prefix_the_network_is_taken() {
        for (text, want) in [
            ("10.0.0.1/24", "10.0.0.0/24"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("fd00::1/8", "fd00::/8"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), want, "{text}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "example.com",
            "10.0.0.0/8 -j ACCEPT",
        ] {
            assert_eq!(network(text), Err(InvalidValue::Network(text.to_owned())));
        }
    }

    #[test]
    fn lists_are_read_as_istio_reads_them() {
        assert_eq!(list("", port), Ok(vec![]));
        assert_eq!(list(" 80, 443 ,,80,", port), Ok(vec![80, 443]));
        assert_eq!(list("*", port), Err(InvalidValue::StarAlone));
        assert_eq!(list("80,*", port), Err(InvalidValue::StarInList));
        assert_eq!(list("0", port), Err(InvalidValue::Port("0".to_owned())));
        assert_eq!(
            list("65536", port),
            Err(InvalidValue::Port("65536".to_owned()))
        );
        assert_eq!(
            list("80\n-j", port),
            Err(InvalidValue::Port("80\n-j".to_owned()))
        );
        assert_eq!(selection("*", port), Ok(Selection::All));
        assert_eq!(selection("", port), Ok(Selection::These(vec![])));
        assert_eq!(selection("8080", port), Ok(Selection::These(vec![8080])));
    }

    #[test]
    fn a_list_has_a_bound() {
        let ports = |count: u16| joined(&(1..=count).collect::<Vec<_>>());
        assert_eq!(list(&ports(1024), port).map(|ports| ports.len()), Ok(1024));
        assert_eq!(list(&ports(1025), port), Err(InvalidValue::TooMany));
    }

    #[test]
    fn names_cannot_carry_anything_into_a_rule() {
        for name in ["eth0", "eth+", "cali1-a.b_c", "lo"] {
            assert_eq!(
                interface(name).map(|name| name.to_string()),
                Ok(name.to_owned())
            );
        }
        for name in [
            "",
            "+",
            "-j",
            "a b",
            "eth0\n",
            "a/b",
            "e*",
            "\"",
            "sixteen-letters0",
        ] {
            assert_eq!(
                interface(name),
                Err(InvalidValue::Interface(name.to_owned()))
            );
        }
        assert_eq!(owner("1337"), Ok(Owner::Id(1337)));
        assert_eq!(
            owner("mesh-agent"),
            Ok(Owner::Name("mesh-agent".to_owned()))
        );
        for name in ["", "-1", "4294967296", "a b", "1a", "x\n"] {
            assert_eq!(owner(name), Err(InvalidValue::Owner(name.to_owned())));
        }
    }

    #[test]
    fn loopback_stays_loopback() {
        assert_eq!(
            loopback_network("127.0.0.1/8").unwrap().to_string(),
            "127.0.0.0/8"
        );
        for text in ["10.0.0.0/8", "127.0.0.0/7", "::1/128", "lo"] {
            assert_eq!(
                loopback_network(text),
                Err(InvalidValue::Loopback(text.to_owned()))
            );
        }
    }
}
